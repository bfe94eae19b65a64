//! The fake registry's host: one task for each connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use node::env::{BoxIo, Net, tasks};
use node::registry::store::{LeaseId, Revision, StoreError, Swap, WATCH_HEARTBEAT};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::state::State;
use super::wire::{FRAME_BYTES_MAX, Request, Response, WireEntry};
use super::{PORT, wire};
use crate::hooks;
use crate::trace::Trace;

/// How often leases are looked at: etcd is about as exact.
const EXPIRY_EVERY: Duration = Duration::from_millis(200);

pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    trace: Trace,
    /// The last revision, for the watches.
    revisions: watch::Sender<u64>,
}

/// Serves the registry until the host ends. `state` outlives it.
pub async fn serve(net: Arc<dyn Net>, state: Arc<Mutex<State>>, trace: Trace) -> io::Result<()> {
    state.lock().renew_all(hooks::now());
    let (revisions, _) = watch::channel(state.lock().revision().0);
    let server = Server { state, trace, revisions };
    tasks::spawn(server.clone().expire());
    let mut listener = net.listen(format!("0.0.0.0:{PORT}")).await?;
    loop {
        let (io, _) = listener.accept().await?;
        tasks::spawn(server.clone().connection(io));
    }
}

impl Server {
    async fn expire(self) {
        loop {
            sleep(EXPIRY_EVERY).await;
            self.change("expiry", |state| {
                if state.next_expiry().is_some_and(|at| at <= hooks::now()) {
                    state.expire(hooks::now());
                }
            });
        }
    }

    /// Changes the state and tells the watches.
    fn change<T>(&self, what: &str, change: impl FnOnce(&mut State) -> T) -> T {
        let (answer, revision) = {
            let mut state = self.state.lock();
            let answer = change(&mut state);
            (answer, state.revision().0)
        };
        self.revisions.send_if_modified(|last| {
            let changed = *last != revision;
            if changed {
                self.trace.line(format_args!("registry: {what}, revision {revision}"));
            }
            *last = revision;
            changed
        });
        answer
    }

    /// One call. An error means that the caller is gone.
    async fn connection(self, io: BoxIo) -> io::Result<()> {
        let mut frames = Framed::new(io, codec());
        let Some(frame) = frames.next().await.transpose()? else { return Ok(()) };
        let request: Request = serde_json::from_slice(&frame).map_err(io::Error::other)?;
        if let Request::Watch { prefix, from } = request {
            return self.watch(frames, &prefix, Revision(from)).await;
        }
        let response = self.answer(request);
        send(&mut frames, &response).await
    }

    fn answer(&self, request: Request) -> Response {
        let now = hooks::now();
        let done = |result: Result<Response, StoreError>| result.unwrap_or_else(Response::from);
        match request {
            Request::List { prefix } => {
                let listing = self.state.lock().list(&prefix);
                let entries = listing.entries.into_iter().map(WireEntry::from).collect();
                Response::Listing { revision: listing.revision.0, entries }
            }
            Request::Get { key } => Response::Entry(self.state.lock().get(&key).map(WireEntry::from)),
            Request::Put { key, value, lease } => {
                let what = format!("put {key}");
                let put = self.change(&what, |state| state.put(key, value, lease.map(LeaseId)));
                done(put.map(|revision| Response::Revision(revision.0)))
            }
            Request::Swap { key, expected, value } => {
                let what = format!("swap {key}");
                let swap = self.change(&what, |state| state.swap(key, expected.map(Revision), value));
                done(swap.map(|swap| match swap {
                    Swap::Done(revision) => Response::Revision(revision.0),
                    Swap::Conflict(entry) => Response::Conflict(entry.map(WireEntry::from)),
                }))
            }
            Request::Grant { ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                Response::Lease(self.change("grant", |state| state.grant(ttl, now)).0)
            }
            Request::KeepAlive { lease } => {
                let kept = self.change("keep alive", |state| state.keep_alive(LeaseId(lease), now));
                done(kept.map(|()| Response::Done))
            }
            Request::Revoke { lease } => {
                self.change("revoke", |state| state.revoke(LeaseId(lease)));
                Response::Done
            }
            Request::Watch { .. } => Response::Refused("a watch has a connection of its own".to_owned()),
        }
    }

    async fn watch(
        self,
        mut frames: Framed<BoxIo, LengthDelimitedCodec>,
        prefix: &str,
        mut from: Revision,
    ) -> io::Result<()> {
        let mut revisions = self.revisions.subscribe();
        loop {
            let (changes, revision) = {
                let state = self.state.lock();
                (state.changes(prefix, from), state.revision())
            };
            match changes {
                Ok(changes) => {
                    let changes = changes.into_iter().map(wire::WireChange::from).collect();
                    send(&mut frames, &Response::Changes(changes)).await?;
                    from = from.max(revision.next());
                }
                Err(error) => return send(&mut frames, &Response::from(error)).await,
            }
            tokio::select! {
                biased;
                // The watcher says nothing more: whatever comes is the end of its connection.
                _ = frames.next() => return Ok(()),
                _ = timeout(WATCH_HEARTBEAT / 2, revisions.changed()) => {}
            }
        }
    }
}

async fn send(frames: &mut Framed<BoxIo, LengthDelimitedCodec>, response: &Response) -> io::Result<()> {
    let frame = serde_json::to_vec(response).map_err(io::Error::other)?;
    frames.send(Bytes::from(frame)).await
}
