//! `/healthz`, `/readyz` and `/metrics`.

use bytes::Bytes;
use holdfast_core::error::Error;
use http::{Response, StatusCode};
use tonic::body::Body;

use super::reply;
use crate::metrics::Metrics;

/// `ok`, or 503 with the error.
pub(super) fn probe(result: Result<(), Error>) -> Response<Body> {
    match result {
        Ok(()) => reply::text(StatusCode::OK, "ok\n"),
        Err(error) => {
            let mut response = reply::error(&error);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// What Prometheus reads.
pub(super) fn metrics(metrics: &Metrics) -> Response<Body> {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    reply::with_body(StatusCode::OK, content_type, Bytes::from(metrics.encode()))
}
