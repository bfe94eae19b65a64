//! Messages that wait for the next frame. Whatever gathered while the last frame was written goes out together: under
//! load the batches grow by themselves, and a lone message never waits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use parking_lot::Mutex;
use prost::Message;

use super::{FRAME_BYTES_SOFT_MAX, FRAME_MESSAGES_MAX};

/// The sending half: cheap to clone. Its users bound what they push (by the requests outstanding).
pub(super) struct Outbox<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<T> {
    messages: VecDeque<T>,
    waker: Option<Waker>,
    closed: bool,
}

impl<T: Message> Outbox<T> {
    /// An outbox and its stream of frames; `frame` makes one of messages.
    pub(super) fn new<F>(frame: fn(Vec<T>) -> F) -> (Self, Frames<T, F>) {
        let shared = Arc::new(Mutex::new(Shared { messages: VecDeque::new(), waker: None, closed: false }));
        (Self { shared: shared.clone() }, Frames { shared, frame })
    }

    /// Queues a message; dropped when the stream is gone.
    pub(super) fn push(&self, message: T) {
        let mut shared = self.shared.lock();
        if shared.closed {
            return;
        }
        shared.messages.push_back(message);
        let waker = shared.waker.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the stream after what is queued.
    pub(super) fn close(&self) {
        let mut shared = self.shared.lock();
        shared.closed = true;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }
}

/// The frames.
pub(super) struct Frames<T, F> {
    shared: Arc<Mutex<Shared<T>>>,
    frame: fn(Vec<T>) -> F,
}

impl<T: Message, F> Stream for Frames<T, F> {
    type Item = F;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F>> {
        let mut shared = self.shared.lock();
        if shared.messages.is_empty() {
            if shared.closed {
                return Poll::Ready(None);
            }
            shared.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut batch = Vec::with_capacity(shared.messages.len().min(FRAME_MESSAGES_MAX));
        let mut bytes = 0;
        while batch.len() < FRAME_MESSAGES_MAX && bytes < FRAME_BYTES_SOFT_MAX {
            let Some(message) = shared.messages.pop_front() else { break };
            bytes += message.encoded_len();
            batch.push(message);
        }
        Poll::Ready(Some((self.frame)(batch)))
    }
}

impl<T, F> Drop for Frames<T, F> {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.closed = true;
        shared.messages.clear();
    }
}
