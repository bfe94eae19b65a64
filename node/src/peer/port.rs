//! The peer port: accepts the streams of other nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Identity;
use super::exchange::{Exchange, PeerHandler};
use crate::env::{Listener, tasks};

/// Pause after a connection could not be accepted (no file descriptor left, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams at the same time at most: one for each peer, and those of peers that went away without a word.
const STREAMS_MAX: usize = 4096;

/// Serves peers until `stop` is done, then finishes what is under way.
pub async fn serve_peers(
    mut listener: Box<dyn Listener>,
    me: Identity,
    handler: Arc<dyn PeerHandler>,
    stop: CancellationToken,
) {
    let streams = TaskTracker::new();
    // The streams end with this, also when it is dropped in the middle.
    let cut = CancellationToken::new();
    let _cut = cut.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, from)) if streams.len() >= STREAMS_MAX => {
                tracing::warn!(from, streams = streams.len(), "too many streams on the peer port: refused");
            }
            Ok((io, from)) => {
                let exchange = Exchange::new(me.clone(), handler.clone());
                let (stop, cut) = (stop.clone(), cut.clone());
                tasks::spawn(streams.track_future(async move {
                    tokio::select! {
                        () = exchange.run(io, from, stop) => {}
                        () = cut.cancelled() => {}
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    streams.close();
    streams.wait().await;
}
