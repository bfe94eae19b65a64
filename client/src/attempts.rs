//! The attempts of one operation that are under way: at most a few, each can be dropped by its number.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Futures by attempt number.
pub(crate) struct Attempts<F>(Vec<(u32, Pin<Box<F>>)>);

impl<F: Future> Attempts<F> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, attempt: u32, future: F) {
        self.0.push((attempt, Box::pin(future)));
    }

    /// Aborts one: its stream is reset.
    pub(crate) fn cancel(&mut self, attempt: u32) {
        self.0.retain(|(other, _)| *other != attempt);
    }

    /// The next that ends. Never, while none is under way. Cancel safe.
    pub(crate) async fn next(&mut self) -> (u32, F::Output) {
        poll_fn(|cx| {
            for at in 0..self.0.len() {
                if let Poll::Ready(output) = self.0[at].1.as_mut().poll(cx) {
                    let (attempt, _) = self.0.remove(at);
                    return Poll::Ready((attempt, output));
                }
            }
            Poll::Pending
        })
        .await
    }
}
