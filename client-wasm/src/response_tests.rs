//! Every answer, as prost writes it, read.

use holdfast_proto::v1;
use proptest::prelude::*;
use prost::Message;
use prost::bytes::Bytes;

use crate::response;

fn info(key: &str, body: &[u8]) -> v1::ObjectInfo {
    v1::ObjectInfo {
        key: key.into(),
        version: "1-2-3-a".into(),
        size: body.len() as u64,
        content_type: "text/plain".into(),
        metadata: [("a".to_string(), "\"ü\"".to_string())].into(),
        hash: Bytes::copy_from_slice(blake3::hash(body).as_bytes()),
        modified_unix_ms: 1_700_000_000_000,
    }
}

fn info_text(key: &str, body: &[u8]) -> String {
    format!(
        r#"{{"key":"{key}","version":"1-2-3-a","size":{},"contentType":"text/plain","metadata":{{"a":"\"ü\""}},"hash":"{}","modified":1700000000000}}"#,
        body.len(),
        blake3::hash(body)
    )
}

fn got(body: &'static [u8]) -> v1::GetResponse {
    v1::GetResponse { info: Some(info("k", body)), body: Bytes::from_static(body), ..Default::default() }
}

#[test]
fn a_body_is_verified_and_said_where_it_lies() {
    let message = got(b"hello").encode_to_vec();
    let at = message.len() - 5;
    let expected = format!(
        r#"{{"info":{},"notModified":false,"offset":0,"bodyAt":{at},"bodyBytes":5}}"#,
        info_text("k", b"hello")
    );
    assert_eq!(response::get(&message).unwrap(), expected);
    let mut flipped = message;
    flipped[at] ^= 1;
    assert!(response::get(&flipped).unwrap_err().0.contains(r#""code":"integrity""#));
}

#[test]
fn a_part_must_lie_within_the_object_and_an_empty_body_has_its_hash_too() {
    let part = |offset, body: &'static [u8]| {
        let part = v1::GetResponse { offset, body: Bytes::from_static(body), ..got(b"hello") };
        response::get(&part.encode_to_vec())
    };
    assert!(part(1, b"ell").is_ok());
    assert!(part(3, b"ell").is_err());
    assert!(part(u64::MAX, b"e").is_err());
    assert!(response::get(&got(b"").encode_to_vec()).unwrap().contains(r#""bodyBytes":0"#));
    let not_modified = v1::GetResponse { not_modified: true, body: Bytes::new(), ..got(b"hello") };
    assert!(response::get(&not_modified.encode_to_vec()).unwrap().contains(r#""notModified":true"#));
}

#[test]
fn small_answers() {
    let put = v1::PutResponse { info: Some(info("k", b"x")) };
    assert_eq!(
        response::put(&put.encode_to_vec()).unwrap(),
        format!(r#"{{"info":{}}}"#, info_text("k", b"x"))
    );
    let head = v1::HeadResponse { info: Some(info("k", b"x")), replicas: vec!["0a".into(), "0b".into()] };
    let expected = format!(r#"{{"info":{},"replicas":["0a","0b"]}}"#, info_text("k", b"x"));
    assert_eq!(response::head(&head.encode_to_vec()).unwrap(), expected);
    assert_eq!(response::delete(&[]).unwrap(), r#"{"deleted":false}"#);
    let deleted = v1::DeleteResponse { deleted: true, version: "v".into() };
    assert_eq!(response::delete(&deleted.encode_to_vec()).unwrap(), r#"{"deleted":true}"#);
    let outcome =
        v1::OutcomeResponse { kind: v1::outcome_response::Kind::Committed.into(), version: "v".into() };
    assert_eq!(response::outcome(&outcome.encode_to_vec()).unwrap(), r#"{"kind":"committed","version":"v"}"#);
    assert!(response::outcome(&[]).is_err());
    assert!(response::put(&[]).is_err());
}

#[test]
fn status() {
    let node = v1::NodeStatus {
        node_id: "0a".into(),
        client_url: "http://a".into(),
        reachable: true,
        replica_of: 1024,
        ..Default::default()
    };
    let status = v1::StatusResponse {
        cluster: "c".into(),
        registry_connected: true,
        nodes: vec![node],
        partitions: Some(v1::PartitionCounts { total: 1024, whole: 1000, degraded: 24, unavailable: 0 }),
        ..Default::default()
    };
    let text = response::status(&status.encode_to_vec()).unwrap();
    for part in [
        r#""cluster":"c""#,
        r#""registryConnected":true"#,
        r#""reachable":1"#,
        r#""replicaOf":1024"#,
        r#""id":"0a""#,
        r#""partitions":{"total":1024,"whole":1000,"degraded":24,"unavailable":0}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn topology() {
    let topology = v1::TopologyResponse {
        cluster: "c".into(),
        layout_version: 7,
        replication: 1,
        partitions: 1024,
        nodes: vec![v1::TopologyNode {
            node_id: format!("{:032x}", 10),
            client_url: "http://a:1".into(),
            zone: "z".into(),
            live: true,
            life: u64::MAX,
        }],
        placement: vec![0; 2048].into(),
        unix_ms: 1_700_000_000_000,
    };
    let read = response::topology(&topology.encode_to_vec()).unwrap();
    assert_eq!((read.cluster.as_str(), read.layout_version, read.nodes.len()), ("c", 7, 1));
    assert_eq!(response::unix_ms(&topology.encode_to_vec()), 1_700_000_000_000);
    assert!(read.nodes[0].live && read.nodes[0].life == u64::MAX);
    assert!(response::topology(&[]).is_err());
}

/// Reads a message in windows of `window` bytes: how TypeScript does it. The windows' texts.
fn in_windows(message: &[u8], window: usize, read: impl Fn(&[u8], bool) -> String) -> Vec<String> {
    let (mut at, mut texts) = (0, Vec::new());
    while at < message.len() {
        let end = message.len().min(at + window);
        let text = read(&message[at..end], end < message.len());
        let next = text.rsplit(':').next().unwrap().trim_end_matches('}').parse::<usize>().unwrap();
        assert!(next > 0);
        at += next;
        texts.push(text);
    }
    texts
}

#[test]
fn a_listing_is_the_same_in_any_windows() {
    let objects: Vec<_> = (0..20).map(|at| info(&format!("key {at:02}"), b"x")).collect();
    let list = v1::ListResponse { objects, prefixes: vec!["p/".into()], next_page_token: "more".into() };
    let message = list.encode_to_vec();
    for window in [200, 333, 5000] {
        let texts = in_windows(&message, window, |bytes, more| response::list(bytes, more).unwrap());
        let keys = texts.iter().map(|text| text.matches(r#""key":"#).count()).sum::<usize>();
        assert_eq!(keys, 20);
        assert!(texts.last().unwrap().contains(r#""prefixes":["p/"],"token":"more""#));
    }
    assert!(response::list(&message[..50], true).is_err(), "a field longer than the scratch is refused");
    assert!(response::list(&message[..50], false).is_err(), "a cut message is refused");
}

#[test]
fn many_results_and_a_damaged_one_among_them() {
    use v1::get_many_response::{Result, result};
    let object = |response| Result { result: Some(result::Result::Object(response)) };
    let error = v1::ErrorDetail { code: "not-found".into(), message: "none".into(), ..Default::default() };
    let damaged = v1::GetResponse { body: Bytes::from_static(b"jello"), ..got(b"hello") };
    let many = v1::GetManyResponse {
        results: vec![
            object(got(b"hello")),
            Result { result: Some(result::Result::Error(error)) },
            object(damaged),
        ],
    };
    let message = many.encode_to_vec();
    let text = response::get_many(&message, false).unwrap();
    assert!(text.contains(r#"{"error":{"code":"not-found","message":"none"}}"#));
    assert!(text.contains(r#""code":"integrity""#));
    let at: usize = text.split(r#""bodyAt":"#).nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(&message[at..at + 5], b"hello");
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), more: bool) {
        let _ = response::put(&bytes);
        let _ = response::get(&bytes);
        let _ = response::head(&bytes);
        let _ = response::delete(&bytes);
        let _ = response::outcome(&bytes);
        let _ = response::status(&bytes);
        let _ = response::topology(&bytes);
        let _ = response::list(&bytes, more);
        let _ = response::put_many(&bytes, more);
        let _ = response::get_many(&bytes, more);
        let _ = crate::fault::of_status(&bytes);
    }
}
