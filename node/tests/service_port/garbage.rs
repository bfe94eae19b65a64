//! Random bytes: whatever comes, the port answers or closes, and goes on serving.

use bytes::Bytes;
use http_body_util::Full;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{Bed, request};
use crate::grpc_web::{PUT, code_of, message, put};

/// Runs `cases` random inputs, one after the other, against one port.
fn check<T: std::fmt::Debug>(cases: u32, strategy: impl Strategy<Value = T>, case: &impl AsyncFn(&Bed, T)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bed = runtime.block_on(Bed::start());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy, |input| {
        runtime.block_on(case(&bed, input));
        Ok(())
    });
    outcome.unwrap();
    assert!(!bed.served.is_finished(), "the accept loop ended");
    let alive = runtime.block_on(bed.http(request("GET", "/healthz").body(Full::default()).unwrap()));
    assert_eq!(alive.status(), 200);
}

#[test]
fn raw_bytes() {
    let line = prop_oneof![
        Just(b"GET /o/b/k HTTP/1.1\r\nhost: n\r\n".to_vec()),
        Just(b"PUT /o/b/k HTTP/1.1\r\nhost: n\r\ncontent-length: 10\r\n\r\n".to_vec()),
        Just(b"PUT /o/b/k HTTP/1.1\r\nhost: n\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        Just(b"".to_vec()),
    ];
    let input = (line, proptest::collection::vec(any::<u8>(), 0..300));
    check(200, input, &async |bed, (mut head, tail)| {
        head.extend_from_slice(&tail);
        bed.raw(&head, true).await;
    });
}

#[test]
fn grpc_web_frames() {
    let methods = prop_oneof![
        Just(PUT),
        Just("/holdfast.v1.Objects/Get"),
        Just("/holdfast.v1.Objects/List"),
        Just("/holdfast.v1.Objects/PutMany"),
        Just("/holdfast.v1.Cluster/Status"),
    ];
    let types = prop_oneof![Just("application/grpc-web+proto"), Just("application/grpc-web-text")];
    let input = (methods, types, proptest::collection::vec(any::<u8>(), 0..200));
    check(200, input, &async |bed, (path, content_type, body)| {
        let request = request("POST", path).header("content-type", content_type);
        let response = bed.http(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        let answered = response.headers().contains_key("grpc-status") || !response.body().is_empty();
        assert!(answered, "{response:?}");
    });
}

#[test]
fn damaged_messages() {
    let input = (any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>());
    check(200, input, &async |bed, (at, to, cut)| {
        let mut body = message(&put("some/key", b"some body".to_vec()));
        let at = at.index(body.len());
        body[at] = to;
        body.truncate(1 + cut.index(body.len()));
        let request = request("POST", PUT).header("content-type", "application/grpc-web+proto");
        let response = bed.http(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        // Either it still is a message, or the error is typed.
        if response.headers().contains_key("grpc-status") && response.headers()["grpc-status"] != "0" {
            code_of(&response);
        }
    });
}

#[test]
fn random_paths_and_headers() {
    let input = ("/[ -~]{0,40}", "[ -~]{0,60}", "[ -~]{0,60}");
    check(300, input, &async |bed, (path, range, tags)| {
        let path: String = path.chars().filter(|c| !" \"<>\\^`{|}".contains(*c)).collect();
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST"] {
            for prefix in ["", "/o/b"] {
                let raw = format!(
                    "{method} {prefix}{path} HTTP/1.1\r\nhost: n\r\ncontent-length: 0\r\nconnection: close\r\n\
                     range: bytes={range}\r\nif-none-match: {tags}\r\n\r\n"
                );
                let answer = bed.raw(raw.as_bytes(), false).await;
                assert!(answer.starts_with(b"HTTP/1."), "{raw}");
                assert!(!answer.starts_with(b"HTTP/1.1 500"), "{raw}");
            }
        }
    });
}
