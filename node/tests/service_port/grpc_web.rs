//! grpc-web over HTTP/1.1, as browsers speak it to a port without TLS.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use holdfast_core::error::Code;
use holdfast_proto::v1;
use http::{Request, Response};
use http_body_util::Full;
use prost::Message;

use crate::bed::{Bed, request};
use crate::grpc::error_of;

pub(crate) const PUT: &str = "/holdfast.v1.Objects/Put";

pub(crate) fn frame(flag: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn message(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    frame(0, u32::try_from(bytes.len()).unwrap(), &bytes)
}

pub(crate) fn put(key: &str, body: Vec<u8>) -> v1::PutRequest {
    v1::PutRequest { bucket: "b".to_owned(), key: key.to_owned(), body: body.into(), ..Default::default() }
}

fn web(path: &str, content_type: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    request("POST", path)
        .header("content-type", content_type)
        .header("origin", "http://page.example")
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) fn code_of(response: &Response<Bytes>) -> Code {
    let details = response.headers().get("grpc-status-details-bin").expect("a typed error");
    let details = details.as_bytes();
    let bytes = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details)).unwrap();
    error_of(&bytes).code
}

#[tokio::test]
async fn a_put_and_its_answer() {
    let bed = Bed::start().await;
    for content_type in [
        "application/grpc-web+proto",
        "application/grpc-web",
        "application/grpc-web+proto;charset=utf-8",
        "Application/Grpc-Web+Proto; charset=UTF-8",
    ] {
        let response = bed.http(web(PUT, content_type, message(&put("k", vec![1; 100_000])))).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/grpc-web+proto");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["timing-allow-origin"], "*");
        let exposed = headers["access-control-expose-headers"].to_str().unwrap();
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "x-request-id"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        let body = response.body();
        assert_eq!(body[0], 0);
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let answer = v1::PutResponse::decode(&body[5..5 + length]).unwrap();
        assert_eq!(answer.info.unwrap().size, 100_000);
        assert_eq!(body[5 + length], 0x80, "a frame of trailers");
        assert!(String::from_utf8_lossy(&body[5 + length..]).contains("grpc-status:0"));
    }
}

#[tokio::test]
async fn text_mode() {
    let bed = Bed::start().await;
    let body = STANDARD.encode(message(&put("k", b"hello".to_vec()))).into_bytes();
    let response = bed.http(web(PUT, "application/grpc-web-text+proto", body)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(bed.memory.len(), 1);
    let garbage = bed.http(web(PUT, "application/grpc-web-text", b"%%%%%".to_vec())).await;
    assert_eq!(code_of(&garbage), Code::Invalid);
}

#[tokio::test]
async fn over_the_limit_is_a_typed_error() {
    let bed = Bed::start().await;
    for bytes in [(1 << 20) + 1, 5 << 20, 40 << 20] {
        let response =
            bed.http(web(PUT, "application/grpc-web+proto", message(&put("k", vec![1; bytes])))).await;
        assert_eq!(response.status(), 200);
        assert!(matches!(code_of(&response), Code::TooLarge(_)), "{bytes}");
    }
    let many = v1::PutManyRequest { puts: vec![put("k", vec![1; 1 << 20]); 30] };
    let path = "/holdfast.v1.Objects/PutMany";
    let response = bed.http(web(path, "application/grpc-web+proto", message(&many))).await;
    assert!(matches!(code_of(&response), Code::TooLarge(_)));
    assert_eq!(bed.memory.len(), 0);
}

#[tokio::test]
async fn a_deadline_already_past_does_nothing() {
    let bed = Bed::start().await;
    for (timeout, code) in [("0m", Code::Timeout), ("soon", Code::Invalid)] {
        let mut late = web(PUT, "application/grpc-web+proto", message(&put("k", b"x".to_vec())));
        late.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        assert_eq!(code_of(&bed.http(late).await), code);
    }
    assert_eq!(bed.memory.len(), 0);
}

#[tokio::test]
async fn frames_that_are_none() {
    let bed = Bed::start().await;
    let good = message(&put("k", b"x".to_vec()));
    let mut two = good.clone();
    two.extend_from_slice(&frame(7, 3, b"abc"));
    for (what, body) in [
        ("nothing", vec![]),
        ("half a header", good[..3].to_vec()),
        ("half a message", good[..good.len() - 1].to_vec()),
        ("announces 4 GiB", frame(0, u32::MAX, b"abc")),
        ("unknown flag", frame(2, 3, b"abc")),
        ("compressed without saying how", frame(1, 3, b"abc")),
        ("not protobuf", frame(0, 3, &[0xff; 3])),
        ("only trailers", frame(0x80, 3, b"a:b")),
        ("garbage behind", two),
    ] {
        let response = bed.http(web(PUT, "application/grpc-web+proto", body)).await;
        let code = code_of(&response);
        assert!(matches!(code, Code::Invalid | Code::TooLarge(_)), "{what}: {code:?}");
    }
    assert_eq!(bed.memory.len(), 0);
}

#[tokio::test]
async fn who_does_not_speak_grpc_is_told() {
    let bed = Bed::start().await;
    let response = bed.http(web(PUT, "application/json", b"{}".to_vec())).await;
    assert_eq!(response.status(), 415);
    let response = bed.http(web(PUT, "application/grpc", message(&put("k", vec![])))).await;
    assert_eq!(response.status(), 415);
    assert!(String::from_utf8_lossy(response.body()).contains("HTTP/2"));
    let response = bed.http(request("GET", PUT).body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 405);
    let unknown = "/holdfast.v1.Objects/Frobnicate";
    let response = bed.http(web(unknown, "application/grpc-web+proto", message(&put("k", vec![])))).await;
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn preflights_are_cached_for_two_hours() {
    let bed = Bed::start().await;
    for path in [PUT, "/o/b/k"] {
        let preflight = request("OPTIONS", path)
            .header("origin", "http://page.example")
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "x-holdfast-meta-a,content-type")
            .body(Full::default())
            .unwrap();
        let response = bed.http(preflight).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["access-control-max-age"], "7200");
        assert_eq!(headers["access-control-allow-headers"], "x-holdfast-meta-a,content-type");
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    }
}
