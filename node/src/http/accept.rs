//! The accept loop of the client port.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use holdfast_core::sometimes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::env::{BoxIo, Listener, tasks};
use crate::metrics::Metrics;

/// Connections at a time; more wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 8192;
/// A connection that has not sent a request line's worth of bytes by then is closed.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(10);
/// Shortest beginning that tells HTTP/1.1 from HTTP/2: the latter's preface.
const FIRST_BYTES: usize = 24;
/// HTTP/1.1: time for a request's headers, which is also how long a connection may stay idle.
const HEADER_TIME_MAX: Duration = Duration::from_secs(75);
/// HTTP/1.1 headers in all. hyper's own bound is larger than any client needs.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// HTTP/2: a peer that does not answer a ping within this time is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
/// HTTP/2 requests at a time on one connection.
const STREAMS_MAX: u32 = 1024;
/// HTTP/2 flow control: one largest body in flight per request, some of them per connection.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// After an accept that failed (out of file descriptors, for one), wait before the next: it would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `stop`, then lets requests in flight finish, for at most `grace`.
pub async fn serve_connections<S>(
    mut listener: Box<dyn Listener>,
    service: S,
    metrics: Metrics,
    stop: CancellationToken,
    grace: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let builder = Arc::new(builder());
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let cut = CancellationToken::new();
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let io = match accepted {
            Ok((io, _from)) => io,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let guard = metrics.begin_connection();
        let (builder, service, stop, cut) = (builder.clone(), service.clone(), stop.clone(), cut.clone());
        tasks::spawn(connections.track_future(async move {
            tokio::select! {
                () = serve_one(&builder, io, service, stop) => {}
                () = cut.cancelled() => {}
            }
            drop((guard, permit));
        }));
    }
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        sometimes!("a node stops while requests are under way, and cuts them off");
        tracing::warn!(connections = connections.len(), "requests were still in flight and are cut off");
        cut.cancel();
        connections.wait().await;
    }
}

fn builder() -> Builder<tasks::Executor> {
    let mut builder = Builder::new(tasks::Executor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// One connection, to its end.
async fn serve_one<S>(builder: &Builder<tasks::Executor>, io: BoxIo, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let received = Arc::new(AtomicUsize::new(0));
    let io = TokioIo::new(Counted { inner: io, received: received.clone() });
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let first_bytes = sleep(FIRST_BYTES_WITHIN);
    tokio::pin!(first_bytes);
    let (mut stopping, mut silent) = (false, true);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // Clients go away all the time: worth a line only to one who looks for it.
                    tracing::debug!(error, "a client connection ended with an error");
                }
                return;
            }
            () = &mut first_bytes, if silent => {
                if received.load(Ordering::Relaxed) < FIRST_BYTES {
                    return;
                }
                silent = false;
            }
            () = stop.cancelled(), if !stopping => {
                sometimes!("a node stops while a client is connected");
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Counts what was received, to tell a silent connection.
struct Counted {
    inner: BoxIo,
    received: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > 0 {
            self.received.fetch_add(read, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
