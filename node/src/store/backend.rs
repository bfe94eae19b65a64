//! redb's storage on a [`DiskFile`], so that it runs unchanged on the simulated disk.

use std::fmt;
use std::io;

use redb::StorageBackend;

use crate::env::DiskFile;

/// One file for redb.
pub(super) struct Backend {
    file: Box<dyn DiskFile>,
    fsync: bool,
}

impl Backend {
    pub(super) fn new(file: Box<dyn DiskFile>, fsync: bool) -> Self {
        Self { file, fsync }
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
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fsync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
