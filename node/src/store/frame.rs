//! The write-ahead log's bytes: segment headers and frames.
//!
//! One frame is one group commit: what one write and one sync made durable together. So a frame that is whole proves
//! that every frame before it was synced, and a bad frame followed by a whole one is damage, not a torn tail.
//!
//! Segment header, 64 bytes, integers little-endian: `HWAL`, format u32, segment number u64, sequence of its first
//! frame u64, 32 random bytes, and the first 8 bytes of the header's BLAKE3. Frame: `HFRM`, payload length u32, sequence
//! u64, 8 bytes of checksum, payload. The checksum is BLAKE3 keyed by the segment's random bytes, over segment number,
//! offset, length, sequence and payload: a stale or misplaced frame never validates, and no payload can pretend to be one.

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes before a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Longest payload. A batch ends before; a longer length in a header is garbage.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const SEGMENT_MAGIC: &[u8; 4] = b"HWAL";
const FRAME_MAGIC: &[u8; 4] = b"HFRM";
const WAL_FORMAT: u32 = 1;

/// What a segment's header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
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
        bytes[4..8].copy_from_slice(&WAL_FORMAT.to_le_bytes());
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
        let sound = bytes[..4] == *SEGMENT_MAGIC
            && bytes[4..8] == WAL_FORMAT.to_le_bytes()
            && bytes[56..] == blake3::hash(&bytes[..56]).as_bytes()[..8];
        sound.then(|| Self {
            number: u64_at(bytes, 8),
            first_sequence: u64_at(bytes, 16),
            salt: bytes[24..56].try_into().expect("32 bytes were sliced"),
        })
    }
}

/// Fills in the header of a frame: `frame` begins with [`FRAME_HEADER_BYTES`] to be overwritten, the payload follows.
pub(super) fn seal(frame: &mut [u8], segment: &SegmentHeader, offset: u64, sequence: u64) {
    assert!(
        frame.len() - FRAME_HEADER_BYTES <= PAYLOAD_BYTES_MAX,
        "a batch is bounded below a frame's limit"
    );
    let len = u32::try_from(frame.len() - FRAME_HEADER_BYTES).expect("checked against the limit above");
    frame[..4].copy_from_slice(FRAME_MAGIC);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    let sum = frame_checksum(segment, offset, &frame[4..16], &frame[FRAME_HEADER_BYTES..]);
    frame[16..24].copy_from_slice(&sum);
}

/// A whole frame's sequence and the length of its payload, when one is at `offset` of the segment's bytes.
pub(super) fn open(segment: &SegmentHeader, bytes: &[u8], offset: usize) -> Option<(u64, usize)> {
    let header = bytes.get(offset..)?.get(..FRAME_HEADER_BYTES)?;
    if header[..4] != *FRAME_MAGIC {
        return None;
    }
    let len = u32::from_le_bytes(header[4..8].try_into().expect("4 bytes were sliced")) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload = bytes.get(offset + FRAME_HEADER_BYTES..)?.get(..len)?;
    let sum = frame_checksum(segment, offset as u64, &header[4..16], payload);
    (sum == header[16..24]).then(|| (u64_at(header, 8), len))
}

/// The offset of the first whole frame at or after `from`, whatever lies between.
pub(super) fn find(segment: &SegmentHeader, bytes: &[u8], from: usize) -> Option<usize> {
    let last = bytes.len().checked_sub(FRAME_HEADER_BYTES)?;
    (from..=last).find(|&at| bytes[at..at + 4] == *FRAME_MAGIC && open(segment, bytes, at).is_some())
}

fn frame_checksum(segment: &SegmentHeader, offset: u64, head: &[u8], payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(&segment.salt);
    hasher.update(&segment.number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize().as_bytes()[..8].try_into().expect("8 of 32 bytes")
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64) -> SegmentHeader {
        SegmentHeader { number, first_sequence: 5, salt: [number.to_le_bytes()[0]; 32] }
    }

    fn frame(segment: &SegmentHeader, offset: u64, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut frame = [&[0; FRAME_HEADER_BYTES], payload].concat();
        seal(&mut frame, segment, offset, sequence);
        frame
    }

    #[test]
    fn a_frame_validates_only_where_it_was_written() {
        let frame_at_64 = frame(&segment(1), 64, 5, b"payload");
        let place = |offset: usize| [&vec![0; offset][..], &frame_at_64].concat();
        assert_eq!(open(&segment(1), &place(64), 64), Some((5, 7)));
        assert_eq!(open(&segment(1), &place(65), 65), None);
        assert_eq!(open(&segment(2), &place(64), 64), None);
        for at in 0..frame_at_64.len() {
            let mut bytes = place(64);
            bytes[64 + at] ^= 1;
            assert_eq!(open(&segment(1), &bytes, 64), None, "byte {at}");
            assert_eq!(open(&segment(1), &place(64)[..64 + at], 64), None, "cut at {at}");
        }
    }

    #[test]
    fn a_later_frame_is_found_and_a_payload_is_none() {
        let segment = segment(1);
        let first = frame(&segment, 0, 5, &frame(&segment, 999, 6, b"inner"));
        let second = frame(&segment, first.len() as u64, 6, b"");
        let bytes = [&first[..], &second].concat();
        assert_eq!(find(&segment, &bytes, 0), Some(0));
        assert_eq!(find(&segment, &bytes, 1), Some(first.len()));
        assert_eq!(find(&segment, &bytes, first.len() + 1), None);
        assert_eq!(find(&segment, b"", 7), None);
    }

    #[test]
    fn a_header_is_whole_or_nothing() {
        let bytes = segment(9).encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(segment(9)));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&changed), None, "byte {at}");
            assert_eq!(SegmentHeader::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
