//! Format 1 round-trips, its golden file stays readable, and any changed byte is noticed.

use std::collections::BTreeMap;

use holdfast_core::history::{Effect, History};
use holdfast_core::ids::OpId;
use holdfast_core::record::Object;
use holdfast_core::term::Version;
use proptest::prelude::*;

use super::*;

/// The stored value of `golden_record` under `golden_key`. Never changed: a new format gets a file of its own.
const GOLDEN: &[u8] = include_bytes!("golden/record-format-1.bin");

fn golden_key() -> Vec<u8> {
    storage_key(&ObjectName::new("bucket", "path/to/ключ").unwrap())
}

fn golden_ballot() -> Ballot {
    let node = NodeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    Ballot { term: Term { config: ConfigVersion(3), round: 5, node }, seq: 70_000 }
}

fn golden_record() -> Record {
    let version = Version(Ballot { seq: 69_999, ..golden_ballot() });
    let body = Bytes::from_static(b"the quick brown fox");
    let entries = [(OpId(1 << 100), Effect::Put(version)), (OpId(2 << 100), Effect::Fenced)];
    Record {
        version,
        state: State::Object(Object {
            size: body.len() as u64,
            content_type: "text/plain; charset=utf-8".to_owned(),
            metadata: [("a".to_owned(), "ä".to_owned()), ("b".to_owned(), String::new())].into(),
            hash: *blake3::hash(&body).as_bytes(),
            modified_unix_ms: 1_790_000_000_123,
            body: Some(body),
        }),
        history: History::from_parts(entries, OpId(77)),
    }
}

fn entry(ballot: Ballot, value: Encoded) -> Entry {
    Entry { ballot, head: value.head.into(), body: value.body }
}

#[test]
fn the_golden_file_of_format_1_is_read_and_written() {
    let key = golden_key();
    let value = encode(&key, golden_ballot(), &golden_record());
    assert!(value.body.is_none());
    assert_eq!(value.head, GOLDEN, "format 1 has changed: give the new form a new number");
    let stored = Entry { ballot: check(&key, GOLDEN).unwrap().ballot, head: GOLDEN.into(), body: None };
    assert_eq!(stored.ballot, golden_ballot());
    assert_eq!(decode_entry(&key, &stored, true).unwrap(), golden_record());
}

#[test]
fn any_changed_byte_is_noticed() {
    let key = golden_key();
    for at in 0..GOLDEN.len() {
        let mut value = GOLDEN.to_vec();
        value[at] ^= 0x10;
        assert!(matches!(check(&key, &value), Err(StoreError::Integrity(_))), "byte {at}");
        assert!(check(&key, &GOLDEN[..at]).is_err(), "cut at {at}");
    }
    let other = storage_key(&ObjectName::new("bucket", "path/to/other").unwrap());
    assert!(check(&other, GOLDEN).is_err(), "a value under another key");
}

#[test]
fn keys_sort_by_bucket_and_then_key() {
    let names = [("a", "z"), ("a", "z/"), ("a-b", "a"), ("a.b", "!"), ("a0", "a"), ("aa", " ")];
    let keys: Vec<_> =
        names.iter().map(|(bucket, key)| storage_key(&ObjectName::new(bucket, key).unwrap())).collect();
    assert!(keys.is_sorted());
}

fn ballots() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), any::<u64>(), any::<u128>(), any::<u64>()).prop_map(|(config, round, node, seq)| Ballot {
        term: Term { config: ConfigVersion(config), round, node: NodeId(node) },
        seq,
    })
}

fn records() -> impl Strategy<Value = Record> {
    let effect = (0..3, ballots()).prop_map(|(kind, ballot)| match kind {
        0 => Effect::Put(Version(ballot)),
        1 => Effect::Deleted(Version(ballot)),
        _ => Effect::Fenced,
    });
    let history = (prop::collection::vec((any::<u128>().prop_map(OpId), effect), 0..20), any::<u128>())
        .prop_map(|(entries, floor)| History::from_parts(entries, OpId(floor)));
    let metadata: BTreeMap<String, String> = [("name".to_owned(), "value".to_owned())].into();
    let object = (prop_oneof![0..64usize, 500..530usize, 9000..9001usize], any::<u8>(), any::<u64>())
        .prop_map(move |(size, fill, modified_unix_ms)| {
            let body = Bytes::from(vec![fill; size]);
            State::Object(Object {
                size: size as u64,
                content_type: "image/png".to_owned(),
                metadata: metadata.clone(),
                hash: *blake3::hash(&body).as_bytes(),
                modified_unix_ms,
                body: Some(body),
            })
        });
    let tombstone = any::<u64>().prop_map(|deleted_unix_ms| State::Tombstone { deleted_unix_ms });
    (ballots(), prop_oneof![object, tombstone], history).prop_map(|(version, state, history)| Record {
        version: Version(version),
        state,
        history,
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(ballot in ballots(), record in records()) {
        let key = golden_key();
        let value = encode(&key, ballot, &record);
        prop_assert_eq!(value.body.is_some(), record.body_len() > BODY_INSIDE_BYTES_MAX);
        prop_assert_eq!(says_body_beside(&value.head), value.body.is_some());
        prop_assert_eq!(check(&key, &value.head).unwrap().ballot, ballot);
        let entry = entry(ballot, value);
        prop_assert_eq!(decode_entry(&key, &entry, false).unwrap(), record.head());
        prop_assert_eq!(decode_entry(&key, &entry, true).unwrap(), record);
    }

    #[test]
    fn the_byte_order_of_terms_is_their_order(one in ballots(), other in ballots()) {
        let bytes = |term: Term| {
            let mut bytes = Vec::new();
            push_term(&mut bytes, term);
            bytes
        };
        prop_assert_eq!(bytes(one.term).cmp(&bytes(other.term)), one.term.cmp(&other.term));
        prop_assert_eq!(read_term(&bytes(one.term)), one.term);
    }

    #[test]
    fn no_bytes_panic(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..200)) {
        let entry = Entry { ballot: Ballot::ZERO, head: value.into(), body: None };
        prop_assert!(decode_entry(&key, &entry, true).is_err());
    }
}
