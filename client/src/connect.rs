//! How connections are opened: over TCP, or by what the caller brings (the simulator's network).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::error::Error;
use crate::tasks;

/// A connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A boxed connection.
pub type BoxIo = Box<dyn Io>;

/// Carries calls to one node: what a gRPC client is made over. Where nothing was sent, the error's source is a
/// [`tonic::ConnectError`].
pub type NodeChannel = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Opens connections.
pub trait Connect: Send + Sync + 'static {
    /// Opens a connection to `address` (`host:port`). May hang: the caller has a deadline. An error must mean that
    /// nothing was sent.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>>;

    /// A channel to the node at `address` (`host:port`) that carries whole calls, in place of HTTP/2 over a connection.
    /// `None`, as for all real networks: there is no such thing.
    fn channel(&self, _address: &str) -> Option<NodeChannel> {
        None
    }
}

/// Connections over TCP, with TCP_NODELAY.
#[cfg(feature = "tcp")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[cfg(feature = "tcp")]
impl Connect for Tcp {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}

/// How long a connection may take to come up. Operations have gone to another node long before.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An HTTP/2 ping goes out this often while something is under way, so that a dead peer is noticed.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// A ping unanswered for this long ends the connection; a new one is made for the next request.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// One whole body and more in flight without waiting for window updates.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Many of them at once.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The channel to one node. Connects at its first request, and again whenever the connection is lost.
pub(crate) fn open(url: &str, connect: &Arc<dyn Connect>) -> Result<NodeChannel, Error> {
    if url.starts_with("https://") {
        return Err(Error::invalid(format!("{url}: this client has no TLS yet, use http://")));
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Error::invalid(format!("{url} is no address of a node: {error}")))?
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .expect("name and version are plain ASCII")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .executor(tasks::Executor);
    let uri = endpoint.uri();
    let host = uri.host().ok_or_else(|| Error::invalid(format!("{url} names no host")))?;
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    if let Some(channel) = connect.channel(&address) {
        return Ok(channel);
    }
    let connect = connect.clone();
    let connector = tower::service_fn(move |_| {
        let connecting = connect.connect(address.clone());
        async move {
            let io = timeout(CONNECT_TIMEOUT, connecting)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
            Ok::<_, io::Error>(TokioIo::new(io))
        }
    });
    let channel = endpoint.connect_with_connector_lazy(connector);
    Ok(BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(Box::new(error)))))
}
