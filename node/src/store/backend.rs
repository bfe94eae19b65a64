//! redb's storage on a [`DiskFile`], so that it runs unchanged on the simulated disk; every block that it reads is
//! compared with its checksum ([`super::sums`]).

use std::fmt;
use std::io;

use parking_lot::RwLock;
use redb::StorageBackend;

use crate::env::{Disk, DiskFile};

use super::error::OpenError;
use super::sums::{BLOCK_BYTES, Sums};

/// One file for redb.
pub(super) struct Backend {
    file: Box<dyn DiskFile>,
    fsync: bool,
    state: RwLock<State>,
}

struct State {
    sums: Sums,
    /// The first block where it was written and not synced yet: its sum must be on the disk before it.
    first: Option<Vec<u8>>,
}

impl Backend {
    /// `file` with the sums at `sums_path`, which are there.
    pub(super) fn open(
        disk: &dyn Disk,
        file: Box<dyn DiskFile>,
        sums_path: &str,
        fsync: bool,
    ) -> Result<Self, OpenError> {
        let first = read_first(&*file)?;
        let sums = Sums::open(disk, sums_path, fsync, &first)?;
        Ok(Self { file, fsync, state: RwLock::new(State { sums, first: None }) })
    }

    /// Writes within the first block, in memory until the next sync.
    fn write_first(&self, state: &mut State, offset: usize, data: &[u8]) -> io::Result<()> {
        let mut block = match state.first.take() {
            Some(block) => block,
            None => read_first(&*self.file)?,
        };
        block.resize(BLOCK_BYTES, 0);
        block[offset..offset + data.len()].copy_from_slice(data);
        state.sums.set_first(&block);
        state.first = Some(block);
        Ok(())
    }

    /// Writes whole blocks, or parts of blocks together with what is around them.
    fn write_blocks(&self, state: &mut State, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, skip) = block_of(offset);
        if skip == 0 && data.len().is_multiple_of(BLOCK_BYTES) {
            state.sums.set(first, data);
            return self.file.write_at(offset, data);
        }
        // redb writes whole pages only; should it not, what is around is read first.
        let mut blocks = vec![0; (skip + data.len()).next_multiple_of(BLOCK_BYTES)];
        let start = first * BLOCK_BYTES as u64;
        let there = usize::try_from(self.file.len()?.saturating_sub(start)).unwrap_or(usize::MAX);
        let there = there.min(blocks.len());
        self.file.read_at(start, &mut blocks[..there])?;
        blocks[skip..skip + data.len()].copy_from_slice(data);
        state.sums.set(first, &blocks);
        self.file.write_at(start, &blocks)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("fsync", &self.fsync).finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.read();
        let (first, skip) = block_of(offset);
        if first == 0 {
            // Compared when the file was opened. redb keeps what it says in memory.
            return match &state.first {
                Some(block) if skip + out.len() <= block.len() => {
                    out.copy_from_slice(&block[skip..skip + out.len()]);
                    Ok(())
                }
                _ => self.file.read_at(offset, out),
            };
        }
        let damage = if skip == 0 && out.len().is_multiple_of(BLOCK_BYTES) {
            self.file.read_at(offset, out)?;
            state.sums.find_damage(first, out)?
        } else {
            let mut blocks = vec![0; (skip + out.len()).next_multiple_of(BLOCK_BYTES)];
            self.file.read_at(first * BLOCK_BYTES as u64, &mut blocks)?;
            out.copy_from_slice(&blocks[skip..skip + out.len()]);
            state.sums.find_damage(first, &blocks)?
        };
        if damage.is_some() {
            poison(out);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Sums of blocks that are cut stay: whoever writes there again gives them new ones.
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Readers are not held up by the syncs. There is only one writer, who waits for this.
        let sums = {
            let state = &mut *self.state.write();
            state.sums.write()?;
            state.sums.file()
        };
        if self.fsync {
            sums.sync_data()?;
        }
        if let Some(block) = &self.state.read().first {
            self.file.write_at(0, block)?;
        }
        if self.fsync {
            self.file.sync_data()?;
        }
        let state = &mut *self.state.write();
        state.first = None;
        state.sums.first_is_durable();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.state.write();
        let (first, skip) = block_of(offset);
        if first > 0 {
            return self.write_blocks(state, offset, data);
        }
        let (within, behind) = data.split_at(data.len().min(BLOCK_BYTES - skip));
        self.write_first(state, skip, within)?;
        if behind.is_empty() { Ok(()) } else { self.write_blocks(state, BLOCK_BYTES as u64, behind) }
    }
}

/// Makes of a page whose bytes are wrong one that redb itself calls corrupted wherever it meets it: an inner node whose
/// only child is a page that cannot be. An error of the read would end the use of the whole file, of which all other
/// pages are sound.
fn poison(page: &mut [u8]) {
    const INNER_NODE: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];
    page.fill(u8::MAX);
    let node = INNER_NODE.len().min(page.len());
    page[..node].copy_from_slice(&INNER_NODE[..node]);
}

/// The number of a block, and the place in it.
fn block_of(offset: u64) -> (u64, usize) {
    let skip = usize::try_from(offset % BLOCK_BYTES as u64).expect("below a block's length");
    (offset / BLOCK_BYTES as u64, skip)
}

/// The first block, with zeros behind the end of the file. Empty where the file is.
fn read_first(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let there = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(BLOCK_BYTES);
    let mut block = vec![0; if there == 0 { 0 } else { BLOCK_BYTES }];
    file.read_at(0, &mut block[..there])?;
    Ok(block)
}
