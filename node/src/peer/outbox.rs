//! Messages on their way into a connection. Whatever gathers while a frame is written goes out together in the next one:
//! under load the batches grow by themselves, and a lone message never waits.
//!
//! A frame is its length in four bytes, big-endian, and a `PeerRequests` or `PeerReplies`: a repeated field, number 1.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncWrite, WriteHalf};

use super::{FRAME_BYTES_MAX, FRAME_BYTES_SOFT_MAX, FRAME_MESSAGES_MAX};
use crate::env::BoxIo;

/// The number of the repeated field that a frame consists of.
const MESSAGES_FIELD: u32 = 1;
/// What is queued is written by whoever queued it up to this size: what a socket's buffer takes at once.
const WRITE_AT_ONCE_BYTES_MAX: usize = 64 << 10;
/// Memory that is kept for the next frame.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The sending half of a connection: cheap to clone. Its users bound what they push (by the requests outstanding).
pub(super) struct Outbox<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<T> {
    io: WriteHalf<BoxIo>,
    messages: VecDeque<T>,
    queued_bytes: usize,
    /// Encoded and not yet written.
    frame: BytesMut,
    flushed: bool,
    /// Of the task in [`Outbox::write`]; absent when it was woken and has not run yet.
    writer: Option<Waker>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// None in sight.
    Open,
    /// Once all that is queued was written.
    Closing,
    /// Nothing can be written any more.
    Broken,
}

