use super::*;

fn segment(number: u64) -> SegmentHeader {
    SegmentHeader { format: WAL_FORMAT, number, first_sequence: 5, salt: [number.to_le_bytes()[0]; 32] }
}

fn frame(segment: &SegmentHeader, offset: u64, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; FRAME_HEADER_BYTES], payload].concat();
    seal(&mut frame, segment, offset, sequence);
    assert_eq!(frame.len(), frame_bytes(payload.len()));
    frame
}

#[test]
fn a_frame_validates_only_where_it_was_written() {
    let frame_at_64 = frame(&segment(1), 64, 5, b"payload");
    let place = |offset: usize| [&vec![0; offset][..], &frame_at_64].concat();
    let whole = Frame { sequence: 5, payload: 96..103, end: 64 + frame_at_64.len() };
    assert_eq!(open(&segment(1), &place(64), 64), Some(whole.clone()));
    assert_eq!(open(&segment(1), &place(65), 65), None);
    assert_eq!(open(&segment(2), &place(64), 64), None);
    for at in 0..frame_at_64.len() {
        let mut bytes = place(64);
        bytes[64 + at] ^= 1;
        // The two CRCs and the table only tell what is wrong with a frame that is.
        let counts = (24..FRAME_HEADER_BYTES).contains(&at) || at >= FRAME_HEADER_BYTES + 7;
        assert_eq!(open(&segment(1), &bytes, 64), counts.then(|| whole.clone()), "byte {at}");
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

/// A payload without and with sectors that are zeros themselves, at places that split the header, the payload and the table.
fn tails() -> Vec<(usize, Vec<u8>)> {
    let mut tails = Vec::new();
    for at in [64, 490, 500, 511, 512, 900] {
        for len in [0, 1, 400, 460, 3000] {
            let payload: Vec<u8> = (0..len).map(|byte| (byte % 250 + 1) as u8).collect();
            let mut holed = payload.clone();
            holed.iter_mut().skip(1000).take(1100).for_each(|byte| *byte = 0);
            tails.extend([payload, holed].map(|payload| (at, frame(&segment(1), at as u64, 5, &payload))));
        }
    }
    tails
}

#[test]
fn a_tail_of_which_sectors_are_missing_is_torn() {
    for (at, frame) in tails() {
        let whole = [&vec![7; at][..], &frame, &[0; 2000]].concat();
        let sectors: Vec<_> = sector_parts(at..at + frame.len()).collect();
        // All subsets of the sectors, and the file that ends within the frame.
        for lost in 1..(1_u32 << sectors.len()) {
            let mut bytes = whole.clone();
            let lost = sectors.iter().enumerate().filter(|(nth, _)| lost & (1 << nth) != 0);
            lost.for_each(|(_, part)| bytes[part.clone()].fill(0));
            if open(&segment(1), &bytes, at).is_none() {
                assert_ne!(tail(&segment(1), &bytes, at), Tail::Damaged, "at {at}, {} bytes", frame.len());
            }
        }
        for cut in at + 1..at + frame.len() {
            assert_ne!(tail(&segment(1), &whole[..cut], at), Tail::Damaged, "at {at}, cut at {cut}");
        }
        assert_eq!(tail(&segment(1), &whole[..at], at), Tail::Clean);
    }
}

#[test]
fn a_tail_with_a_flipped_bit_is_damaged() {
    for (at, frame) in tails() {
        for flipped in 0..frame.len() {
            let mut bytes = [&vec![7; at][..], &frame, &[0; 2000]].concat();
            bytes[at + flipped] ^= 1 << (flipped % 8);
            if open(&segment(1), &bytes, at).is_none() {
                // A header of which one byte lies in a sector of its own: that byte alone may be zero.
                let lonely = at % 512 == 511;
                let verdict = tail(&segment(1), &bytes, at);
                assert!(verdict == Tail::Damaged || lonely, "at {at}, bit of {flipped}: {verdict:?}");
            }
        }
    }
}
