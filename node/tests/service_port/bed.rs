//! Starts a client port on a free loopback port, and speaks to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use node::env::{Ambient, BoxIo, Listener};
use node::http::{ClientPort, serve_connections};
use node::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;

use crate::memory::Memory;

/// Nothing here may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

struct Loopback(TcpListener);

impl Listener for Loopback {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async {
            let (stream, from) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxIo, from.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        self.0.local_addr().map(|address| address.to_string())
    }
}

#[derive(Default)]
struct Counting(AtomicU64);

impl Ambient for Counting {
    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn random(&self, buffer: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.fill(0);
        let at = buffer.len() - 8;
        buffer[at..].copy_from_slice(&count);
    }
}

/// A running port.
pub(crate) struct Bed {
    pub(crate) address: String,
    pub(crate) memory: Memory,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with_grace(Duration::from_secs(5)).await
    }

    pub(crate) async fn with_grace(grace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (memory, metrics, stop) = (Memory::default(), Metrics::new(), CancellationToken::new());
        let store_check = Arc::new(|| Ok(()));
        let ambient = Arc::new(Counting::default());
        let port = ClientPort::new(&memory, ambient, metrics.clone(), store_check, Routes::default());
        let listener = Box::new(Loopback(listener));
        let served = tokio::spawn(serve_connections(listener, port, metrics, stop.clone(), grace));
        Self { address, memory, stop, served }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// One request over HTTP/1.1, on a connection of its own.
    pub(crate) async fn http(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let exchange = async {
            let stream = TcpStream::connect(&self.address).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let driver = tokio::spawn(connection);
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            driver.abort();
            Response::from_parts(parts, body)
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("no answer in time")
    }

    /// Raw bytes out, whatever comes back until the other end closes. `end`: nothing more will come from here.
    pub(crate) async fn raw(&self, bytes: &[u8], end: bool) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        // The other end may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        if end {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the port neither answers nor closes");
        answer
    }
}

/// A request with an empty host is refused by HTTP/1.1.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "node")
}
