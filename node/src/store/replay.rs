//! Reading the write-ahead log back at start.
//!
//! A torn tail of the last segment is the clean end of a crash: nothing of it was ever answered. Anything else that
//! does not fit, a last frame that was written whole and has changed among it, is damage and stops the start, because going on would forget promises and accepted records.

use std::io;

use bytes::Bytes;
use holdfast_core::sometimes;

use crate::env::Disk;

use super::error::OpenError;
use super::fact::{self, Fact};
use super::frame::{self, Frame, SEGMENT_HEADER_BYTES, SegmentHeader, Tail};
use super::memtable::Generation;
use super::wal::{segment_path, segments};

/// What the log said, and where it ends.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) facts: Generation,
    /// The segment to go on in.
    pub(super) segment: SegmentHeader,
    /// Where its last whole frame ends.
    pub(super) end: u64,
    /// The sequence of the next frame.
    pub(super) sequence: u64,
    /// An attempt at a segment after it, which holds nothing: to be removed.
    pub(super) abandoned: Option<u64>,
    /// Frames read.
    pub(super) frames: u64,
}

/// Reads the segments from `first` on. Changes nothing on the disk.
pub(super) fn replay(disk: &dyn Disk, first: u64) -> Result<Replayed, OpenError> {
    let numbers: Vec<u64> = segments(disk)?.into_iter().filter(|&number| number >= first).collect();
    if let Some(missing) = (first..).zip(&numbers).find_map(|(want, &is)| (want != is).then_some(want)) {
        return Err(damaged(missing, 0, "the segment is missing"));
    }
    let mut replayed: Option<Replayed> = None;
    for (at, &number) in numbers.iter().enumerate() {
        let last = at + 1 == numbers.len();
        let bytes = read_segment(disk, number)?;
        let Some(header) = SegmentHeader::decode(&bytes).filter(|header| header.number == number) else {
            // Frames are appended only after the header was synced, so a header that is torn has none behind it.
            return match replayed {
                Some(before) if last && bytes.len() <= SEGMENT_HEADER_BYTES => {
                    sometimes!("a crash left a log segment whose header is torn");
                    Ok(Replayed { abandoned: Some(number), ..before })
                }
                _ => Err(damaged(number, 0, "the segment's header is not whole")),
            };
        };
        match replayed {
            // The node went on in the segment before because there was no room for this one.
            Some(before)
                if last && bytes.len() <= SEGMENT_HEADER_BYTES && before.sequence > header.first_sequence =>
            {
                return Ok(Replayed { abandoned: Some(number), ..before });
            }
            Some(before) if before.sequence != header.first_sequence => {
                return Err(damaged(number - 1, before.end, "frames are missing at the end of the segment"));
            }
            before => {
                sometimes!(before.is_some(), "a log of several segments is replayed");
                let (facts, frames) =
                    before.map_or_else(Default::default, |before| (before.facts, before.frames));
                replayed = Some(replay_segment(header, &bytes, facts, frames, last)?);
            }
        }
    }
    replayed.ok_or_else(|| damaged(first, 0, "the segment is missing"))
}

fn replay_segment(
    segment: SegmentHeader,
    bytes: &Bytes,
    mut facts: Generation,
    mut frames: u64,
    last: bool,
) -> Result<Replayed, OpenError> {
    let mut sequence = segment.first_sequence;
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(Frame { sequence: found, payload, end }) = frame::open(&segment, bytes, at) {
        if found != sequence {
            return Err(damaged(segment.number, at as u64, "a frame has another's sequence number"));
        }
        let payload = bytes.slice(payload);
        for fact in fact::read_all(&payload).map_err(|what| damaged(segment.number, at as u64, &what))? {
            match fact {
                Fact::Promise(partition, term) => facts.promise(partition, term),
                Fact::Record(key, entry) => facts.store(key, entry),
            }
        }
        at = end;
        sequence += 1;
        frames += 1;
    }
    // In a segment that is not the last, what is missing shows in the next one's first sequence.
    if last && frame::find(&segment, bytes, at).is_some() {
        return Err(damaged(segment.number, at as u64, "a frame is not whole, but one after it is"));
    }
    if last && frame::tail(&segment, bytes, at) == Tail::Damaged {
        return Err(damaged(segment.number, at as u64, "the last frame is not what was written"));
    }
    sometimes!(
        last && bytes[at..].iter().any(|byte| *byte != 0),
        "a crash left a frame torn at the end of the log"
    );
    sometimes!(last && frames == 0, "a log without a frame is replayed");
    facts.log_bytes += (at - SEGMENT_HEADER_BYTES) as u64;
    Ok(Replayed { facts, segment, end: at as u64, sequence, abandoned: None, frames })
}

fn read_segment(disk: &dyn Disk, number: u64) -> io::Result<Bytes> {
    let file = disk.open(&segment_path(number), false)?;
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    Ok(bytes.into())
}

fn damaged(segment: u64, offset: u64, what: &str) -> OpenError {
    OpenError::Damaged(format!("wal damaged at {} offset {offset}: {what}", segment_path(segment)))
}
