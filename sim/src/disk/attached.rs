//! The disk as one process sees it: what `node::env` asks of a data folder.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use node::env::{Disk, DiskFile};

use super::file::{Action, Content, Fate, SECTOR_BYTES};
use super::names::{NameChange, Names};
use super::paged::shared;
use super::{DiskFault, EIO, ENOSPC, Random, SimDisk, State};

/// The disk as one process sees it.
pub(super) struct Attached {
    disk: SimDisk,
    life: u64,
}

impl Attached {
    pub(super) fn new(disk: SimDisk, life: u64) -> Self {
        Self { disk, life }
    }
}

impl State {
    fn change_names(
        &mut self,
        life: u64,
        what: &str,
        path: &str,
        change: impl FnOnce(&Names) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let number = self.begin_change(life, what, path, &[])?;
        let change = change(&self.names)?;
        if self.struck(DiskFault::NameError, path, number).is_some() {
            self.bite(DiskFault::NameError, path);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.names.change(change);
        Ok(())
    }
}

impl Disk for Attached {
    fn open(&self, path: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        let at = match state.names.find(path) {
            Some(at) => at,
            None if create => {
                let at = state.contents.len();
                state.change_names(self.life, "creates", path, |_| Ok(vec![(path.to_owned(), Some(at))]))?;
                state.contents.push(Content::new(path));
                at
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let path = path.to_owned();
        let open = Arc::clone(&state.contents[at].handles);
        Ok(Box::new(Handle { disk: self.disk.clone(), life: self.life, at, path, _open: open }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        Ok(state.names.list(folder))
    }

    fn create_dir(&self, folder: &str) -> io::Result<()> {
        // Folders are part of the names of what is in them: an empty one does not show.
        self.disk.0.lock().begin_change(self.life, "makes folder", folder, &[]).map(|_| ())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.0.lock().change_names(self.life, "removes", path, |names| {
            names.find(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![(path.to_owned(), None)])
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.0.lock().change_names(self.life, "renames", from, |names| {
            let at = names.find(from).ok_or(io::ErrorKind::NotFound)?;
            Ok(vec![(from.to_owned(), None), (to.to_owned(), Some(at))])
        })
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let number = state.begin_change(self.life, "syncs folder", folder, &[])?;
        if state.struck(DiskFault::NameError, folder, number).is_some() {
            state.bite(DiskFault::NameError, folder);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if state.names.is_unsynced(folder) && state.struck(DiskFault::SyncLie, folder, number).is_some() {
            state.bite(DiskFault::SyncLie, folder);
            return Ok(());
        }
        state.names.sync(folder);
        state.forget_unnamed();
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

    fn busy(&self) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.disk.0.lock();
        let owed = std::mem::take(&mut state.owed);
        if owed.is_zero() {
            return None;
        }
        let stalled = std::mem::take(&mut state.stalled);
        state.faults.bit(if stalled { "disk-stall" } else { "disk-slow" });
        let healed = Arc::clone(&state.healed).notified_owned();
        Some(Box::pin(async move {
            // Either will do.
            let _ = tokio::time::timeout(owed, healed).await;
        }))
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
    _open: Arc<()>,
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.check(self.life)?;
        let offset = place(offset)?;
        let number = state.contents[self.at].reads;
        state.contents[self.at].reads += 1;
        if state.struck(DiskFault::ReadError, &self.path, number).is_some() {
            state.bite(DiskFault::ReadError, &self.path);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if !buffer.is_empty()
            && state.contents[self.at].now.len() >= offset + buffer.len()
            && let Some(mut random) = state.struck(DiskFault::Rot, &self.path, number)
        {
            let offset = offset + random.index(buffer.len());
            state.rot_bit(self.at, &self.path, offset, &mut random);
        }
        let read = state.contents[self.at].now.read(offset, buffer);
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let number = state.begin_change(self.life, &format!("writes at {offset}"), &self.path, data)?;
        let offset = place(offset)?;
        let write = |data: &[u8]| Action::Write { offset, data: shared(data) };
        if let Some(mut random) = state.struck(DiskFault::WriteError, &self.path, number) {
            let fits = first_sectors(offset, data.len(), &mut random);
            if fits > 0 {
                state.contents[self.at].change(write(&data[..fits]), Fate::Honest);
            }
            state.bite(DiskFault::WriteError, &self.path);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let Some(mut random) = state.struck(DiskFault::NoRoom, &self.path, number) {
            let fits = first_sectors(offset, data.len(), &mut random);
            if fits > 0 {
                state.contents[self.at].change(write(&data[..fits]), Fate::Honest);
            }
            state.bite(DiskFault::NoRoom, &self.path);
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let grows = (offset + data.len()).saturating_sub(state.contents[self.at].now.len());
        // A full disk takes what fits.
        let fits = data.len() - grows.saturating_sub(state.room()).min(data.len());
        if fits < data.len() {
            if fits > 0 {
                state.contents[self.at].change(write(&data[..fits]), Fate::Honest);
            }
            state.faults.bit("disk-full");
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let fate = if let Some(mut random) = state.struck(DiskFault::LostWrite, &self.path, number) {
            Fate::Lost { evicted: random.one_in(2) }
        } else if let Some(mut random) = state.struck(DiskFault::MisdirectedWrite, &self.path, number) {
            state.elsewhere(self.at, offset, &mut random).unwrap_or(Fate::Lost { evicted: true })
        } else {
            Fate::Honest
        };
        if !data.is_empty() {
            state.contents[self.at].change(write(data), fate);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.lock();
        state.check(self.life)?;
        Ok(state.contents[self.at].now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let number = state.begin_change(self.life, &format!("sets length {len}"), &self.path, &[])?;
        let len = place(len)?;
        if state.struck(DiskFault::WriteError, &self.path, number).is_some() {
            state.bite(DiskFault::WriteError, &self.path);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let grows = len.saturating_sub(state.contents[self.at].now.len());
        if grows > state.room() {
            state.faults.bit("disk-full");
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.contents[self.at].change(Action::SetLen(len), Fate::Honest);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.begin_change(self.life, "syncs", &self.path, &[])?;
        let number = state.contents[self.at].syncs;
        state.contents[self.at].syncs += 1;
        if state.struck(DiskFault::SyncError, &self.path, number).is_some() {
            state.bite(DiskFault::SyncError, &self.path);
            state.contents[self.at].forget_unsynced();
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if !state.contents[self.at].unsynced.is_empty()
            && state.struck(DiskFault::SyncLie, &self.path, number).is_some()
        {
            state.bite(DiskFault::SyncLie, &self.path);
            return Ok(());
        }
        state.sync_file(self.at);
        Ok(())
    }
}

/// Of a write that fails, so many bytes are there: some first sectors, whole ones, as a kernel's writes end at its pages.
fn first_sectors(offset: usize, len: usize, random: &mut Random) -> usize {
    let sectors = (offset + len).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
    let end = (offset / SECTOR_BYTES + random.index(sectors.max(1))) * SECTOR_BYTES;
    end.saturating_sub(offset)
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
