//! The embedded registry's own seam to the file system: one file, replaced as a whole under an advisory lock.
//!
//! Not [`crate::env::Disk`]: that is one node's data folder, this one is shared by several processes of a machine.
//! All calls block for as long as the disk does, the lock at most [`LOCK_PATIENCE`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "registry.json";
const FILE_NEXT: &str = "registry.json.next";
const FILE_LOCK: &str = "registry.lock";

/// Largest file: some layouts and a thousand registrations are far below.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;

/// A holder needs a few milliseconds; one that was stopped while holding must not hang the others.
const LOCK_PATIENCE: Duration = Duration::from_millis(1500);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Tells one state of the file from another, nearly always: a quick look that never replaces reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// The shared folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Held while this process alone may replace the file. The system lets go of it when the process ends, however.
pub(super) struct Guard {
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let folder = Self { path: path.to_path_buf() };
        folder.lock_file()?;
        Ok(folder)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// Waits for the lock. Errors with `WouldBlock` when another process does not let go of it.
    pub(super) fn lock(&self) -> io::Result<Guard> {
        let lock = self.lock_file()?;
        let mut waited = Duration::ZERO;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Guard { _lock: lock }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if waited >= LOCK_PATIENCE => {
                    return Err(io::Error::new(
                        io::ErrorKind::WouldBlock,
                        format!(
                            "another process holds {}: is one stopped?",
                            self.path.join(FILE_LOCK).display()
                        ),
                    ));
                }
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
            }
        }
    }

    /// The file's bytes, `None` when it was never written. Needs no lock: the file is only ever replaced.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A folder that went away is no empty registry.
                std::fs::metadata(&self.path)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(FILE_BYTES_MAX).expect("16 MiB fit") + 1;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces the file, durably: whoever dies at whatever point leaves the old file or the new one.
    pub(super) fn replace(&self, _held: &Guard, bytes: &[u8]) -> io::Result<()> {
        let next = self.path.join(FILE_NEXT);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&next, self.file())?;
        File::open(&self.path)?.sync_all()
    }

    /// What the file is now, `None` when it is not there.
    pub(super) fn identity(&self) -> io::Result<Option<Identity>> {
        match std::fs::metadata(self.file()) {
            Ok(meta) => Ok(Some(Identity {
                inode: meta.ino(),
                bytes: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).open(self.path.join(FILE_LOCK))
    }
}
