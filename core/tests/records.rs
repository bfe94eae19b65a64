//! Records tell heads from whole objects; metadata and content types from outside are checked.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::history::History;
use holdfast_core::record::{
    CONTENT_TYPE_BYTES_MAX, CONTENT_TYPE_DEFAULT, METADATA_BYTES_MAX, Object, Record, State,
    check_content_type, check_metadata,
};
use holdfast_core::term::{Ballot, Version};
use proptest::prelude::*;

fn object(body: Option<Bytes>) -> Record {
    let state = State::Object(Object {
        size: 3,
        content_type: "text/plain".to_string(),
        metadata: BTreeMap::new(),
        hash: [0; 32],
        modified_unix_ms: 1,
        body,
    });
    Record { version: Version(Ballot::ZERO), state, history: History::default() }
}

fn tombstone() -> Record {
    Record { state: State::Tombstone { deleted_unix_ms: 1 }, ..object(None) }
}

fn metadata(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_string(), value.to_string())])
}

#[test]
fn a_head_is_everything_but_the_body() {
    let whole = object(Some(Bytes::from_static(b"abc")));
    assert!(whole.is_whole());
    assert_eq!(whole.body_len(), 3);
    assert_eq!(whole.head(), object(None));
    assert!(!whole.head().is_whole());
    assert_eq!(whole.head().body_len(), 0);
    assert!(object(Some(Bytes::new())).is_whole(), "an empty body is a body");
}

#[test]
fn a_tombstone_is_whole_and_has_no_object_version() {
    assert!(tombstone().is_whole());
    assert_eq!(tombstone().head(), tombstone());
    assert_eq!(tombstone().object_version(), None);
    assert_eq!(tombstone().body_len(), 0);
    assert_eq!(object(None).object_version(), Some(Version(Ballot::ZERO)));
}

#[test]
fn metadata_at_its_limit_is_taken_and_beyond_it_refused() {
    let name = "n".repeat(48);
    assert!(check_metadata(&metadata(&name, &"v".repeat(METADATA_BYTES_MAX - 48))).is_ok());
    assert!(check_metadata(&metadata(&name, &"v".repeat(METADATA_BYTES_MAX - 47))).is_err());
    assert!(check_metadata(&metadata("a-1_b.c", "日本語 with spaces")).is_ok());
    assert!(check_metadata(&BTreeMap::new()).is_ok());
}

#[test]
fn metadata_that_headers_cannot_carry_is_refused() {
    for (name, value) in [("", "v"), ("Upper", "v"), ("sp ace", "v"), ("é", "v"), ("n", "a\nb"), ("n", "\0")]
    {
        assert!(check_metadata(&metadata(name, value)).is_err(), "{name:?}: {value:?}");
    }
}

#[test]
fn content_types_are_bounded_visible_ascii() {
    assert!(check_content_type(CONTENT_TYPE_DEFAULT).is_ok());
    assert!(check_content_type("text/html; charset=utf-8").is_ok());
    assert!(check_content_type(&"x".repeat(CONTENT_TYPE_BYTES_MAX)).is_ok());
    assert!(check_content_type(&"x".repeat(CONTENT_TYPE_BYTES_MAX + 1)).is_err());
    for wrong in ["text/plain\r\nx: y", "\u{7f}", "é", "\t"] {
        assert!(check_content_type(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn accepted_metadata_keeps_its_promises(
        metadata in prop::collection::btree_map("[a-z0-9._-]{0,3}|\\PC{0,2}", "\\PC{0,4}|[\\x00-\\x20]{0,2}", 0..5),
    ) {
        let ok = check_metadata(&metadata).is_ok();
        let name_ok = |name: &String| !name.is_empty()
            && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_.".contains(char));
        let expected = metadata.keys().all(name_ok)
            && metadata.values().all(|value| !value.contains(|char: char| char.is_control()));
        prop_assert_eq!(ok, expected);
    }
}
