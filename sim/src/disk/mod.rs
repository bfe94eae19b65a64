//! A node's disk, in memory: it loses power, fills up and fails.
//!
//! Each file and each name has two states: what was synced, and what the running system sees. A process that is killed
//! loses nothing (the page cache is the kernel's); a machine that loses power keeps of what was not synced any subset of
//! 512-byte sectors and of names, as the seed chooses. Handles of a process that is gone fail.

mod file;
mod names;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use node::env::{Disk, DiskFile};
use parking_lot::Mutex;

use crate::random::Random;
use crate::trace::Trace;
use file::{Change, Content};
use names::{NameChange, Names};

/// No space left on device, input/output error: what Linux answers.
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// One machine's disk, which outlives its processes. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    host: String,
    trace: Trace,
    random: Random,
    contents: Vec<Content>,
    names: Names,
    /// Counts processes: handles of an earlier one do nothing.
    life: u64,
    locked_by: Option<u64>,
    capacity: Option<usize>,
    fail_sync_of: Option<String>,
    power_off_in: Option<u64>,
}

impl SimDisk {
    /// An empty disk of a host.
    pub fn new(host: &str, random: Random, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            host: host.to_owned(),
            trace,
            random,
            contents: Vec::new(),
            names: Names::default(),
            life: 0,
            locked_by: None,
            capacity: None,
            fail_sync_of: None,
            power_off_in: None,
        })))
    }

    /// The disk as a new process sees it.
    pub fn attach(&self) -> Arc<dyn Disk> {
        Arc::new(Attached { disk: self.clone(), life: self.0.lock().life })
    }

    /// The process ends at once, the machine stays up: everything written is there.
    pub fn process_kill(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.locked_by = None;
        state.power_off_in = None;
    }

    /// The machine loses power: of what was not synced, any part survives.
    pub fn power_loss(&self) {
        self.process_kill();
        let state = &mut *self.0.lock();
        // Swarm: some losses keep nearly everything, some nearly nothing.
        let keep_percent = state.random.pick(&[0, 10, 50, 90, 100]);
        let random = &mut state.random;
        let names_lost = state.names.lose_power(|| random.percent(keep_percent));
        let mut changes_lost = 0;
        for content in &mut state.contents {
            changes_lost += content.lose_power(|| random.percent(keep_percent));
        }
        let host = &state.host;
        state.trace.line(format_args!(
            "fault: {host} loses power; {changes_lost} unsynced sectors and {names_lost} unsynced names are lost"
        ));
    }

    /// The machine loses power in the middle of the `operations`-th change from now on: that one and all later ones
    /// fail. The world must then be told ([`crate::World::power_loss`]).
    pub fn power_off_in(&self, operations: u64) {
        self.0.lock().power_off_in = Some(operations);
    }

    /// Whether the power has failed by [`Self::power_off_in`].
    pub fn power_failed(&self) -> bool {
        self.0.lock().power_off_in == Some(0)
    }

    /// Takes [`Self::power_off_in`] back.
    pub fn power_on(&self) {
        self.0.lock().power_off_in = None;
    }

    /// Bytes that fit; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes in all files.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// The next sync of a file whose path contains `part` fails, once; what it should have synced is then lost with the
    /// next power loss, although it is still read back (as Linux does it).
    pub fn fail_sync_of(&self, part: &str) {
        self.0.lock().fail_sync_of = Some(part.to_owned());
    }

    /// Takes back what would still fail: room, power, a sync to come.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.capacity = None;
        state.power_off_in = None;
        state.fail_sync_of = None;
    }

    /// All files and their bytes, as a process sees them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        let bytes = |at: &usize| state.contents[*at].now().to_vec();
        state.names.now().iter().map(|(name, at)| (name.clone(), bytes(at))).collect()
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.now().values().map(|at| self.contents[*at].now().len()).sum()
    }

    fn room(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn check(&self, life: u64) -> io::Result<()> {
        let off = self.power_off_in == Some(0);
        if life != self.life || off { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    /// Before each operation that changes something.
    fn begin_change(&mut self, life: u64, what: &str, path: &str, data: &[u8]) -> io::Result<()> {
        self.check(life)?;
        if let Some(left) = &mut self.power_off_in {
            *left -= 1;
        }
        self.check(life)?;
        self.trace.bytes(format_args!("{} disk {what} {path}", self.host), data);
        Ok(())
    }

    fn file(&mut self, at: usize) -> &mut Content {
        &mut self.contents[at]
    }
}

/// The disk as one process sees it.
struct Attached {
    disk: SimDisk,
    life: u64,
}

impl Disk for Attached {
    fn open(&self, path: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        let at = match state.names.find(path) {
            Some(at) => at,
            None if create => {
                state.begin_change(self.life, "creates", path, &[])?;
                state.contents.push(Content::default());
                let at = state.contents.len() - 1;
                state.names.change(vec![(path.to_owned(), Some(at))]);
                at
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let path = path.to_owned();
        Ok(Box::new(Handle { disk: self.disk.clone(), life: self.life, at, path }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        Ok(state.names.list(folder))
    }

    fn create_dir(&self, folder: &str) -> io::Result<()> {
        // Folders are part of the names of what is in them: an empty one does not show.
        self.disk.0.lock().begin_change(self.life, "makes folder", folder, &[])
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change_names("removes", path, |names| {
            names.find(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![(path.to_owned(), None)])
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names("renames", from, |names| {
            let at = names.find(from).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![(from.to_owned(), None), (to.to_owned(), Some(at))])
        })
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, "syncs folder", folder, &[])?;
        state.names.sync(folder);
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        if state.locked_by.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.locked_by = Some(self.life);
        Ok(Box::new(Claim { disk: self.disk.clone(), life: self.life }))
    }
}

impl Attached {
    fn change_names(
        &self,
        what: &str,
        path: &str,
        change: impl FnOnce(&Names) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, what, path, &[])?;
        let change = change(&state.names)?;
        state.names.change(change);
        Ok(())
    }
}

/// A process's claim of the whole disk.
struct Claim {
    disk: SimDisk,
    life: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.locked_by == Some(self.life) {
            state.locked_by = None;
        }
    }
}

struct Handle {
    disk: SimDisk,
    life: u64,
    at: usize,
    path: String,
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        let offset = place(offset)?;
        let end = offset.checked_add(buffer.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let from = state.file(self.at).now().get(offset..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, &format!("writes at {offset}"), &self.path, data)?;
        let offset = place(offset)?;
        let grows = (offset + data.len()).saturating_sub(state.file(self.at).now().len());
        // A full disk takes what fits.
        let fits = data.len() - grows.saturating_sub(state.room()).min(data.len());
        if fits > 0 {
            state.file(self.at).change(Change::Write { offset, data: data[..fits].to_vec() });
        }
        if fits < data.len() { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        Ok(state.file(self.at).now().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, &format!("sets length {len}"), &self.path, &[])?;
        let len = place(len)?;
        let grows = len.saturating_sub(state.file(self.at).now().len());
        if grows > state.room() {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.file(self.at).change(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, "syncs", &self.path, &[])?;
        if state.fail_sync_of.as_ref().is_some_and(|part| self.path.contains(part)) {
            state.fail_sync_of = None;
            state.trace.line(format_args!("fault: a sync of {} on {} fails", self.path, state.host));
            state.file(self.at).forget_unsynced();
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.file(self.at).sync();
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
