//! Request bodies: how large, how slow, and what happens to the rest of one that is refused.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use holdfast_core::error::{Code, Error};
use holdfast_core::record::BODY_BYTES_MAX;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use crate::env::tasks;
use crate::service::{MANY_BODY_BYTES_MAX, to_status};

/// Largest message with one body: the body, and room for names, metadata and framing.
pub const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + (64 << 10);
/// Largest message with many bodies.
pub const MANY_MESSAGE_BYTES_MAX: usize = MANY_BODY_BYTES_MAX + (4 << 20);
/// Of a request that is refused for its size, so much is read and thrown away before the answer: a browser that is
/// still sending when the connection closes reports a network error instead of the answer.
pub const DRAIN_BYTES_MAX: u64 = 64 << 20;
/// Time for that.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
/// A request body of which nothing arrives for this long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Bytes of request bodies that the port holds at a time, over all connections. Beyond it requests are refused as
/// overload: without a bound, many clients could take all memory, each within its own limits.
const HELD_BYTES_MAX: usize = 512 << 20;

/// Counts the bytes that all requests hold.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// For one request, which must keep it until it is answered.
    pub(super) fn charge(&self) -> Arc<Charge> {
        Arc::new(Charge { all: self.0.clone(), own: AtomicUsize::new(0) })
    }
}

/// What one request holds; given back when dropped.
pub(super) struct Charge {
    all: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl Charge {
    fn add(&self, bytes: usize) -> Result<(), Error> {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > HELD_BYTES_MAX {
            return Err(Error::new(
                Code::Overloaded,
                "the node holds too many request bodies at once: wait and try again",
            ));
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

/// Any error of a body.
pub(super) type BodyError = Box<dyn StdError + Send + Sync>;

/// A body that is given up when nothing arrives for [`IDLE_MAX`]. No timer is made while bytes are at hand.
///
/// When it is dropped before its end (the request was refused early), the rest is read in the background and thrown
/// away: a client that is still sending gets to see the answer instead of a reset.
pub(super) struct Guarded<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    /// `None` once it has ended.
    inner: Option<B>,
    idle: Option<Pin<Box<Sleep>>>,
    charge: Arc<Charge>,
}

impl<B> Guarded<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    pub(super) fn new(inner: B, charge: &Arc<Charge>) -> Self {
        Self { inner: Some(inner), idle: None, charge: charge.clone() }
    }
}

impl<B> Drop for Guarded<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        let Some(rest) = self.inner.take().filter(|inner| !inner.is_end_stream()) else { return };
        if Handle::try_current().is_ok() {
            tasks::spawn(drain(rest, 0));
        }
    }
}

impl<B> Body for Guarded<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            this.idle = None;
            match &frame {
                Some(Ok(frame)) => {
                    if let Err(error) = this.charge.add(frame.data_ref().map_or(0, Bytes::len)) {
                        return Poll::Ready(Some(Err(Refused::boxed(error))));
                    }
                }
                _ => this.inner = None,
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let idle = this.idle.get_or_insert_with(|| Box::pin(sleep(IDLE_MAX)));
        ready!(idle.as_mut().poll(cx));
        this.inner = None;
        Poll::Ready(Some(Err(Refused::boxed(stalled()))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An error of ours on its way through other code's bodies.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Refused {
    error: Error,
    /// What tonic looks for along the sources, and answers with.
    #[source]
    status: tonic::Status,
}

impl Refused {
    fn boxed(error: Error) -> BodyError {
        let status = to_status(&error);
        Box::new(Self { error, status })
    }
}

fn stalled() -> Error {
    Error::new(Code::Timeout, "the request's body did not arrive: nothing for 30 s")
}

/// Why a body could not be read.
pub(super) enum Unread {
    /// Over the limit; read to its end all the same.
    TooLarge,
    /// Over the limit, and too long to be read to its end: the connection must be closed after the answer.
    TooLargeToDrain,
    /// It stalled, or the connection broke.
    Broken(Error),
}

/// Reads a whole body, as the pieces that it came in. One over `limit` is read to its end and thrown away.
pub(super) async fn read_pieces<B>(body: B, limit: usize, charge: &Arc<Charge>) -> Result<Vec<Bytes>, Unread>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BodyError>,
{
    if body.size_hint().lower() > DRAIN_BYTES_MAX {
        return Err(Unread::TooLargeToDrain);
    }
    let mut body = Guarded::new(body, charge);
    let mut pieces = Vec::new();
    let mut left = limit;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Unread::Broken(broken(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => {
                drop(pieces);
                let Some(rest) = body.inner.take() else { return Err(Unread::TooLarge) };
                return Err(drain(rest, (limit + data.len()) as u64).await);
            }
        }
        if !data.is_empty() {
            pieces.push(data);
        }
    }
    Ok(pieces)
}

/// As [`read_pieces`], in one piece.
pub(super) async fn read_whole<B>(body: B, limit: usize, charge: &Arc<Charge>) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BodyError>,
{
    let mut pieces = read_pieces(body, limit, charge).await?;
    if pieces.len() <= 1 {
        return Ok(pieces.pop().unwrap_or_default());
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    Ok(whole.freeze())
}

/// Reads and throws away what is left, after `seen` bytes.
async fn drain<B>(mut body: B, mut seen: u64) -> Unread
where
    B: Body<Data = Bytes> + Unpin,
{
    let until = Instant::now() + DRAIN_TIME_MAX;
    loop {
        match timeout_at(until, body.frame()).await {
            Ok(None) => return Unread::TooLarge,
            Ok(Some(Ok(frame))) => seen += frame.data_ref().map_or(0, Bytes::len) as u64,
            Ok(Some(Err(_))) | Err(_) => return Unread::TooLargeToDrain,
        }
        if seen > DRAIN_BYTES_MAX {
            return Unread::TooLargeToDrain;
        }
    }
}

fn broken(error: &BodyError) -> Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) => refused.error.clone(),
        None => Error::owned(Code::Invalid, format!("the request's body broke off: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};

    #[tokio::test]
    async fn over_the_limit_is_drained() {
        let body = Full::new(Bytes::from(vec![1; 100]));
        let charge = Budget::default().charge();
        assert_eq!(read_whole(body.clone(), 100, &charge).await.ok().map(|b| b.len()), Some(100));
        assert!(matches!(read_whole(body, 99, &charge).await, Err(Unread::TooLarge)));
    }

    #[tokio::test]
    async fn all_requests_together_are_bounded() {
        let budget = Budget::default();
        let others = budget.charge();
        others.add(HELD_BYTES_MAX - 50).unwrap();
        let body = Full::new(Bytes::from(vec![1; 100]));
        let Err(Unread::Broken(error)) = read_whole(body.clone(), 100, &budget.charge()).await else {
            panic!("it must be refused");
        };
        assert_eq!(error.code, Code::Overloaded);
        drop(others);
        assert!(read_whole(body, 100, &budget.charge()).await.is_ok());
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_given_up() {
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>();
        let Err(Unread::Broken(error)) =
            read_whole(StreamBody::new(never), 10, &Budget::default().charge()).await
        else {
            panic!("it must be given up");
        };
        assert_eq!(error.code, Code::Timeout);
    }
}
