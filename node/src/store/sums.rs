//! Checksums of redb's blocks, in a file of their own beside it.
//!
//! redb keeps checksums of its pages, but compares them only when it repairs its file: a flipped bit in a page that
//! leads to others would make a record look as if it had never been written. So every block that redb reads is compared
//! with the sum that was kept when it was written. Because the sums lie elsewhere, a block that never reached the disk,
//! or went to another place, is noticed like a rotten one.
//!
//! Sums and blocks are made durable by the same sync, blocks last. Until redb's first block says so, nothing refers to
//! the blocks of a commit, so that a power loss between the two leaves no block that is looked at with a wrong sum. The
//! first block itself is written over in place: of it, the file's header has both the sum that is on the disk and
//! the one that is about to be, and it must be one of them.
//!
//! Header, one sector of 512 bytes, integers little-endian: `HSUM`, format u32, the two sums of the first block u64,
//! and the first 8 bytes of the header's BLAKE3; the rest zeros. Then one u64 for each block of 4096 bytes; 0: never
//! written.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::env::{Disk, DiskFile};

use super::error::OpenError;

/// What is summed as one. redb's pages are whole multiples of it.
pub(super) const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 512;
const HEADER_USED_BYTES: usize = 32;
const MAGIC: &[u8; 4] = b"HSUM";
const SUMS_FORMAT: u32 = 1;
const SUM_BYTES: usize = 8;
/// Blocks read at once where a whole file is summed.
const BUILD_BLOCKS: usize = 256;

/// The sum of a block with its number: one that lands in another place is noticed. Never 0.
pub(super) fn block_sum(number: u64, block: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(block);
    let sum = hasher.finalize().as_bytes()[..SUM_BYTES].try_into().expect("8 of 32 bytes");
    u64::from_le_bytes(sum).max(1)
}

/// The sums of one redb file.
pub(super) struct Sums {
    path: String,
    file: Arc<dyn DiskFile>,
    /// Not in the file yet.
    pending: BTreeMap<u64, u64>,
    /// The first block: what is on the disk, and what is about to be.
    first: (u64, u64),
}

impl Sums {
    /// Opens the sums of a redb file, whose first block is given (empty: a new file).
    pub(super) fn open(
        disk: &dyn Disk,
        path: &str,
        fsync: bool,
        first_block: &[u8],
    ) -> Result<Self, OpenError> {
        let damaged = |what: &str| OpenError::Damaged(format!("{path}{what}"));
        let file = match disk.open(path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(" is missing")),
            other => other?,
        };
        let new = Self { path: path.to_owned(), file: file.into(), pending: BTreeMap::new(), first: (0, 0) };
        if first_block.is_empty() {
            return Ok(new);
        }
        if fsync {
            new.file.sync_data()?;
        }
        let mut header = [0; HEADER_USED_BYTES];
        match new.file.read_at(0, &mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(" is too short"));
            }
            other => other?,
        }
        let number =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes were sliced"));
        if header[..4] != *MAGIC
            || header[4..8] != SUMS_FORMAT.to_le_bytes()
            || blake3::hash(&header[..24]).as_bytes()[..8] != header[24..]
        {
            return Err(damaged(": its header is not whole"));
        }
        let found = block_sum(0, first_block);
        if found != number(8) && found != number(16) {
            return Err(damaged(": the first block of the file beside it is not what was written"));
        }
        Ok(Self { first: (found, found), ..new })
    }

    /// Sums a file that has no sums yet, as it is. Atomic: the sums are there afterwards, or nothing has changed.
    pub(super) fn build(disk: &dyn Disk, path: &str, base: &dyn DiskFile) -> io::Result<()> {
        let part = format!("{path}.part");
        let file = disk.open(&part, true)?;
        file.set_len(0)?;
        let len = base.len()?;
        let mut sums =
            Self { path: part.clone(), file: file.into(), pending: BTreeMap::new(), first: (0, 0) };
        let mut at = 0;
        while at < len {
            let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(BUILD_BLOCKS * BLOCK_BYTES);
            let mut bytes = vec![0; want];
            base.read_at(at, &mut bytes)?;
            if at == 0 {
                let mut block = bytes[..want.min(BLOCK_BYTES)].to_vec();
                block.resize(BLOCK_BYTES, 0);
                sums.set_first(&block);
            }
            sums.set(at / BLOCK_BYTES as u64, &bytes);
            sums.write()?;
            at += want as u64;
        }
        sums.file.sync_data()?;
        disk.rename(&part, path)?;
        disk.sync_dir("")
    }

    /// Keeps the sums of consecutive blocks, to be written by [`Self::write`].
    pub(super) fn set(&mut self, first: u64, blocks: &[u8]) {
        for (number, block) in (first..).zip(blocks.chunks(BLOCK_BYTES)) {
            self.pending.insert(number, block_sum(number, block));
        }
    }

    /// What the first block is about to be.
    pub(super) fn set_first(&mut self, block: &[u8]) {
        self.first.1 = block_sum(0, block);
    }

    /// Writes what is pending. To be synced before the first block is written.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER_USED_BYTES];
        header[..4].copy_from_slice(MAGIC);
        header[4..8].copy_from_slice(&SUMS_FORMAT.to_le_bytes());
        header[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        header[16..24].copy_from_slice(&self.first.1.to_le_bytes());
        let sum = blake3::hash(&header[..24]);
        header[24..].copy_from_slice(&sum.as_bytes()[..8]);
        self.file.write_at(0, &header)?;
        let mut run = (0, Vec::new());
        // What is not written stays pending: an error leaves nothing half known.
        for (&number, sum) in &self.pending {
            if run.0 + (run.1.len() / SUM_BYTES) as u64 != number {
                self.write_run(&run)?;
                run = (number, Vec::new());
            }
            run.1.extend_from_slice(&sum.to_le_bytes());
        }
        self.write_run(&run)?;
        self.pending.clear();
        Ok(())
    }

    fn write_run(&self, (first, sums): &(u64, Vec<u8>)) -> io::Result<()> {
        if sums.is_empty() { Ok(()) } else { self.file.write_at(sum_offset(*first), sums) }
    }

    /// The file, to be synced.
    pub(super) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// The first block is on the disk as it was about to be.
    pub(super) fn first_is_durable(&mut self) {
        self.first.0 = self.first.1;
    }

    /// The first of some consecutive blocks that is not what was written, if there is one.
    pub(super) fn find_damage(&self, first: u64, blocks: &[u8]) -> io::Result<Option<u64>> {
        let count = blocks.len().div_ceil(BLOCK_BYTES);
        let mut stored = vec![0; count * SUM_BYTES];
        let there = self.file.len()?.saturating_sub(sum_offset(first));
        // Behind the end of the file stand the sums of blocks that were never written.
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(stored.len());
        if there > 0 {
            self.file.read_at(sum_offset(first), &mut stored[..there])?;
        }
        for ((number, block), stored) in
            (first..).zip(blocks.chunks(BLOCK_BYTES)).zip(stored.chunks_exact(SUM_BYTES))
        {
            let stored = u64::from_le_bytes(stored.try_into().expect("chunks of 8 bytes"));
            let sum = self.pending.get(&number).copied().unwrap_or(stored);
            let sound = match sum {
                0 => block.iter().all(|byte| *byte == 0),
                sum => sum == block_sum(number, block),
            };
            if !sound {
                tracing::error!(block = number, file = self.path, "a block does not have its checksum");
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

fn sum_offset(block: u64) -> u64 {
    HEADER_BYTES as u64 + block * SUM_BYTES as u64
}
