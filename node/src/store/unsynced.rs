//! What a sync that failed leaves: the kernel takes the pages for clean, so that they are read back as if they were on
//! the disk, and no later sync writes them. Whoever believes what was read back has to write it again first.
//!
//! The log's end is always written again when it is gone on with ([`super::wal`]): it is short. redb's files are long, so
//! the process that saw the failure leaves a mark. It need not be durable: a power loss that takes it takes the pages
//! too, and then what is read is what there is.

use std::io;

use crate::env::{Disk, DiskFile};

/// Is there when a sync of redb's file or of its sums has failed.
const MARK: &str = "heads.unsynced";
/// Bytes read and written at once.
const PART_BYTES: u64 = 1 << 20;

/// A sync of redb's file or of its sums has failed.
pub(super) fn mark(disk: &dyn Disk) {
    if let Err(error) = disk.open(MARK, true) {
        tracing::error!(%error, file = MARK, "after a failed sync, the mark cannot be made: restart the machine, not the node");
    }
}

/// Whether one had failed, and these files were not written again since.
pub(super) fn is_marked(disk: &dyn Disk) -> io::Result<bool> {
    match disk.open(MARK, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true),
    }
}

/// The files were written again and synced.
pub(super) fn unmark(disk: &dyn Disk) -> io::Result<()> {
    disk.remove(MARK)
}

/// Writes the first `end` bytes of a file where they are.
pub(super) fn write_again(file: &dyn DiskFile, end: u64) -> io::Result<()> {
    let mut at = 0;
    while at < end {
        let len = usize::try_from(PART_BYTES.min(end - at)).expect("at most a part");
        let mut part = vec![0; len];
        file.read_at(at, &mut part)?;
        file.write_at(at, &part)?;
        at += len as u64;
    }
    Ok(())
}
