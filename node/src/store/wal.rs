//! The write-ahead log: appends one frame for each group commit, one write and one sync.
//!
//! It does not know what the frames say. Reading back is in `replay`.

use std::io;

use holdfast_core::sometimes;

use crate::env::{Disk, DiskFile, Env, settle};

use super::error::is_disk_full;
use super::frame::{self, SEGMENT_HEADER_BYTES, SegmentHeader, WAL_FORMAT};

/// The folder of the segments.
pub(super) const WAL_FOLDER: &str = "wal";

/// How far the file is filled with zeros ahead of the frames. A sync of bytes that the file already had is a write to the
/// disk; one that makes the file longer is a transaction of the file system too, which costs half as much again, and on a
/// disk with several nodes twice as much. `docs/decisions/0002-write-ahead-log.md` has the figures.
static FILL_AHEAD: [u8; 256 << 10] = [0; 256 << 10];
/// A longer frame is not worth it: it would be written twice.
const FILL_FRAME_BYTES_MAX: usize = 64 << 10;

/// The file of a segment.
pub(super) fn segment_path(number: u64) -> String {
    format!("{WAL_FOLDER}/{number:016x}.log")
}

/// The numbers of the segments in the folder, ascending. Other files are none of ours.
pub(super) fn segments(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let number = |name: &String| {
        let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    };
    let mut numbers: Vec<u64> = disk.list(WAL_FOLDER)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes the first `end` bytes of a file where they are.
fn write_again(file: &dyn DiskFile, end: u64) -> io::Result<()> {
    const PART_BYTES: u64 = 1 << 20;
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

/// Why nothing was appended.
#[derive(Debug)]
pub(super) enum WalError {
    /// No room. Nothing of it will be found later, and the log can go on.
    Full,
    /// The disk failed: what is on it is not known. The log must not be used again.
    Failed(String),
}

/// The end of the log.
pub(super) struct Wal {
    fsync: bool,
    segment: SegmentHeader,
    file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    end: u64,
    /// Where the zeros ahead of the frames end. Before `end` when a long frame was appended.
    filled: u64,
    /// The sequence of the next frame.
    sequence: u64,
    /// Whether something half written may lie after `end`: to be cut before anything else is appended.
    tail_dirty: bool,
}

impl Wal {
    /// Starts segment `number`, durable before this returns.
    pub(super) fn create(env: &Env, fsync: bool, number: u64, sequence: u64) -> Result<Self, WalError> {
        let mut salt = [0; 32];
        env.ambient.random(&mut salt);
        let segment = SegmentHeader { format: WAL_FORMAT, number, first_sequence: sequence, salt };
        let file = match start_segment(&*env.disk, fsync, &segment) {
            Ok(file) => file,
            Err(error) if is_disk_full(&error) => {
                // Best effort: a segment without frames is ignored by the replay.
                let _ = env.disk.remove(&segment_path(number));
                return Err(WalError::Full);
            }
            Err(error) => return Err(failed("a new log segment cannot be made", &error)),
        };
        let end = SEGMENT_HEADER_BYTES as u64;
        Ok(Self { fsync, segment, file, end, filled: end, sequence, tail_dirty: false })
    }

    /// Goes on in a segment that was replayed up to `end`. What lies behind is cut, and all of it made durable: what a
    /// killed process left in the page cache was read as if it were on disk. It is written once more, because after a
    /// sync that failed the kernel takes its pages for clean: another sync would not write them, and a power loss would
    /// leave a hole before the frames that come.
    pub(super) fn resume(
        env: &Env,
        fsync: bool,
        segment: SegmentHeader,
        end: u64,
        sequence: u64,
    ) -> io::Result<Self> {
        let file = env.disk.open(&segment_path(segment.number), false)?;
        if file.len()? > end {
            file.set_len(end)?;
        }
        if fsync {
            write_again(&*file, end)?;
            file.sync_data()?;
            env.disk.sync_dir(WAL_FOLDER)?;
        }
        Ok(Self { fsync, segment, file, end, filled: end, sequence, tail_dirty: false })
    }

    /// The number of the segment that is appended to.
    pub(super) fn segment(&self) -> u64 {
        self.segment.number
    }

    /// Appends a frame and makes it durable. `frame` begins with room for its header. `disk`: where the log is.
    pub(super) async fn append(&mut self, disk: &dyn Disk, frame: &mut Vec<u8>) -> Result<(), WalError> {
        self.cut_tail()?;
        frame::seal(frame, &self.segment, self.end, self.sequence);
        self.fill_ahead(frame.len())?;
        if let Err(error) = self.file.write_at(self.end, frame) {
            if is_disk_full(&error) {
                sometimes!("a frame of the log finds no room");
                self.tail_dirty = true;
                return Err(WalError::Full);
            }
            sometimes!("a frame of the log cannot be written");
            return Err(failed("writing the log failed", &error));
        }
        settle(disk).await;
        if self.fsync {
            let synced = self.file.sync_data();
            sometimes!(synced.is_err(), "a frame of the log cannot be synced");
            synced.map_err(|error| failed("syncing the log failed", &error))?;
            settle(disk).await;
        }
        self.end += frame.len() as u64;
        self.sequence += 1;
        Ok(())
    }

    /// Makes the file longer than the next frame needs, so that those after it need not.
    fn fill_ahead(&mut self, frame_bytes: usize) -> Result<(), WalError> {
        let enough = self.end + frame_bytes as u64 <= self.filled;
        if enough || frame_bytes > FILL_FRAME_BYTES_MAX || !self.fsync {
            return Ok(());
        }
        let from = self.filled.max(self.end);
        match self.file.write_at(from, &FILL_AHEAD) {
            Ok(()) => self.filled = from + FILL_AHEAD.len() as u64,
            // The frame itself may still find room. Whatever part of the zeros was written is no frame.
            Err(error) if is_disk_full(&error) => {}
            Err(error) => return Err(failed("filling the log ahead failed", &error)),
        }
        Ok(())
    }

    /// Starts the next segment and appends there from now on.
    pub(super) fn rotate(&mut self, env: &Env) -> Result<(), WalError> {
        self.cut_tail()?;
        *self = Self::create(env, self.fsync, self.segment.number + 1, self.sequence)?;
        Ok(())
    }

    /// Removes the segments before `number`. Those that stay because of an error are removed at the next start.
    pub(super) fn remove_before(disk: &dyn Disk, number: u64) -> io::Result<()> {
        for old in segments(disk)?.into_iter().take_while(|&old| old < number) {
            disk.remove(&segment_path(old))?;
        }
        Ok(())
    }

    fn cut_tail(&mut self) -> Result<(), WalError> {
        if self.tail_dirty {
            sometimes!("what a full disk left of a frame is cut off the log");
            let cut = |error: io::Error| failed("cutting the log's tail failed", &error);
            self.file.set_len(self.end).map_err(cut)?;
            // What was half written must not shine through a later frame that is torn.
            if self.fsync {
                self.file.sync_data().map_err(cut)?;
            }
            self.filled = self.end;
            self.tail_dirty = false;
        }
        Ok(())
    }
}

fn start_segment(disk: &dyn Disk, fsync: bool, segment: &SegmentHeader) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(&segment_path(segment.number), true)?;
    // An earlier attempt that found no room may have left something.
    file.set_len(0)?;
    file.write_at(0, &segment.encode())?;
    if fsync {
        file.sync_data()?;
        disk.sync_dir(WAL_FOLDER)?;
    }
    Ok(file)
}

fn failed(what: &str, error: &io::Error) -> WalError {
    WalError::Failed(format!("{what}: {error}"))
}
