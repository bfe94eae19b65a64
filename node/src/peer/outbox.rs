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
/// With more queued than this, nothing is added to it that can wait.
const QUEUED_BYTES_MAX: usize = 8 << 20;
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

/// Writes what is pushed. Dropping it ends the connection's sending, whoever still has the outbox.
pub(super) struct OutboxWriter<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    /// Absent once nothing can be written any more.
    io: Option<WriteHalf<BoxIo>>,
    messages: VecDeque<T>,
    queued_bytes: usize,
    /// Encoded and not yet written.
    frame: BytesMut,
    flushed: bool,
    /// Of the task in [`OutboxWriter`]; absent when it was woken and has not run yet.
    writer: Option<Waker>,
    /// Nothing more is taken: the end comes once all that is queued was written.
    closing: bool,
}

/// An outbox into a connection, and its writer.
pub(super) fn outbox<T: Message>(io: WriteHalf<BoxIo>) -> (Outbox<T>, OutboxWriter<T>) {
    let shared = Arc::new(Mutex::new(Shared {
        io: Some(io),
        messages: VecDeque::new(),
        queued_bytes: 0,
        frame: BytesMut::new(),
        flushed: true,
        writer: None,
        closing: false,
    }));
    (Outbox { shared: shared.clone() }, OutboxWriter { shared })
}

impl<T: Message> Outbox<T> {
    /// Queues a message; dropped when the connection has ended. [`Self::send_now`] or [`Self::send_soon`] must follow.
    pub(super) fn push(&self, message: T) {
        let mut shared = self.shared.lock();
        if shared.io.is_some() && !shared.closing {
            shared.queued_bytes += message.encoded_len();
            shared.messages.push_back(message);
        }
    }

    /// The same, ahead of all that is queued: for a sign of life, which large messages must not hold up.
    pub(super) fn push_first(&self, message: T) {
        let mut shared = self.shared.lock();
        if shared.io.is_some() && !shared.closing {
            shared.queued_bytes += message.encoded_len();
            shared.messages.push_front(message);
        }
    }

