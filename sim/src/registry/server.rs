//! The fake registry's host: one task for each connection. Nothing is polled: an idle registry sleeps until the next
//! lease runs out or the next watch must show that it lives.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use node::env::{BoxIo, Net};
use node::registry::store::{Revision, WATCH_HEARTBEAT};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::PORT;
use super::state::State;
use super::treatment::Reply;
use super::watching::Step;
use super::wire::{FRAME_BYTES_MAX, Request, Response, WireChange};
use crate::hooks;

/// Starts a task that ends with the host.
pub type Spawner = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// A connection on which nothing is asked for that long is closed: the other end may have lost its power.
/// Longer than [`super::client::IDLE_MAX`], so that nobody asks on a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Least sleep: the simulated clock may be as coarse.
const SLEEP_MIN: Duration = Duration::from_millis(1);

const _: () = assert!(super::client::IDLE_MAX.as_millis() * 2 <= IDLE_MAX.as_millis());

type Frames = Framed<BoxIo, LengthDelimitedCodec>;

pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
}

/// Serves the registry on [`PORT`] until the host ends. `state` outlives it. Errors when the port cannot be had.
pub async fn serve(net: Arc<dyn Net>, spawn: Spawner, state: Arc<Mutex<State>>) -> io::Result<()> {
    state.lock().on_start(hooks::now());
    let server = Server { state };
    let mut listener = net.listen(format!("0.0.0.0:{PORT}")).await?;
    let accept = async {
        loop {
            let (io, _) = listener.accept().await?;
            let server = server.clone();
            spawn(Box::pin(async move {
                // An error means that the caller is gone.
                let _ = server.connection(io).await;
            }));
        }
    };
    tokio::select! {
        biased;
        error = accept => error,
        () = server.expire() => unreachable!("leases run out for ever"),
    }
}

impl Server {
    async fn expire(&self) {
        let mut news = self.state.lock().subscribe();
        loop {
            let now = hooks::now();
            let next = {
                let mut state = self.state.lock();
                state.expire(now);
                state.next_expiry()
            };
            news.mark_unchanged();
            tokio::select! {
                biased;
                changed = news.changed() => changed.expect("the state outlives its server"),
                () = until(next, now) => {}
            }
        }
    }

    /// The calls of one connection, one after the other.
    async fn connection(self, io: BoxIo) -> io::Result<()> {
        let mut frames = Framed::new(io, codec());
        while let Ok(frame) = timeout(IDLE_MAX, frames.next()).await {
            let Some(frame) = frame.transpose()? else { return Ok(()) };
            let request: Request = postcard::from_bytes(&frame).map_err(io::Error::other)?;
            let watch = match &request {
                Request::Watch { prefix, from } => Some((prefix.clone(), Revision(*from))),
                _ => None,
            };
            match self.answer(request).await {
                (Reply::Answer, _) if let Some((prefix, from)) = watch => {
                    return self.watch(frames, prefix, from).await;
                }
                (Reply::Answer, response) => send(&mut frames, &response).await?,
                (Reply::Error(why), _) => send(&mut frames, &Response::Unavailable(why.to_owned())).await?,
                (Reply::Closed, _) => return Ok(()),
                (Reply::Hung, _) => {
                    // Whatever comes is the end of the caller's patience.
                    let _ = frames.next().await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> (Reply, Response) {
        let mut treatment = self.state.lock().treat(&request, hooks::now());
        if !treatment.before.is_zero() {
            sleep(treatment.before).await;
        }
        let response = {
            let mut state = self.state.lock();
            state.on_execution(&mut treatment, &request);
            if treatment.executed { state.execute(request, hooks::now()) } else { Response::Done }
        };
        if !treatment.after.is_zero() {
            sleep(treatment.after).await;
        }
        self.state.lock().on_reply(&mut treatment);
        (treatment.reply, response)
    }

    async fn watch(self, mut frames: Frames, prefix: String, from: Revision) -> io::Result<()> {
        let (mut news, mut watcher) = {
            let mut state = self.state.lock();
            state.before_watch(hooks::now());
            (state.subscribe(), state.open_watch(prefix, from))
        };
        // At once, to say that it has begun.
        let mut sign_at = hooks::now();
        loop {
            news.mark_unchanged();
            let now = hooks::now();
            let step = self.state.lock().step(&mut watcher, now);
            let look_at = match step {
                Step::Tell(changes, due) => {
                    if !changes.is_empty() || now >= sign_at {
                        let changes = changes.into_iter().map(WireChange::from).collect();
                        send(&mut frames, &Response::Changes(changes)).await?;
                        sign_at = now + WATCH_HEARTBEAT;
                    }
                    Some(due.map_or(sign_at, |due| due.min(sign_at)))
                }
                Step::Quiet => None,
                Step::End(Some(error)) => return send(&mut frames, &Response::from(error)).await,
                Step::End(None) => return Ok(()),
            };
            tokio::select! {
                biased;
                // The watcher says nothing more: whatever comes is the end of its connection.
                _ = frames.next() => return Ok(()),
                changed = news.changed() => changed.expect("the state outlives its server"),
                () = until(look_at, now) => {}
            }
        }
    }
}

/// Sleeps until a time; for ever when there is none.
async fn until(at: Option<Duration>, now: Duration) {
    match at {
        Some(at) => sleep(at.saturating_sub(now).max(SLEEP_MIN)).await,
        None => pending().await,
    }
}

async fn send(frames: &mut Frames, response: &Response) -> io::Result<()> {
    let frame = Vec::with_capacity(response.bytes_about());
    let frame = postcard::to_extend(response, frame).map_err(io::Error::other)?;
    frames.send(Bytes::from(frame)).await
}
