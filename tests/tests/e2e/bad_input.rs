//! What clients may send and a node refuses: each gets an answer that says what is wrong, nothing is stored, and the
//! node serves on. Raw bytes on a real port, as a broken or hostile client would send them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use holdfast::{Client, Code, Condition, GetOptions, ListOptions, PutOptions};
use holdfast_core::record::{BODY_BYTES_MAX, METADATA_BYTES_MAX};
use holdfast_proto::v1::objects_client::ObjectsClient;
use holdfast_proto::v1::{Condition as WireCondition, PutRequest};
use holdfast_tests::cluster::{Cluster, RegistryKind};

use crate::scene::{BUCKET, client_of, play};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

fn one_node() -> Cluster {
    Cluster::start(1, RegistryKind::Embedded, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends bytes on a connection of their own; all that comes back until it is closed.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    stream.write_all(request).expect("the node takes the whole request before it closes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer comes, and then the end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn http1(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

async fn stored(client: &Client) -> usize {
    let mut pages = client.list(BUCKET, ListOptions::default()).unwrap();
    let page = pages.next_page().await.unwrap();
    page.map_or(0, |page| page.objects.len())
}

#[test]
fn http_requests_that_break_a_rule() {
    let cluster = one_node();
    let address = cluster.nodes[0].address();
    let long_key = format!("/o/scene/{}", "k".repeat(1025));
    let long_bucket = format!("/o/{}/k", "b".repeat(64));
    let long_value = "v".repeat(METADATA_BYTES_MAX + 1);
    let wrong_hash = "0".repeat(64);
    let too_large = vec![0; BODY_BYTES_MAX + 1];
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("no key", http1("PUT", "/o/scene/", &[], b"x"), 405),
        ("no bucket", http1("PUT", "/o//k", &[], b"x"), 400),
        ("a key over 1024 bytes", http1("PUT", &long_key, &[], b"x"), 400),
        ("a bucket over 63 bytes", http1("PUT", &long_bucket, &[], b"x"), 400),
        ("upper case in a bucket", http1("PUT", "/o/Scene/k", &[], b"x"), 400),
        ("a path segment ..", http1("PUT", "/o/scene/a/../b", &[], b"x"), 400),
        ("an encoded ..", http1("PUT", "/o/scene/a/%2e%2e/b", &[], b"x"), 400),
        ("NUL", http1("PUT", "/o/scene/a%00b", &[], b"x"), 400),
        ("not UTF-8", http1("PUT", "/o/scene/%ff%fe", &[], b"x"), 400),
        ("a bare %", http1("PUT", "/o/scene/100%", &[], b"x"), 400),
        ("metadata over 2 KiB", http1("PUT", "/o/scene/k", &[("x-holdfast-meta-a", &long_value)], b"x"), 400),
        ("a wrong checksum", http1("PUT", "/o/scene/k", &[("x-holdfast-hash", &wrong_hash)], b"x"), 400),
        ("a checksum that is none", http1("PUT", "/o/scene/k", &[("x-holdfast-hash", "abc")], b"x"), 400),
        ("a version that is none", http1("PUT", "/o/scene/k", &[("if-match", "\"abc\"")], b"x"), 400),
        ("an absent key's version", http1("DELETE", "/o/scene/k", &[("if-match", "*")], b""), 412),
        ("a body over the limit", http1("PUT", "/o/scene/k", &[], &too_large), 413),
        ("a page token that is none", http1("GET", "/o/scene?page_token=%21%21", &[], b""), 400),
    ];
    let mut wrong = Vec::new();
    for (what, request, status) in cases {
        let answer = exchange(address, &request);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim()).unwrap_or_default();
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) || body.is_empty() {
            wrong.push(format!("{what}, expected {status} and what to do: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    play(async { assert_eq!(stored(&client_of(&cluster)).await, 0) });
}

#[test]
fn grpc_web_frames_that_are_none() {
    let cluster = one_node();
    let address = cluster.nodes[0].address();
    let frame =
        |flag: u8, length: u32, payload: &[u8]| [&[flag][..], &length.to_be_bytes(), payload].concat();
    let cases = [
        ("nothing", Vec::new()),
        ("half a frame header", vec![0, 0, 0]),
        ("a frame that ends early", frame(0, 100, b"short")),
        ("a frame of 4 GiB", frame(0, u32::MAX, b"short")),
        ("a message that is garbage", frame(0, 8, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("a compressed message", frame(1, 4, b"\0\0\0\0")),
        ("an unknown flag", frame(0x42, 0, b"")),
        ("a body over the limit", frame(0, 2 << 20, &vec![0; 2 << 20])),
    ];
    let mut wrong = Vec::new();
    for (what, body) in cases {
        let headers = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
        let answer = exchange(address, &http1("POST", "/holdfast.v1.Objects/Put", &headers, &body));
        // In the headers, or in a trailers frame within the body; status 0 would be success.
        let status = answer.split("grpc-status:").nth(1).map(|rest| rest.trim_start().to_owned());
        let code: String = status.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        if code.is_empty() || code == "0" {
            wrong.push(format!("{what}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let late = [("content-type", "application/grpc-web+proto"), ("grpc-timeout", "0n")];
    let answer = exchange(address, &http1("POST", "/holdfast.v1.Objects/Put", &late, &frame(0, 0, b"")));
    assert!(answer.contains("grpc-status: 4"), "a deadline that has passed: {answer}");
    let garbage = exchange(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is no HTTP\r\n\r\n");
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
    play(async { assert_eq!(stored(&client_of(&cluster)).await, 0) });
}

#[test]
fn grpc_requests_that_break_a_rule() {
    let cluster = one_node();
    play(async {
        let client = client_of(&cluster);
        let mut raw = ObjectsClient::connect(cluster.nodes[0].url()).await.unwrap();
        let put = PutRequest {
            bucket: BUCKET.to_owned(),
            key: "k".to_owned(),
            op_id: client.fresh_op_id().to_bytes().to_vec().into(),
            body: "x".into(),
            ..PutRequest::default()
        };
        for (what, request) in [
            ("an unknown condition", with_condition(&put, 77)),
            ("a condition without its kind", with_condition(&put, 0)),
            ("an op id of 3 bytes", PutRequest { op_id: vec![1, 2, 3].into(), ..put.clone() }),
            ("a hash of 3 bytes", PutRequest { hash: vec![1, 2, 3].into(), ..put.clone() }),
            ("a wrong hash", PutRequest { hash: vec![0; 32].into(), ..put.clone() }),
        ] {
            let status = raw.put(request).await.expect_err(what);
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{what}: {status}");
            assert!(!status.message().is_empty(), "{what}");
        }
        assert_eq!(stored(&client).await, 0);
    });
}

fn with_condition(put: &PutRequest, kind: i32) -> PutRequest {
    PutRequest { condition: Some(WireCondition { kind, version: String::new() }), ..put.clone() }
}

#[test]
fn the_client_is_told_what_is_wrong() {
    let cluster = one_node();
    play(async {
        let client = client_of(&cluster);
        let options = PutOptions::default;
        let large = client.put(BUCKET, "k", vec![0; BODY_BYTES_MAX + 1], options()).await.unwrap_err();
        assert_eq!(*large.code(), Code::TooLarge(BODY_BYTES_MAX as u64), "{large}");
        for (bucket, key) in [("", "k"), ("UP", "k"), (BUCKET, ""), (BUCKET, "a/../b"), (BUCKET, "a\0b")] {
            let error = client.put(bucket, key, "x", options()).await.unwrap_err();
            assert_eq!(*error.code(), Code::Invalid, "{bucket}/{key}: {error}");
        }
        let absent = client.get(BUCKET, "k", GetOptions::default()).await.unwrap_err();
        assert!(absent.is_not_found(), "{absent}");
        let present = PutOptions { condition: Condition::IfPresent, ..options() };
        let refused = client.put(BUCKET, "k", "x", present).await.unwrap_err();
        assert_eq!(*refused.code(), Code::ConditionFailed(None), "{refused}");
        // The limit itself is allowed.
        let largest = vec![7; BODY_BYTES_MAX];
        client.put(BUCKET, "k", largest.clone(), options()).await.unwrap();
        assert_eq!(client.get(BUCKET, "k", GetOptions::default()).await.unwrap().body, largest);
        assert_eq!(stored(&client).await, 1);
    });
}
