//! A disk in memory that loses power: what was not synced survives in any subset of 512-byte sectors and of names.
//!
//! It also fills up, and fails a chosen sync. Small on purpose: the simulator's disk does more.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use node::env::witness::Unwatched;
use node::env::{Ambient, Blocking, BoxIo, Disk, DiskFile, Env, Listener, Net};
use parking_lot::Mutex;

const SECTOR_BYTES: usize = 512;

/// A seeded source of choices (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
}

/// Names that change together.
type NameChange = Vec<(String, Option<usize>)>;

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    names_durable: BTreeMap<String, usize>,
    names_unsynced: Vec<NameChange>,
    /// Handles of an earlier life do nothing.
    life: u64,
    locked_by: Option<u64>,
    /// Changing calls so far.
    calls: u64,
    power_off_at: Option<u64>,
    capacity: Option<usize>,
    fail_sync_of: Option<String>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk(Arc<Mutex<State>>);

impl CrashDisk {
    /// From the `calls`-th changing call on, everything fails.
    pub fn power_off_after(&self, calls: u64) {
        let mut state = self.0.lock();
        state.power_off_at = Some(state.calls + calls);
    }

    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// `None`: unlimited.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// The next sync of a file whose path contains this fails, once.
    pub fn fail_sync_of(&self, part: &str) {
        self.0.lock().fail_sync_of = Some(part.to_owned());
    }

    /// The process dies, the machine stays up: everything written is there.
    pub fn kill(&self) {
        let mut state = self.0.lock();
        state.life += 1;
        state.locked_by = None;
        state.power_off_at = None;
    }

    /// The machine dies: of what was not synced, any part survives.
    pub fn lose_power(&self, random: &mut Random) {
        self.kill();
        let mut state = self.0.lock();
        // Swarm: some crashes keep nearly everything, some nearly nothing.
        let keep = [0, 10, 50, 90, 100][usize::try_from(random.below(5)).unwrap()];
        let keeps = |random: &mut Random| random.below(100) < keep;
        let unsynced = std::mem::take(&mut state.names_unsynced);
        for change in unsynced {
            if keeps(random) {
                let durable = &mut state.names_durable;
                change.into_iter().for_each(|(name, inode)| set_name(durable, name, inode));
            }
        }
        state.names = state.names_durable.clone();
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.unsynced) {
                match change {
                    Change::SetLen(len) => {
                        if keeps(random) {
                            inode.durable.resize(len, 0);
                        }
                    }
                    Change::Write { offset, data } => {
                        let mut at = 0;
                        while at < data.len() {
                            let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES;
                            let end = data.len().min(sector_end - offset);
                            if keeps(random) {
                                put(&mut inode.durable, offset + at, &data[at..end]);
                            }
                            at = end;
                        }
                    }
                }
            }
            inode.now = inode.durable.clone();
        }
    }

    /// Changes a file's bytes behind everybody's back.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        change(&mut inode.now);
        inode.durable = inode.now.clone();
        inode.unsynced.clear();
    }

    /// Removes a name behind everybody's back.
    pub fn erase(&self, path: &str) {
        let mut state = self.0.lock();
        state.names.remove(path).unwrap();
        state.names_durable.remove(path);
    }

    /// All files and their bytes.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].now.clone())).collect()
    }

    pub fn env(&self, seed: u64, blocking: Blocking) -> Env {
        let life = self.0.lock().life;
        Env {
            net: Arc::new(NoNet),
            disk: Arc::new(Life { disk: self.clone(), life }),
            ambient: Arc::new(Seeded(Mutex::new(Random(seed)))),
            blocking,
            witness: Arc::new(Unwatched),
        }
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].now.len()).sum()
    }

    fn on_call(&mut self, life: u64) -> io::Result<()> {
        self.check(life)?;
        self.calls += 1;
        Ok(())
    }

    fn check(&self, life: u64) -> io::Result<()> {
        let off = self.power_off_at.is_some_and(|at| self.calls >= at);
        if life != self.life || off { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) {
        for (name, inode) in &change {
            set_name(&mut self.names, name.clone(), *inode);
        }
        self.names_unsynced.push(change);
    }
}

fn set_name(names: &mut BTreeMap<String, usize>, name: String, inode: Option<usize>) {
    match inode {
        Some(inode) => names.insert(name, inode),
        None => names.remove(&name),
    };
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

struct Life {
    disk: CrashDisk,
    life: u64,
}

impl Disk for Life {
    fn open(&self, path: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        let inode = match state.names.get(path) {
            Some(inode) => *inode,
            None if create => {
                state.on_call(self.life)?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_names(vec![(path.to_owned(), Some(inode))]);
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let path = path.to_owned();
        Ok(Box::new(Handle { disk: self.disk.clone(), life: self.life, inode, path }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let names = state.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn create_dir(&self, _folder: &str) -> io::Result<()> {
        self.disk.0.lock().on_call(self.life)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        let parent =
            |name: &str| name.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        let unsynced = std::mem::take(&mut state.names_unsynced);
        let (synced, rest): (Vec<_>, Vec<_>) =
            unsynced.into_iter().partition(|change| change.iter().any(|(name, _)| parent(name) == folder));
        state.names_unsynced = rest;
        for (name, inode) in synced.into_iter().flatten() {
            set_name(&mut state.names_durable, name, inode);
        }
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

struct Claim {
    disk: CrashDisk,
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
    disk: CrashDisk,
    life: u64,
    inode: usize,
    path: String,
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        let bytes = &state.inodes[self.inode].now;
        let offset = usize::try_from(offset).unwrap();
        let from = bytes.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        let offset = usize::try_from(offset).unwrap();
        let grows = (offset + data.len()).saturating_sub(state.inodes[self.inode].now.len());
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(state.used()));
        let fits = data.len() - grows.saturating_sub(room).min(data.len());
        let inode = &mut state.inodes[self.inode];
        if fits > 0 {
            put(&mut inode.now, offset, &data[..fits]);
            inode.unsynced.push(Change::Write { offset, data: data[..fits].to_vec() });
        }
        if fits < data.len() { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        let len = usize::try_from(len).unwrap();
        let grows = len.saturating_sub(state.inodes[self.inode].now.len());
        if state.capacity.is_some_and(|capacity| grows > capacity.saturating_sub(state.used())) {
            return Err(io::Error::from_raw_os_error(28));
        }
        let inode = &mut state.inodes[self.inode];
        inode.now.resize(len, 0);
        inode.unsynced.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.on_call(self.life)?;
        if state.fail_sync_of.as_ref().is_some_and(|part| self.path.contains(part)) {
            state.fail_sync_of = None;
            return Err(io::Error::from_raw_os_error(5));
        }
        let inode = &mut state.inodes[self.inode];
        for change in std::mem::take(&mut inode.unsynced) {
            match change {
                Change::SetLen(len) => inode.durable.resize(len, 0),
                Change::Write { offset, data } => put(&mut inode.durable, offset, &data),
            }
        }
        Ok(())
    }
}

struct Seeded(Mutex<Random>);

impl Ambient for Seeded {
    fn unix_ms(&self) -> u64 {
        0
    }

    fn random(&self, buffer: &mut [u8]) {
        let mut random = self.0.lock();
        buffer.fill_with(|| random.next().to_le_bytes()[0]);
    }
}

struct NoNet;

impl Net for NoNet {
    fn connect(&self, _address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen(&self, _address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}
