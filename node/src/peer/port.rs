//! The peer port: accepts the streams of other nodes.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::ids::NodeId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exchange::{Exchange, PeerHandler};
use crate::env::Listener;

/// Pause after a connection could not be accepted (no file descriptor left, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams at the same time at most: one for each peer, and those of peers that went away without a word.
const STREAMS_MAX: usize = 4096;

/// Serves peers until `stop` is done, then finishes what is under way.
pub async fn serve_peers(
    mut listener: Box<dyn Listener>,
    cluster: String,
    me: NodeId,
    handler: Arc<dyn PeerHandler>,
    stop: CancellationToken,
) {
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = streams.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, from)) if streams.len() >= STREAMS_MAX => {
                tracing::warn!(from, streams = streams.len(), "too many streams on the peer port: refused");
            }
            Ok((io, from)) => {
                let exchange = Exchange::new(cluster.clone(), me, handler.clone());
                streams.spawn(exchange.run(io, from, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while streams.join_next().await.is_some() {}
}
