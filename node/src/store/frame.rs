//! The write-ahead log's bytes: segment headers and frames.
//!
//! One frame is one group commit: what one write and one sync made durable together. So a frame that is whole proves
//! that every frame before it was synced, and a bad frame followed by a whole one is damage, not a torn tail.
//!
//! Segment header, 64 bytes, integers little-endian: `HWAL`, format u32, segment number u64, sequence of its first
//! frame u64, 32 random bytes, and the first 8 bytes of the header's BLAKE3.
//!
//! Frame, format 2: `HFRM`, payload length u32, sequence u64, 8 bytes of checksum, CRC-32 of the table u32, CRC-32 of all
//! that u32; payload; table. The checksum is BLAKE3 keyed by the segment's random bytes, over segment number, offset, length,
//! sequence and payload: a stale or misplaced frame never validates, and no payload can pretend to be one. The table has the
//! CRC-32 of each part of the payload that lies in one sector of the disk ([`Tail`] says what for), and as many entries as a
//! payload of that length can have parts. Format 1 has neither the two CRCs nor the table.

use std::ops::Range;

use memchr::memmem;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes before a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 32;
/// The same in format 1.
const FRAME_HEADER_BYTES_1: usize = 24;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
const CRC_BYTES: usize = 4;
/// Longest payload. A batch ends before; a longer length in a header is garbage.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const SEGMENT_MAGIC: &[u8; 4] = b"HWAL";
const FRAME_MAGIC: &[u8; 4] = b"HFRM";
/// The newest format of segments.
pub(super) const WAL_FORMAT: u32 = 2;

/// What a segment's header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    /// The format of its frames, 1 or 2.
    pub(super) format: u32,
    /// Counts segments from 1.
    pub(super) number: u64,
    /// The sequence that its first frame has.
    pub(super) first_sequence: u64,
    /// Random: the key of its frames' checksums.
    pub(super) salt: [u8; 32],
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..4].copy_from_slice(SEGMENT_MAGIC);
        bytes[4..8].copy_from_slice(&self.format.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.salt);
        let sum = blake3::hash(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.as_bytes()[..8]);
        bytes
    }

    /// `None` when the bytes are not a whole header.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] = bytes.get(..SEGMENT_HEADER_BYTES)?.try_into().ok()?;
        let format = u32_at(bytes, 4);
        let sound = bytes[..4] == *SEGMENT_MAGIC
            && (1..=WAL_FORMAT).contains(&format)
            && bytes[56..] == blake3::hash(&bytes[..56]).as_bytes()[..8];
        sound.then(|| Self {
            format,
            number: u64_at(bytes, 8),
            first_sequence: u64_at(bytes, 16),
            salt: bytes[24..56].try_into().expect("32 bytes were sliced"),
        })
    }
}

/// The most that a frame with so much payload takes.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes + table_bytes(payload_bytes)
}

fn table_bytes(payload_bytes: usize) -> usize {
    (payload_bytes / SECTOR_BYTES + 2) * CRC_BYTES
}

/// Makes a frame of the newest format whole: `frame` begins with [`FRAME_HEADER_BYTES`] to be overwritten, the payload
/// follows; the table is appended.
pub(super) fn seal(frame: &mut Vec<u8>, segment: &SegmentHeader, offset: u64, sequence: u64) {
    let payload_bytes = frame.len() - FRAME_HEADER_BYTES;
    assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "a batch is bounded below a frame's limit");
    let len = u32::try_from(payload_bytes).expect("checked against the limit above");
    frame[..4].copy_from_slice(FRAME_MAGIC);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    let sum = frame_checksum(segment, offset, &frame[4..16], &frame[FRAME_HEADER_BYTES..]);
    frame[16..24].copy_from_slice(&sum);
    // In a segment every offset is far below the address space, or the file could not have been read back.
    let start = usize::try_from(offset).expect("a segment is bounded") + FRAME_HEADER_BYTES;
    let parts = sector_parts(start..start + payload_bytes);
    let mut table: Vec<u8> = parts
        .flat_map(|part| {
            let at = part.start - start + FRAME_HEADER_BYTES;
            crc32fast::hash(&frame[at..at + part.len()]).to_le_bytes()
        })
        .collect();
    table.resize(table_bytes(payload_bytes), 0);
    frame[24..28].copy_from_slice(&crc32fast::hash(&table).to_le_bytes());
    let head = head_crc(segment, &frame[..28]);
    frame[28..FRAME_HEADER_BYTES].copy_from_slice(&head.to_le_bytes());
    frame.extend_from_slice(&table);
}

