//! The demo page at `/`: static files, embedded when the binary is built.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;

/// Path from `/` and content, sorted by path.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// What `/` says when there is nothing to show.
const NOT_BUILT: &str =
    "The demo page is not in this binary: run `cargo xtask page`, then build the node again.\n";
/// Own scripts only, and wasm; the page talks to every node of the cluster and shows pictures from there.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src *; img-src * blob: data:; \
     media-src * blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Answers `GET` or `HEAD` of `path`.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Response<Body> {
    let wanted = if path == "/" { "/index.html" } else { path };
    let Ok(at) = FILES.binary_search_by(|(name, _)| (*name).cmp(wanted)) else {
        let text = if path == "/" {
            NOT_BUILT
        } else {
            "There is nothing here. Objects are at /o/{bucket}/{key}.\n"
        };
        let mut response = Response::new(Body::new(Full::new(Bytes::from_static(text.as_bytes()))));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        return response;
    };
    let (name, content) = FILES[at];
    let tag = format!("\"{}\"", &blake3::hash(content).to_hex()[..16]);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known.contains(&tag)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::new(Full::new(Bytes::from_static(content))))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(ETAG, HeaderValue::from_str(&tag).expect("hex in quotes is a header value"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        // Browsers compile while it streams only with exactly this type.
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_always_answers() {
        let response = answer("/", &HeaderMap::new());
        let built = FILES.iter().any(|(name, _)| *name == "/index.html");
        assert_eq!(response.status(), if built { StatusCode::OK } else { StatusCode::NOT_FOUND });
        assert_eq!(answer("/no/such", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
