//! A data folder on the machine's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use crate::env::{Disk, DiskFile};

/// What claims the folder. Left behind on purpose: the operating system's lock counts, not the file.
const LOCK_FILE: &str = "lock";

/// A data folder on the machine's file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// A disk whose data folder is `root`, made with its parents when it is not there.
    pub fn new(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// The place of a relative path; refuses one that would leave the folder.
    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(path);
        if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path:?} is not a path below the data folder"),
            ));
        }
        Ok(self.root.join(relative))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(self.place(path)?)?;
        Ok(Box::new(RealFile(file)))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.place(folder)?) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            // Whatever is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, folder: &str) -> io::Result<()> {
        fs::create_dir_all(self.place(folder)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.place(path)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.place(from)?, self.place(to)?)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        File::open(self.place(folder)?)?.sync_all()
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.root.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(folder.path().join("data")).unwrap();
        (folder, disk)
    }

    #[test]
    fn writes_are_read_back_at_their_place() {
        let (_folder, disk) = disk();
        disk.create_dir("a/b").unwrap();
        assert_eq!(disk.open("a/b/f", false).err().unwrap().kind(), io::ErrorKind::NotFound);
        let file = disk.open("a/b/f", true).unwrap();
        file.write_at(3, b"xyz").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("a/b").unwrap();
        let mut read = [9; 6];
        file.read_at(0, &mut read).unwrap();
        assert_eq!(&read, b"\0\0\0xyz");
        assert_eq!(file.read_at(1, &mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(4).unwrap();
        assert_eq!(file.len().unwrap(), 4);
        disk.rename("a/b/f", "a/b/e").unwrap();
        disk.open("a/b/z", true).unwrap();
        assert_eq!(disk.list("a/b").unwrap(), ["e", "z"]);
        disk.remove("a/b/e").unwrap();
        assert_eq!(disk.remove("a/b/e").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.list("no/such").unwrap(), [""; 0]);
    }

    #[test]
    fn a_path_cannot_leave_the_folder() {
        let (_folder, disk) = disk();
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            assert_eq!(disk.open(path, true).err().unwrap().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn a_folder_is_claimed_once() {
        let (_folder, disk) = disk();
        let guard = disk.lock().unwrap();
        assert_eq!(disk.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(guard);
        disk.lock().unwrap();
    }
}