/// A whole frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    /// Where the payload lies in the segment.
    pub(super) payload: Range<usize>,
    /// Where the next frame begins.
    pub(super) end: usize,
}

/// The whole frame at `offset` of the segment's bytes, when there is one.
pub(super) fn open(segment: &SegmentHeader, bytes: &[u8], offset: usize) -> Option<Frame> {
    let header_bytes = if segment.format == 1 { FRAME_HEADER_BYTES_1 } else { FRAME_HEADER_BYTES };
    let header = bytes.get(offset..)?.get(..header_bytes)?;
    if header[..4] != *FRAME_MAGIC {
        return None;
    }
    let len = u32_at(header, 4) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return None;
    }
    let start = offset + header_bytes;
    let payload = bytes.get(start..)?.get(..len)?;
    let table_bytes = if segment.format == 1 { 0 } else { table_bytes(len) };
    let end = start + len + table_bytes;
    if end > bytes.len() {
        return None;
    }
    let sum = frame_checksum(segment, offset as u64, &header[4..16], payload);
    (sum == header[16..24]).then(|| Frame { sequence: u64_at(header, 8), payload: start..start + len, end })
}

/// What lies behind the last whole frame of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// A frame of which some sectors are not there: the power was lost before it was synced. Nobody was told of it.
    Torn,
    /// A frame, or something else, that no power loss leaves so: each of its sectors was written, and one is not what was
    /// written. It may have been told of.
    Damaged,
}

/// Looks at what lies behind the last whole frame. A sector that was not written is all zeros, or behind the end of the
/// file, because so was the file before: it is filled with zeros ahead, and what was cut is cut durably.
pub(super) fn tail(segment: &SegmentHeader, bytes: &[u8], at: usize) -> Tail {
    if is_zeros(&bytes[at.min(bytes.len())..]) {
        return Tail::Clean;
    }
    if segment.format == 1 {
        return Tail::Torn;
    }
    // Whether the sector with this part of the frame may not have been written.
    let unwritten = |part: &Range<usize>| {
        let sector = part.start / SECTOR_BYTES * SECTOR_BYTES;
        let own = sector.max(at)..(sector + SECTOR_BYTES).min(bytes.len());
        part.end > bytes.len() || is_zeros(&bytes[own])
    };
    let any_unwritten = |range| sector_parts(range).any(|part| unwritten(&part));
    let verdict = |torn| if torn { Tail::Torn } else { Tail::Damaged };

    let header = bytes.get(at..at + FRAME_HEADER_BYTES).filter(|header| {
        header[..4] == *FRAME_MAGIC && u32_at(header, 28) == head_crc(segment, &header[..28])
    });
    let Some(header) = header else { return verdict(any_unwritten(at..at + FRAME_HEADER_BYTES)) };
    let payload_bytes = u32_at(header, 4) as usize;
    let start = at + FRAME_HEADER_BYTES;
    let payload = start..start + payload_bytes;
    let table_range = payload.end..payload.end + table_bytes(payload_bytes);
    let table = bytes.get(table_range.clone()).filter(|table| u32_at(header, 24) == crc32fast::hash(table));
    let Some(table) = table else { return verdict(any_unwritten(table_range)) };
    let mut torn = false;
    for (part, crc) in sector_parts(payload).zip(table.chunks_exact(CRC_BYTES)) {
        if bytes.get(part.clone()).is_some_and(|part| crc32fast::hash(part).to_le_bytes() == crc) {
            continue;
        }
        if !unwritten(&part) {
            return Tail::Damaged;
        }
        torn = true;
    }
    verdict(torn)
}

fn is_zeros(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|part| *part == ZEROS[..part.len()])
}

/// The parts of a range, each within one sector.
fn sector_parts(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let from = at;
        at = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(range.end);
        (from < range.end).then_some(from..at)
    })
}

/// Tells a header from garbage, and from one of another segment.
fn head_crc(segment: &SegmentHeader, head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.salt);
    hasher.update(head);
    hasher.finalize()
}

/// The offset of the first whole frame at or after `from`, whatever lies between.
pub(super) fn find(segment: &SegmentHeader, bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memmem::find_iter(rest, FRAME_MAGIC).map(|at| from + at).find(|&at| open(segment, bytes, at).is_some())
}

fn frame_checksum(segment: &SegmentHeader, offset: u64, head: &[u8], payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(&segment.salt);
    hasher.update(&segment.number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize().as_bytes()[..8].try_into().expect("8 of 32 bytes")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes were sliced"))
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
