//! Answers of the plain HTTP side.

use bytes::Bytes;
use holdfast_core::error::{Code, Error};
use http::header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;

use crate::service::http_status;

/// A short text.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    with_body(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// A body with a content type; not to be stored by caches.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An error as JSON: `{"code": …, "message": …}`, with the data that some codes have.
pub(super) fn error(error: &Error) -> Response<Body> {
    let mut json = serde_json::json!({ "code": error.code.name(), "message": error.message });
    match &error.code {
        Code::ConditionFailed(version) => {
            json["current_version"] = version.map(|version| version.to_text()).into();
        }
        Code::TooLarge(limit) => json["limit"] = (*limit).into(),
        _ => {}
    }
    if let Some(version) = &error.tombstone {
        json["tombstone_version"] = version.to_text().into();
    }
    let status = http_status(&error.code);
    let mut response = with_body(status, "application/json", Bytes::from(format!("{json}\n")));
    let headers = response.headers_mut();
    match &error.code {
        Code::Range(size) => drop(headers.insert(CONTENT_RANGE, ascii(format!("bytes */{size}")))),
        Code::ConditionFailed(Some(version)) => drop(headers.insert(ETAG, ascii(format!("\"{version}\"")))),
        Code::Unavailable | Code::Overloaded => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// A header value of text that is known to be visible ASCII.
pub(super) fn ascii(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("the caller passes visible ASCII only")
}