    /// Has the writer's task send what is queued, together with what else is pushed until it runs.
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
        while shared.queued_bytes <= WRITE_AT_ONCE_BYTES_MAX {
            // What the socket does not take now, the task goes on with: it is its waker that waits for the socket.
            match shared.poll_frame(&mut Context::from_waker(&writer)) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) | Poll::Pending => return shared.writer = Some(writer),
                Poll::Ready(Err(_)) => break,
            }
        }
        drop(shared);
        writer.wake();
    }

    /// Ends the connection's sending after what is queued.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
        self.send_soon();
    }

    /// Ends the connection at once, whatever is queued: [`OutboxWriter::write`] answers with an error.
    pub(super) fn abort(&self) {
        let writer = {
            let mut shared = self.shared.lock();
            shared.io = None;
            shared.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Whether so much is queued that [`OutboxWriter::room`] should be waited for.
    pub(super) fn is_full(&self) -> bool {
        self.shared.lock().queued_bytes > QUEUED_BYTES_MAX
    }
}

impl<T: Message> OutboxWriter<T> {
    /// Writes what is pushed, until the outbox was closed and is empty, or the connection broke. Cancel safe: another call
    /// goes on where this one stopped.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        self.write_until(|shared| shared.closing && shared.is_drained()).await
    }

    /// The same, until the outbox is not full.
    pub(super) async fn room(&mut self) -> io::Result<()> {
        self.write_until(|shared| shared.queued_bytes <= QUEUED_BYTES_MAX / 2).await
    }

    async fn write_until(&mut self, done: fn(&Shared<T>) -> bool) -> io::Result<()> {
        poll_fn(|context| {
            loop {
                // Locked for one frame at a time: others push meanwhile, the store's thread among them.
                let mut shared = self.shared.lock();
                shared.writer = Some(context.waker().clone());
                let more = ready!(shared.poll_frame(context))?;
                if done(&shared) {
                    return Poll::Ready(Ok(()));
                }
                if !more {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

impl<T> Drop for OutboxWriter<T> {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.io = None;
        shared.messages.clear();
        shared.queued_bytes = 0;
    }
}

impl<T: Message> Shared<T> {
    fn is_drained(&self) -> bool {
        self.messages.is_empty() && self.frame.is_empty() && self.flushed
    }

    /// Hands one frame to the connection. Ready with `false` when nothing is left.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let polled = self.try_frame(context);
        if let Poll::Ready(Err(_)) = polled {
            self.io = None;
        }
        polled
    }

    fn try_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.frame.is_empty() {
            self.encode_frame()?;
        }
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        while !self.frame.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(context, &self.frame))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frame.advance(written);
            self.flushed = false;
        }
        if !self.messages.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if !self.flushed {
            ready!(Pin::new(io).poll_flush(context))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(false))
    }

    /// The next frame, of what is queued. Nothing when nothing is. Errors when a message is too long for any frame.
    fn encode_frame(&mut self) -> io::Result<()> {
        if self.frame.capacity() > KEPT_BYTES_MAX {
            self.frame = BytesMut::new();
        }
        self.frame.clear();
        for _ in 0..FRAME_MESSAGES_MAX {
            let Some(bytes) = self.messages.front().map(Message::encoded_len) else { break };
            if self.frame.is_empty() {
                self.frame.put_u32(0);
            } else if self.frame.len() + bytes > FRAME_BYTES_SOFT_MAX {
                break;
            }
            let message = self.messages.pop_front().expect("its length was just asked");
            self.queued_bytes -= bytes;
            prost::encoding::message::encode(MESSAGES_FIELD, &message, &mut self.frame);
        }
        let Some(len) = self.frame.len().checked_sub(size_of::<u32>()) else { return Ok(()) };
        if len > FRAME_BYTES_MAX {
            self.frame.clear();
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long for a frame"));
        }
        let len = u32::try_from(len).expect("checked against the limit above");
        self.frame[..size_of::<u32>()].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1::{self, PeerReplies, PeerReply, peer_reply::Body};
    use tokio::io::{AsyncRead, AsyncReadExt as _};

    use super::*;

    fn reply(id: u64, bytes: usize) -> PeerReply {
        PeerReply { id, body: Some(Body::Pong(v1::Pong { node: vec![7; bytes].into(), life: 0 })) }
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
        let (outbox, mut writer) = outbox(io);
        for id in 0..3 {
            outbox.push(reply(id, 4));
            outbox.send_soon();
        }
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
        let (outbox, mut writer) = outbox(io);
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

    #[tokio::test]
    async fn a_sign_of_life_overtakes_what_is_queued() {
        let (here, mut there) = tokio::io::duplex(1000);
        let (_, io) = tokio::io::split(Box::new(here) as BoxIo);
        let (outbox, mut writer) = outbox(io);
        for id in 1..4 {
            outbox.push(reply(id, FRAME_BYTES_SOFT_MAX));
        }
        let writer = tokio::spawn(async move { writer.write().await });
        // The first is on its way.
        tokio::task::yield_now().await;
        outbox.push_first(reply(9, 4));
        outbox.close();
        let mut order = Vec::new();
        while order.len() < 4 {
            order.extend(read_frame(&mut there).await.replies.iter().map(|reply| reply.id));
        }
        assert_eq!(order, [1, 9, 2, 3]);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_message_that_no_frame_takes_breaks_the_connection() {
        let (here, _there) = tokio::io::duplex(1000);
        let (_, io) = tokio::io::split(Box::new(here) as BoxIo);
        let (outbox, mut writer) = outbox(io);
        outbox.push(reply(1, FRAME_BYTES_MAX));
        assert!(outbox.is_full());
        assert_eq!(writer.write().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        outbox.push(reply(2, 1));
        assert_eq!(writer.write().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn the_writer_s_end_is_the_connection_s() {
        let (here, mut there) = tokio::io::duplex(1000);
        let (reads, io) = tokio::io::split(Box::new(here) as BoxIo);
        let (outbox, writer) = outbox(io);
        outbox.push(reply(1, 100));
        drop((reads, writer));
        outbox.push(reply(2, 100));
        outbox.send_now();
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(outbox.shared.lock().messages.is_empty());
    }
}
