//! What a write-ahead log frame holds: facts, in the order in which they became true. Replaying them needs no rules.
//!
//! Promise: 1, partition u16, term. Record: 2, key length u16, head length u32, body length u32, key, head, body (where
//! the head says that one is beside it). Integers little-endian, terms as in stored records.

use std::ops::Range;

use bytes::Bytes;
use holdfast_core::ids::Partition;
use holdfast_core::term::{Ballot, Term};

use super::format::{self, Encoded, TERM_BYTES};
use super::memtable::Entry;

const PROMISE: u8 = 1;
const RECORD: u8 = 2;
const RECORD_FIXED_BYTES: usize = 1 + 2 + 4 + 4;

/// Where a record lies within a frame that is being built.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) ballot: Ballot,
    key: Range<usize>,
    head: Range<usize>,
    body: Option<Range<usize>>,
}

impl Placed {
    /// The record in the finished frame, sharing its memory.
    pub(super) fn entry(&self, frame: &Bytes) -> (Bytes, Entry) {
        let entry = Entry {
            ballot: self.ballot,
            head: frame.slice(self.head.clone()),
            body: self.body.clone().map(|range| frame.slice(range)),
        };
        (frame.slice(self.key.clone()), entry)
    }
}

pub(super) fn push_promise(frame: &mut Vec<u8>, partition: Partition, term: Term) {
    frame.push(PROMISE);
    frame.extend_from_slice(&partition.number().to_le_bytes());
    format::push_term(frame, term);
}

pub(super) fn push_record(frame: &mut Vec<u8>, key: &[u8], ballot: Ballot, value: &Encoded) -> Placed {
    let body = value.body.as_deref();
    let narrow = |len: usize| u32::try_from(len).expect("a record is bounded far below 4 GiB");
    frame.reserve(RECORD_FIXED_BYTES + key.len() + value.head.len() + body.map_or(0, <[u8]>::len));
    frame.push(RECORD);
    let key_len = u16::try_from(key.len()).expect("bucket and key are bounded far below 64 KiB");
    frame.extend_from_slice(&key_len.to_le_bytes());
    frame.extend_from_slice(&narrow(value.head.len()).to_le_bytes());
    frame.extend_from_slice(&narrow(body.map_or(0, <[u8]>::len)).to_le_bytes());
    let mut append = |bytes: &[u8]| {
        let start = frame.len();
        frame.extend_from_slice(bytes);
        start..frame.len()
    };
    Placed { ballot, key: append(key), head: append(&value.head), body: body.map(append) }
}

/// One fact read back.
#[derive(Debug)]
pub(super) enum Fact {
    Promise(Partition, Term),
    Record(Bytes, Entry),
}

/// Reads all facts of a frame's payload. Errors say what is wrong: the frame's checksum was right, so it is a defect
/// or a newer format.
pub(super) fn read_all(payload: &Bytes) -> Result<Vec<Fact>, String> {
    let mut facts = Vec::new();
    let mut rest = payload.clone();
    while !rest.is_empty() {
        facts.push(read_one(&mut rest).ok_or("a log frame holds something unknown")?);
    }
    Ok(facts)
}

fn read_one(rest: &mut Bytes) -> Option<Fact> {
    match *rest.first()? {
        PROMISE => {
            let bytes = take(rest, 3 + TERM_BYTES)?;
            let partition = Partition::new(u32::from(u16::from_le_bytes([bytes[1], bytes[2]]))).ok()?;
            Some(Fact::Promise(partition, format::read_term(&bytes[3..])))
        }
        RECORD => {
            let fixed = take(rest, RECORD_FIXED_BYTES)?;
            let key_len = usize::from(u16::from_le_bytes([fixed[1], fixed[2]]));
            let len_at =
                |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("4 bytes were sliced"));
            let key = take(rest, key_len)?;
            let head = take(rest, len_at(3) as usize)?;
            let body = take(rest, len_at(7) as usize)?;
            let checked = format::check(&key, &head).ok()?;
            let body = checked.body_beside.then_some(body);
            Some(Fact::Record(key, Entry { ballot: checked.ballot, head, body }))
        }
        _ => None,
    }
}

fn take(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (rest.len() >= len).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frame::{self, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, WAL_FORMAT};
    use holdfast_core::ids::{NodeId, ObjectName};
    use holdfast_core::record::{Record, State};
    use holdfast_core::term::{ConfigVersion, Version};

    /// A segment with one frame of two facts in each format. Never changed: a new format gets a file of its own.
    const GOLDEN_1: &[u8] = include_bytes!("golden/segment-format-1.bin");
    const GOLDEN_2: &[u8] = include_bytes!("golden/segment-format-2.bin");

    fn ballot() -> Ballot {
        Ballot { term: Term { config: ConfigVersion(1), round: 2, node: NodeId(3) }, seq: 4 }
    }

    fn segment() -> (Vec<u8>, Vec<u8>) {
        let key = format::storage_key(&ObjectName::new("bucket", "key").unwrap());
        let state = State::Tombstone { deleted_unix_ms: 5 };
        let record = Record { version: Version(ballot()), state, history: Default::default() };
        let inside = format::encode(&key, ballot(), &record);
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        push_promise(&mut frame, Partition::new(1023).unwrap(), ballot().term);
        push_record(&mut frame, &key, ballot(), &inside);
        let header = SegmentHeader { format: WAL_FORMAT, number: 6, first_sequence: 7, salt: [8; 32] };
        frame::seal(&mut frame, &header, SEGMENT_HEADER_BYTES as u64, 7);
        ([&header.encode()[..], &frame].concat(), inside.head)
    }

    #[test]
    fn the_golden_segments_are_read_and_the_newest_is_written() {
        let (bytes, head) = segment();
        assert_eq!(bytes, GOLDEN_2, "the log's format has changed: give the new form a new number");
        for (format, golden) in [(1, GOLDEN_1), (2, GOLDEN_2)] {
            let header = SegmentHeader::decode(golden).unwrap();
            assert_eq!(header.format, format);
            let frame = frame::open(&header, golden, SEGMENT_HEADER_BYTES).unwrap();
            assert_eq!((frame.sequence, frame.end), (7, golden.len()));
            let facts = read_all(&Bytes::from_static(&golden[frame.payload])).unwrap();
            let [Fact::Promise(partition, term), Fact::Record(key, entry)] = &facts[..] else {
                panic!("{facts:?}");
            };
            assert_eq!((partition.number(), *term), (1023, ballot().term));
            assert_eq!((&key[..], entry.ballot, &entry.head[..]), (&b"bucket\0key"[..], ballot(), &head[..]));
            assert!(entry.body.is_none());
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let (bytes, _) = segment();
        let header = SegmentHeader::decode(&bytes).unwrap();
        let frame = frame::open(&header, &bytes, SEGMENT_HEADER_BYTES).unwrap();
        let payload = Bytes::from(bytes).slice(frame.payload);
        let whole = [0, 3 + TERM_BYTES, payload.len()];
        for cut in (0..=payload.len()).filter(|cut| !whole.contains(cut)) {
            assert!(read_all(&payload.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert!(read_all(&Bytes::from_static(b"\x03what")).is_err());
    }
}
