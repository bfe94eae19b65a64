//! gRPC and grpc-web on the client port: what goes around the generated servers.
//!
//! On HTTP/1.1 (browsers without TLS) a request is read to its end before it is answered: a browser that is still
//! sending when the server answers and closes sees a network error, not the answer. On HTTP/2 an early answer arrives, and
//! what is still on its way is read and thrown away.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use holdfast_core::error::{Code, Error};
use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::Status;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, Service, ServiceExt as _};

use super::body::{Charge, Guarded, Unread, read_pieces};
use super::reply;
use crate::service::to_status;

/// How a request speaks gRPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// `application/grpc`.
    Native,
    /// `application/grpc-web`.
    Web,
    /// `application/grpc-web-text`: base64.
    WebText,
}

impl Dialect {
    /// From a content type, parameters such as a charset ignored; `None`: not gRPC.
    pub(super) fn of(content_type: Option<&HeaderValue>) -> Option<Self> {
        let text = content_type?.to_str().ok()?;
        let essence = text.split(';').next()?.trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/grpc") || is("application/grpc+proto") {
            Some(Self::Native)
        } else if is("application/grpc-web") || is("application/grpc-web+proto") {
            Some(Self::Web)
        } else if is("application/grpc-web-text") || is("application/grpc-web-text+proto") {
            Some(Self::WebText)
        } else {
            None
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }
}

/// Passes a request to `service`, whose messages may have `limit` bytes.
pub(super) async fn call<S>(
    service: S,
    mut request: Request<Body>,
    limit: usize,
    charge: &Arc<Charge>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    if request.method() != Method::POST {
        let mut response =
            reply::text(StatusCode::METHOD_NOT_ALLOWED, "gRPC methods are called with POST only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Some(dialect) = Dialect::of(request.headers().get(CONTENT_TYPE)) else {
        return refuse_unread(
            request,
            "send content-type application/grpc (HTTP/2) or application/grpc-web+proto\n",
            charge,
        )
        .await;
    };
    if dialect == Dialect::Native {
        if request.version() < Version::HTTP_2 {
            let text = "gRPC needs HTTP/2: speak application/grpc-web+proto on HTTP/1.1\n";
            return refuse_unread(request, text, charge).await;
        }
    } else {
        request.headers_mut().insert(CONTENT_TYPE, dialect.content_type());
        // tonic-web answers in what `accept` names; browsers and proxies put anything there.
        request.headers_mut().insert(ACCEPT, dialect.content_type());
    }
    let request = match admit(request, dialect, limit, charge).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let result = match dialect {
        Dialect::Native => service.oneshot(request).await,
        Dialect::Web | Dialect::WebText => GrpcWebLayer::new().layer(service).oneshot(request).await,
    };
    match result {
        Ok(response) => retype(response, dialect, limit),
        Err(never) => match never {},
    }
}

/// Checks the size, and on HTTP/1.1 reads the request to its end.
async fn admit(
    request: Request<Body>,
    dialect: Dialect,
    limit: usize,
    charge: &Arc<Charge>,
) -> Result<Request<Body>, Response<Body>> {
    let limit_on_wire = match dialect {
        // Base64 is a third larger.
        Dialect::WebText => limit / 3 * 4 + 64,
        // The five bytes of a frame's header, and an empty trailers frame.
        Dialect::Native | Dialect::Web => limit + 16,
    };
    if request.version() >= Version::HTTP_2 {
        let announced =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let request = request.map(|body| Guarded::new(body, charge));
        if announced.is_some_and(|bytes: u64| bytes > limit_on_wire as u64) {
            return Err(refuse(dialect, &too_large(limit)));
        }
        return Ok(request.map(Body::new));
    }
    let (parts, body) = request.into_parts();
    match read_pieces(body, limit_on_wire, charge).await {
        Ok(pieces) => {
            let frames = pieces.into_iter().map(|piece: Bytes| Ok::<_, Infallible>(Frame::data(piece)));
            Ok(Request::from_parts(parts, Body::new(StreamBody::new(stream::iter(frames)))))
        }
        Err(Unread::TooLarge) => Err(refuse(dialect, &too_large(limit))),
        Err(Unread::TooLargeToDrain) => {
            let mut response = refuse(dialect, &too_large(limit));
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Err(response)
        }
        Err(Unread::Broken(error)) => Err(refuse(dialect, &error)),
    }
}

fn too_large(limit: usize) -> Error {
    Error::owned(
        Code::TooLarge(limit as u64),
        format!("the request is over the limit of {limit} bytes: send less at once"),
    )
}

/// An error in gRPC's form: headers only.
fn refuse(dialect: Dialect, error: &Error) -> Response<Body> {
    let mut response = to_status(error).into_http();
    response.headers_mut().insert(CONTENT_TYPE, dialect.content_type());
    response
}

/// An answer to one who does not speak gRPC in a way we know.
async fn refuse_unread(request: Request<Body>, text: &'static str, charge: &Arc<Charge>) -> Response<Body> {
    if request.version() < Version::HTTP_2 {
        // What it holds does not matter, only that the sender gets to the end of it.
        let _ = read_pieces(request.into_body(), 0, charge).await;
    }
    reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
}

/// Errors that tonic itself makes (a frame that is too large, cut off or garbage) get the same typed details as ours.
fn retype(response: Response<Body>, dialect: Dialect, limit: usize) -> Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get(Status::GRPC_STATUS) else {
        return response;
    };
    if code.as_bytes() == b"0" || headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    let Some(status) = Status::from_header_map(headers) else {
        return response;
    };
    let error = match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => too_large(limit),
        tonic::Code::Internal | tonic::Code::Unknown | tonic::Code::InvalidArgument => {
            Error::owned(Code::Invalid, format!("the request is not a gRPC message: {}", status.message()))
        }
        _ => return response,
    };
    refuse(dialect, &error)
}
