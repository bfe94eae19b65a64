//! The disk's own limit: append 1 KiB, make it durable, again.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::{Sample, histogram, sample};

/// Bytes of one append: a small record.
const APPEND_BYTES: usize = 1024;

/// How an append is made durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sync {
    /// With all of the file's metadata.
    Fsync,
    /// With the length only, as far as metadata goes.
    Fdatasync,
}

/// Appends one after the other for `time`.
pub(crate) fn measure(folder: &Path, sync: Sync, time: Duration) -> io::Result<Sample> {
    let path = folder.join("append");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = [0x5a_u8; APPEND_BYTES];
    let mut latency = histogram();
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        file.write_all(&block)?;
        match sync {
            Sync::Fsync => file.sync_all()?,
            Sync::Fdatasync => file.sync_data()?,
        }
        latency.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    let elapsed = started.elapsed();
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(sample(&latency, elapsed, Duration::ZERO, Duration::ZERO))
}
