//! `/o/…` and the probes, as `curl`, `<img>` and Prometheus use them.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;

use crate::bed::{Bed, request};
use crate::memory::{ERROR_PREFIX, errors};

impl Bed {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
        let mut builder = request(method, path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        self.http(builder.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.send("GET", path, headers, b"").await
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn put_get_head_delete() {
    let bed = Bed::start().await;
    let path = "/o/b/dir/a%20picture%20%231.png";
    let put = bed.send("PUT", path, &[("x-holdfast-meta-colour", "r%C3%B6t")], b"0123456789").await;
    assert_eq!(put.status(), 200);
    let etag = text(put.headers(), "etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");

    let get = bed.get(path, &[]).await;
    assert_eq!((get.status().as_u16(), &get.body()[..]), (200, &b"0123456789"[..]));
    let headers = get.headers();
    assert_eq!(text(headers, "content-type"), "image/png");
    assert_eq!(text(headers, "content-length"), "10");
    assert_eq!(text(headers, "etag"), etag);
    assert_eq!(text(headers, "x-holdfast-hash"), blake3::hash(b"0123456789").to_hex().as_str());
    assert_eq!(text(headers, "x-holdfast-meta-colour"), "r%C3%B6t");
    assert_eq!(text(headers, "last-modified"), "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_eq!(text(headers, "x-content-type-options"), "nosniff");
    assert!(text(headers, "content-security-policy").contains("sandbox"));
    assert_eq!(text(headers, "accept-ranges"), "bytes");
    assert_eq!(text(headers, "access-control-allow-origin"), "*");
    assert!(get.headers().get("content-disposition").is_none());

    let head = bed.send("HEAD", path, &[], b"").await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert_eq!(text(head.headers(), "content-length"), "10");
    let download = bed.get(&format!("{path}?download"), &[]).await;
    assert!(
        text(download.headers(), "content-disposition")
            .starts_with("attachment; filename=\"a picture #1.png\"")
    );

    assert_eq!(bed.send("DELETE", path, &[("if-match", "\"1-1-99-abc\"")], b"").await.status(), 412);
    assert_eq!(bed.send("DELETE", path, &[("if-match", &etag)], b"").await.status(), 204);
    assert_eq!(bed.send("DELETE", path, &[], b"").await.status(), 404);
    let gone = bed.get(path, &[]).await;
    assert_eq!(gone.status(), 404);
    let json: serde_json::Value = serde_json::from_slice(gone.body()).unwrap();
    assert_eq!(json["code"], "not-found");
    assert!(gone.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn conditions() {
    let bed = Bed::start().await;
    let created = bed.send("PUT", "/o/b/k", &[("if-none-match", "*")], b"1").await;
    assert_eq!(created.status(), 201);
    let etag = text(created.headers(), "etag").to_owned();
    let again = bed.send("PUT", "/o/b/k", &[("if-none-match", "*")], b"2").await;
    assert_eq!((again.status().as_u16(), text(again.headers(), "etag")), (412, etag.as_str()));
    assert_eq!(bed.get("/o/b/k", &[("if-none-match", &etag)]).await.status(), 304);
    assert_eq!(bed.get("/o/b/k", &[("if-none-match", &format!("\"x\", W/{etag}"))]).await.status(), 304);
    assert_eq!(bed.get("/o/b/k", &[("if-none-match", "*")]).await.status(), 304);
    assert_eq!(bed.get("/o/b/k", &[("if-none-match", "\"x\"")]).await.status(), 200);
    assert_eq!(bed.get("/o/b/k", &[("if-match", "\"x\"")]).await.status(), 412);
    let swapped = bed.send("PUT", "/o/b/k", &[("if-match", &etag)], b"3").await;
    assert_eq!(swapped.status(), 200);
    assert_eq!(bed.send("PUT", "/o/b/k", &[("if-match", &etag)], b"4").await.status(), 412);
    assert_eq!(bed.send("PUT", "/o/b/k", &[("if-match", "nonsense")], b"4").await.status(), 400);
    assert_eq!(bed.get("/o/b/k", &[]).await.body().as_ref(), b"3");
}

#[tokio::test]
async fn ranges() {
    let bed = Bed::start().await;
    bed.send("PUT", "/o/b/k", &[], b"0123456789").await;
    bed.send("PUT", "/o/b/empty", &[], b"").await;
    for (range, status, content_range, body) in [
        ("bytes=0-0", 206, "bytes 0-0/10", "0"),
        ("bytes=4-", 206, "bytes 4-9/10", "456789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("items=0-1", 200, "", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=-0", 416, "bytes */10", ""),
    ] {
        let response = bed.get("/o/b/k", &[("range", range)]).await;
        assert_eq!(response.status(), status, "{range}");
        assert_eq!(text(response.headers(), "content-range"), content_range, "{range}");
        if status != 416 {
            assert_eq!(response.body().as_ref(), body.as_bytes(), "{range}");
        }
    }
    assert_eq!(bed.get("/o/b/empty", &[]).await.status(), 200);
    assert_eq!(bed.get("/o/b/empty", &[("range", "bytes=0-")]).await.status(), 416);
    let stale = bed.get("/o/b/k", &[("range", "bytes=0-0"), ("if-range", "\"x\"")]).await;
    assert_eq!(stale.status(), 200);
}

#[tokio::test]
async fn what_is_refused() {
    let bed = Bed::start().await;
    for path in ["/o/B/k", "/o/b/%2e%2e/k", "/o/b/a%00b", "/o/b/%ff", "/o/b/%zz", "/o//k", "/o/", "/o"] {
        assert_eq!(bed.send("PUT", path, &[], &[1; 100_000]).await.status(), 400, "{path}");
    }
    let over = bed.send("PUT", "/o/b/k", &[], &vec![0; 3 << 20]).await;
    assert_eq!(over.status(), 413);
    let json: serde_json::Value = serde_json::from_slice(over.body()).unwrap();
    assert_eq!((json["code"].as_str(), json["limit"].as_u64()), (Some("too-large"), Some(1 << 20)));
    let hash = "00".repeat(32);
    assert_eq!(bed.send("PUT", "/o/b/k", &[("x-holdfast-hash", &hash)], b"x").await.status(), 400);
    assert_eq!(
        bed.send("PUT", "/o/b/k", &[("x-holdfast-meta-a", &"v".repeat(3000))], b"").await.status(),
        400
    );
    assert_eq!(bed.send("POST", "/o/b/k", &[], b"x").await.status(), 405);
    assert_eq!(bed.send("DELETE", "/o/b", &[], b"").await.status(), 405);
    assert_eq!(bed.send("POST", "/healthz", &[], b"x").await.status(), 405);
    assert_eq!(bed.memory.len(), 0);
}

#[tokio::test]
async fn every_error_has_its_status() {
    let bed = Bed::start().await;
    for (which, code) in errors().into_iter().enumerate() {
        let response = bed.get(&format!("/o/b/{ERROR_PREFIX}{which}"), &[("x-request-id", "mine")]).await;
        assert_eq!(response.status(), node::service::http_status(&code), "{code:?}");
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            (json["code"].as_str(), json["message"].as_str()),
            (Some(code.name()), Some("as asked: é"))
        );
        assert_eq!(text(response.headers(), "x-request-id"), "mine");
    }
}

#[tokio::test]
async fn expect_continue() {
    let bed = Bed::start().await;
    let head =
        "PUT /o/b/k HTTP/1.1\r\nhost: n\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: ";
    let answer = bed.raw(format!("{head}5\r\n\r\nhello").as_bytes(), false).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 100 ") && answer.contains("HTTP/1.1 200 "), "{answer}");
    // Refused before a byte of the body is sent.
    let answer = bed.raw(format!("{head}50000000\r\n\r\n").as_bytes(), false).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn listings() {
    let bed = Bed::start().await;
    for key in ["a", "b", "c"] {
        bed.send("PUT", &format!("/o/b/x/{key}"), &[], b"1").await;
    }
    let page = bed.get("/o/b?prefix=x%2F&page_size=2", &[]).await;
    let json: serde_json::Value = serde_json::from_slice(page.body()).unwrap();
    assert_eq!(json["objects"].as_array().unwrap().len(), 2);
    let token = json["next_page_token"].as_str().unwrap();
    let page = bed.get(&format!("/o/b?prefix=x%2F&page_token={token}"), &[]).await;
    let json: serde_json::Value = serde_json::from_slice(page.body()).unwrap();
    assert_eq!((json["objects"][0]["key"].as_str(), json["next_page_token"].is_null()), (Some("x/c"), true));
    for bad in ["/o/b?page_token=zzz", "/o/b?page_size=x", "/o/b?perfix=x", "/o/b?prefix=%00"] {
        assert_eq!(bed.get(bad, &[]).await.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn probes_metrics_and_page() {
    let bed = Bed::start().await;
    assert_eq!(bed.get("/healthz", &[]).await.status(), 200);
    assert_eq!(bed.get("/readyz", &[]).await.status(), 503);
    bed.get("/o/b/none", &[]).await;
    let metrics = bed.get("/metrics", &[]).await;
    let metrics = String::from_utf8_lossy(metrics.body());
    assert!(metrics.contains("holdfast_requests_total{method=\"http\",code=\"404\"} 1"), "{metrics}");
    let page = bed.get("/", &[]).await;
    assert!(matches!(page.status().as_u16(), 200 | 404));
    assert!(!page.body().is_empty());
}
