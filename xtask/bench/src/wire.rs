//! gRPC calls at the least cost to the caller, straight on HTTP/2: the load generator shares the machine with the
//! servers, and what it uses they lack.
//!
//! It encodes requests, and checks of an answer the status, the framing and the length: nothing else is decoded.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use tokio::net::TcpStream;

use crate::Failure;

/// Receive windows that a body of 64 KiB never waits for.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// What stands before every gRPC message: a flag, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// One connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Wire {
    send: SendRequest<Bytes>,
    put: Uri,
    get: Uri,
}

/// Which method is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// `Objects.Put`.
    Put,
    /// `Objects.Get`.
    Get,
}

impl Wire {
    /// Connects, TCP_NODELAY set.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .enable_push(false)
            .handshake(stream)
            .await?;
        // Ends with the connection; its errors are those of the calls on it.
        tokio::spawn(connection);
        let method = |name: &str| format!("http://{address}/holdfast.v1.Objects/{name}").parse::<Uri>();
        Ok(Self { send, put: method("Put")?, get: method("Get")? })
    }

    /// Sends a message, made of `head` and what follows it, and waits for the whole answer; its message's length.
    pub(crate) async fn call(&self, call: Call, head: &[u8], rest: Bytes) -> Result<usize, Failure> {
        let mut send = self.send.clone().ready().await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = if call == Call::Put { self.put.clone() } else { self.get.clone() };
        let headers = request.headers_mut();
        headers.insert(HeaderName::from_static("te"), HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let (answer, mut body) = send.send_request(request, false)?;
        let mut first = BytesMut::with_capacity(PREFIX_BYTES + head.len());
        first.put_u8(0);
        first.put_u32(u32::try_from(head.len() + rest.len())?);
        first.put_slice(head);
        let only = rest.is_empty();
        body.send_data(first.freeze(), only)?;
        if !only {
            body.send_data(rest, true)?;
        }
        let (parts, mut body) = answer.await?.into_parts();
        let mut received = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            received += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        check(&parts.headers, &trailers)?;
        received.checked_sub(PREFIX_BYTES).ok_or_else(|| "an answer without a message".into())
    }
}

/// Errors unless the call's status is 0, which stands in the trailers, or in the headers of an answer that has none.
fn check(headers: &HeaderMap, trailers: &HeaderMap) -> Result<(), Failure> {
    let field = |name: &str| trailers.get(name).or_else(|| headers.get(name));
    let status = field("grpc-status").ok_or("an answer without a grpc-status")?;
    if status.as_bytes() == b"0" {
        return Ok(());
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let message = field("grpc-message").map(text).unwrap_or_default();
    Err(format!("gRPC status {}: {message}", text(status)).into())
}
