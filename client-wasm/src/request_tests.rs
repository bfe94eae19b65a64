//! Every request, compared with what prost makes of the .proto files.

use holdfast_core::ids::OpId;
use holdfast_proto::v1;
use proptest::prelude::*;
use prost::Message as _;
use prost::bytes::Bytes;

use crate::request::{self, PutHead};

const VERSION: &str = "1-2-3-a";

fn op() -> OpId {
    OpId::from_parts(1_700_000_000_000, [7; 10])
}

fn head<'a>(
    key: &'a str,
    condition: &'a str,
    retry: bool,
    metadata: Vec<String>,
    bytes: usize,
) -> PutHead<'a> {
    PutHead {
        bucket: "b",
        key,
        op: op(),
        condition,
        retry,
        to_life: 300,
        attempt: 4,
        content_type: "text/plain",
        metadata,
        hash: &[5; 32],
        body_bytes: bytes,
    }
}

#[test]
fn every_condition_is_written_as_prost_writes_it() {
    use v1::condition::Kind;
    let cases = [
        ("", None),
        ("absent", Some(Kind::IfAbsent)),
        ("present", Some(Kind::IfPresent)),
        (VERSION, Some(Kind::IfVersion)),
    ];
    for (text, kind) in cases {
        let version = if text == VERSION { VERSION.into() } else { String::new() };
        let condition = kind.map(|kind| v1::Condition { kind: kind.into(), version });
        let expected = v1::DeleteRequest {
            bucket: "b".into(),
            key: "k".into(),
            op_id: Bytes::copy_from_slice(&op().to_bytes()),
            condition,
            retry: true,
            to_life: Some(0),
            attempt: 9,
        };
        assert_eq!(
            request::delete("b", "k", op(), text, true, 0, 9).unwrap(),
            expected.encode_to_vec(),
            "{text}"
        );
    }
    assert!(request::delete("b", "k", op(), "gibberish", false, 0, 0).is_err());
}

#[test]
fn ranges_are_written_as_prost_writes_them() {
    use v1::byte_range::Start;
    let cases = [
        ("", None),
        ("0-", Some(v1::ByteRange { start: Some(Start::First(0)), last: None })),
        ("0-0", Some(v1::ByteRange { start: Some(Start::First(0)), last: Some(0) })),
        ("7-300", Some(v1::ByteRange { start: Some(Start::First(7)), last: Some(300) })),
        ("-5", Some(v1::ByteRange { start: Some(Start::Suffix(5)), last: None })),
    ];
    for (text, range) in cases {
        let expected =
            v1::GetRequest { bucket: "b".into(), key: "k".into(), range, if_none_match: VERSION.into() };
        assert_eq!(request::get("b", "k", text, VERSION).unwrap(), expected.encode_to_vec(), "{text}");
    }
    for wrong in ["5", "-", "5-2", "a-b", "1.5-2", "--1", "99999999999999999999-"] {
        assert!(request::get("b", "k", wrong, "").is_err(), "{wrong}");
    }
}

#[test]
fn the_other_requests_are_written_as_prost_writes_them() {
    let list = v1::ListRequest {
        bucket: "b".into(),
        prefix: "p/".into(),
        delimiter: "/".into(),
        page_token: "t".into(),
        page_size: 300,
    };
    assert_eq!(request::list("b", "p/", "/", "t", 300).unwrap(), list.encode_to_vec());
    let head = v1::HeadRequest { bucket: "b".into(), key: "k".into() };
    assert_eq!(request::head("b", "k").unwrap(), head.encode_to_vec());
    let outcome = v1::OutcomeRequest {
        bucket: "b".into(),
        key: "k".into(),
        op_id: Bytes::copy_from_slice(&op().to_bytes()),
    };
    assert_eq!(request::outcome("b", "k", op()).unwrap(), outcome.encode_to_vec());
    let get = v1::GetRequest { bucket: "b".into(), key: "k".into(), ..Default::default() };
    let item = request::item(&request::get("b", "k", "", "").unwrap(), 0);
    assert_eq!(item, v1::GetManyRequest { gets: vec![get] }.encode_to_vec());
}

#[test]
fn broken_rules_are_refused() {
    assert!(request::head("B", "k").is_err());
    assert!(request::head("b", "a/../b").is_err());
    assert!(request::list("b", &"p".repeat(1025), "", "", 0).is_err());
    assert!(head("k", "", false, vec!["odd".into()], 0).encode().is_err());
    assert!(head("k", "", false, vec!["UPPER".into(), "x".into()], 0).encode().is_err());
    let fault = head("k", "", false, Vec::new(), (1 << 20) + 1).encode().unwrap_err();
    assert!(fault.0.contains(r#""code":"too-large""#) && fault.0.contains(r#""limit":1048576"#));
}

proptest! {
    #[test]
    fn a_put_with_its_body_behind_it_is_what_prost_reads(
        key in "[a-zA-Z0-9 üß漢/%#?\"']{1,80}",
        retry: bool,
        metadata in proptest::collection::btree_map("[a-z0-9._-]{1,10}", "[ -~ü]{0,20}", 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let flat = metadata.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        let mut bytes = head(&key, "absent", retry, flat, body.len()).encode().unwrap();
        let item = request::item(&bytes, body.len());
        bytes.extend_from_slice(&body);
        let expected = v1::PutRequest {
            bucket: "b".into(),
            key,
            op_id: Bytes::copy_from_slice(&op().to_bytes()),
            condition: Some(v1::Condition { kind: v1::condition::Kind::IfAbsent.into(), version: String::new() }),
            content_type: "text/plain".into(),
            metadata,
            hash: Bytes::from_static(&[5; 32]),
            retry,
            to_life: Some(300),
            attempt: 4,
            body: body.clone().into(),
        };
        prop_assert_eq!(v1::PutRequest::decode(&bytes[..]).unwrap(), expected.clone());
        let many = [&item[..], &body[..]].concat();
        prop_assert_eq!(v1::PutManyRequest::decode(&many[..]).unwrap().puts, vec![expected]);
    }
}