impl<T: Message> Outbox<T> {
    /// An outbox into the connection. Somebody must run [`Self::write`].
    pub(super) fn new(io: WriteHalf<BoxIo>) -> Self {
        let shared = Shared {
            io,
            messages: VecDeque::new(),
            queued_bytes: 0,
            frame: BytesMut::new(),
            flushed: true,
            writer: None,
            end: End::Open,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Queues a message; dropped when the connection has ended. [`Self::send_now`] or [`Self::send_soon`] must follow.
    pub(super) fn push(&self, message: T) {
        let mut shared = self.shared.lock();
        if shared.end == End::Open {
            shared.queued_bytes += message.encoded_len();
            shared.messages.push_back(message);
        }
    }

    /// Has the task in [`Self::write`] send what is queued, together with what else is pushed until it runs.
    pub(super) fn send_soon(&self) {
        let writer = self.shared.lock().writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Sends what is queued, from this thread as far as the socket takes it: for a message that nothing else is expected
    /// to follow, waking another task (and often another thread) would only be a delay.
    pub(super) fn send_now(&self) {
        let mut shared = self.shared.lock();
        // Without a waker the task was woken before, and sends this too.
        let Some(writer) = shared.writer.take() else { return };
        if shared.queued_bytes <= WRITE_AT_ONCE_BYTES_MAX {
            // What the socket does not take now, the task goes on with: it is its waker that waits for the socket.
            match shared.poll_drain(&mut Context::from_waker(&writer)) {
                Poll::Ready(Ok(())) | Poll::Pending => return shared.writer = Some(writer),
                Poll::Ready(Err(_)) => shared.end = End::Broken,
            }
        }
        drop(shared);
        writer.wake();
    }

    /// Ends the connection's sending after what is queued.
    pub(super) fn close(&self) {
        let mut shared = self.shared.lock();
        if shared.end == End::Open {
            shared.end = End::Closing;
        }
        drop(shared);
        self.send_soon();
    }

    /// Writes what is pushed, until the outbox was closed and is empty, or the connection broke. Cancel safe: another call
    /// goes on where this one stopped.
    pub(super) async fn write(&self) -> io::Result<()> {
        poll_fn(|context| {
            let mut shared = self.shared.lock();
            if shared.end == End::Broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            shared.writer = Some(context.waker().clone());
            match shared.poll_drain(context) {
                Poll::Ready(Ok(())) if shared.end == End::Closing => Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => {
                    shared.end = End::Broken;
                    Poll::Ready(Err(error))
                }
            }
        })
        .await
    }
}

impl<T: Message> Shared<T> {
    /// Ready when everything was handed to the connection.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.frame.is_empty() && !self.encode_frame() {
                if !self.flushed {
                    ready!(Pin::new(&mut self.io).poll_flush(context))?;
                    self.flushed = true;
                }
                return Poll::Ready(Ok(()));
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.frame))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frame.advance(written);
            self.flushed = false;
        }
    }

    /// The next frame, of what is queued. `false`: nothing is.
    fn encode_frame(&mut self) -> bool {
        if self.messages.is_empty() {
            return false;
        }
        if self.frame.capacity() > KEPT_BYTES_MAX {
            self.frame = BytesMut::new();
        }
        self.frame.clear();
        self.frame.put_u32(0);
        let mut messages = 0;
        while messages < FRAME_MESSAGES_MAX && self.frame.len() < FRAME_BYTES_SOFT_MAX {
            let Some(message) = self.messages.pop_front() else { break };
            self.queued_bytes -= message.encoded_len();
            prost::encoding::message::encode(MESSAGES_FIELD, &message, &mut self.frame);
            messages += 1;
        }
        let len = self.frame.len() - size_of::<u32>();
        assert!(len <= FRAME_BYTES_MAX, "one message over the soft limit is far below the hard one");
        let len = u32::try_from(len).expect("checked against the limit above");
        self.frame[..size_of::<u32>()].copy_from_slice(&len.to_be_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1::{self, PeerReplies, PeerReply, peer_reply::Body};
    use tokio::io::{AsyncRead, AsyncReadExt as _};

    use super::*;

    fn reply(id: u64, bytes: usize) -> PeerReply {
        PeerReply { id, body: Some(Body::Pong(v1::Pong { node: vec![7; bytes].into() })) }
    }

    async fn read_frame(io: &mut (impl AsyncRead + Unpin)) -> PeerReplies {
        let len = io.read_u32().await.unwrap();
        let mut frame = vec![0; len as usize];
        io.read_exact(&mut frame).await.unwrap();
        PeerReplies::decode(&frame[..]).unwrap()
    }

    #[tokio::test]
    async fn what_gathers_goes_out_as_one_frame() {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let (_, io) = tokio::io::split(Box::new(here) as BoxIo);
        let outbox = Outbox::new(io);
        for id in 0..3 {
            outbox.push(reply(id, 4));
            outbox.send_soon();
        }
        let writer = outbox.clone();
        let writer = tokio::spawn(async move { writer.write().await });
        let frame = read_frame(&mut there).await;
        assert_eq!(frame.replies, (0..3).map(|id| reply(id, 4)).collect::<Vec<_>>());
        outbox.push(reply(3, 4));
        outbox.close();
        outbox.push(reply(4, 4));
        assert_eq!(read_frame(&mut there).await.replies, [reply(3, 4)]);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn sent_now_is_written_by_the_caller_and_finished_by_the_task() {
        let (here, mut there) = tokio::io::duplex(1000);
        let (_, io) = tokio::io::split(Box::new(here) as BoxIo);
        let outbox = Outbox::new(io);
        let writer = outbox.clone();
        let writer = tokio::spawn(async move { writer.write().await });
        tokio::task::yield_now().await;
        outbox.push(reply(1, 100));
        outbox.send_now();
        // On this single-threaded runtime no other task has run since.
        let mut begun = [0; 8];
        assert_eq!(there.read(&mut begun).await.unwrap(), 8);
        let mut rest =
            vec![0; usize::try_from(u32::from_be_bytes(begun[..4].try_into().unwrap())).unwrap() - 4];
        there.read_exact(&mut rest).await.unwrap();
        // More than the pipe takes at once: the task writes the rest.
        outbox.push(reply(2, 10_000));
        outbox.send_now();
        assert_eq!(read_frame(&mut there).await.replies, [reply(2, 10_000)]);
        drop(there);
        outbox.push(reply(3, 100));
        outbox.send_now();
        assert!(writer.await.unwrap().is_err());
    }
}
