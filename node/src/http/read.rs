//! `GET` and `HEAD` of an object: what `<img src>`, `<video>` and `curl` use.

use std::time::{Duration, UNIX_EPOCH};

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{ObjectKey, ObjectName};
use holdfast_core::record::{Object, Record};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, request};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;
use tonic::body::Body;

use super::conditional::Tags;
use super::range::parse_range;
use super::reply::{self, ascii};
use crate::service::{ByteSpan, DEADLINE_DEFAULT, Operations, object_of, slice_body, span_of};

/// Prefix of the headers that carry metadata; values are UTF-8, percent-encoded where HTTP would not carry them.
pub(super) const METADATA_PREFIX: &str = "x-holdfast-meta-";
/// BLAKE3 of the whole body, in hex.
pub(super) const HASH: HeaderName = HeaderName::from_static("x-holdfast-hash");
/// Objects share the page's origin. An uploaded HTML or SVG file, opened by its address, must not act in its name.
const OBJECT_POLICY: HeaderValue = HeaderValue::from_static(
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'",
);
/// What a metadata value's header cannot carry as it is; `%` because it marks the rest.
const METADATA_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Answers `GET` or `HEAD` of `name`.
pub(super) async fn read<O: Operations>(
    operations: &O,
    name: ObjectName,
    parts: &request::Parts,
    head: bool,
) -> Result<Response<Body>, Error> {
    let if_match = Tags::parse(&parts.headers, &IF_MATCH)?;
    let if_none_match = Tags::parse(&parts.headers, &IF_NONE_MATCH)?;
    let deadline = Instant::now() + DEADLINE_DEFAULT;
    let key = name.key.clone();
    let record =
        if head { operations.head(name, deadline).await? } else { operations.get(name, deadline).await? };
    let object = object_of(&record)?;
    let version = record.version.to_text();
    if if_match.is_some_and(|tags| !tags.matches(&version, false)) {
        let message = "the object has another version than If-Match asks for";
        return Err(Error::new(Code::ConditionFailed(Some(record.version)), message));
    }
    if if_none_match.is_some_and(|tags| tags.matches(&version, true)) {
        let mut response = reply::empty(StatusCode::NOT_MODIFIED);
        cache_headers(response.headers_mut(), &record, object);
        return Ok(response);
    }
    let span = if head { None } else { wanted_span(&parts.headers, &version) };
    answer(&key, &record, object, span, parts.uri.query(), head)
}

/// The span that `Range` asks for, unless `If-Range` names another version.
fn wanted_span(headers: &HeaderMap, version: &str) -> Option<ByteSpan> {
    let span = parse_range(headers.get(RANGE)?)?;
    match headers.get(IF_RANGE) {
        Some(tag) if tag.as_bytes() != format!("\"{version}\"").as_bytes() => None,
        _ => Some(span),
    }
}

fn answer(
    key: &ObjectKey,
    record: &Record,
    object: &Object,
    span: Option<ByteSpan>,
    query: Option<&str>,
    head: bool,
) -> Result<Response<Body>, Error> {
    let bytes = span_of(span, object.size)?;
    let length = bytes.end - bytes.start;
    let range = format!("bytes {}-{}/{}", bytes.start, bytes.end.saturating_sub(1), object.size);
    let mut response = if head {
        reply::empty(StatusCode::OK)
    } else {
        Response::new(Body::new(Full::new(slice_body(object.body.as_ref(), bytes)?)))
    };
    if span.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().insert(CONTENT_RANGE, ascii(range));
    }
    let headers = response.headers_mut();
    cache_headers(headers, record, object);
    headers.insert(CONTENT_LENGTH, length.into());
    let content_type = HeaderValue::from_str(&object.content_type);
    headers
        .insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(HASH, ascii(hex(&object.hash)));
    for (name, value) in &object.metadata {
        // Names were checked to be header-safe when the object was put.
        if let Ok(name) = HeaderName::from_bytes(format!("{METADATA_PREFIX}{name}").as_bytes()) {
            headers.append(name, ascii(encode_metadata(value)));
        }
    }
    if let Some(disposition) = disposition(key, query) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// What a 304 carries too.
fn cache_headers(headers: &mut HeaderMap, record: &Record, object: &Object) {
    headers.insert(ETAG, ascii(format!("\"{}\"", record.version)));
    // Caches may keep it, and must ask each time whether it is still the one.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let modified = UNIX_EPOCH.checked_add(Duration::from_millis(object.modified_unix_ms));
    if let Some(modified) = modified.filter(|_| object.modified_unix_ms < YEAR_9999_UNIX_MS) {
        headers.insert(LAST_MODIFIED, ascii(httpdate::fmt_http_date(modified)));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, OBJECT_POLICY);
    // Pages of other origins that isolate themselves may show it: who may read is decided elsewhere.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
}

/// `httpdate` panics from the year 9999 on.
const YEAR_9999_UNIX_MS: u64 = 253_370_764_800_000;

/// `?download` and `?download=name`: saved rather than shown, under the key's last segment or `name`.
fn disposition(key: &ObjectKey, query: Option<&str>) -> Option<HeaderValue> {
    let asked = form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "download")?.1;
    let last = key.as_str().rsplit('/').find(|segment| !segment.is_empty()).unwrap_or("object");
    let file_name = if asked.is_empty() { last } else { &asked };
    let plain: String =
        file_name
            .chars()
            .map(|c| {
                if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') || c == ' ' { c } else { '_' }
            })
            .collect();
    let full = utf8_percent_encode(file_name, NON_ALPHANUMERIC);
    Some(ascii(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")))
}

fn encode_metadata(value: &str) -> String {
    let encoded = utf8_percent_encode(value, METADATA_ENCODED).to_string();
    // HTTP strips spaces at both ends.
    let inner = encoded.trim_start_matches(' ');
    let leading = "%20".repeat(encoded.len() - inner.len());
    let core = inner.trim_end_matches(' ');
    format!("{leading}{core}{}", "%20".repeat(inner.len() - core.len()))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_headers() {
        assert_eq!(encode_metadata("plain value"), "plain value");
        assert_eq!(encode_metadata(" 5% é "), "%205%25 %C3%A9%20");
        assert_eq!(encode_metadata("  "), "%20%20");
    }

    #[test]
    fn dispositions() {
        let key = ObjectKey::new("a/б \"x\".txt").unwrap();
        let of = |query| disposition(&key, Some(query)).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(of("x=1"), None);
        assert_eq!(
            of("download").unwrap(),
            "attachment; filename=\"_ _x_.txt\"; filename*=UTF-8''%D0%B1%20%22x%22%2Etxt"
        );
        assert!(of("download=y.bin").unwrap().starts_with("attachment; filename=\"y.bin\""));
        assert!(of("download=a%0d%0ab").unwrap().contains("filename=\"a__b\""));
    }
}
