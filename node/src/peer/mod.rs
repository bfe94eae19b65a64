//! What nodes say to each other: one long-lived stream for each ordered pair of nodes, many small messages a frame.
//!
//! * `link`: the asking end: connects, matches replies, notices a peer that is gone or hangs.
//! * `exchange`: the answering end.
//! * `port`: the listener.
//! * `outbox`: the queue that turns messages into frames, and writes them.
//! * `frames`: the frames that arrive.
//!
//! Not gRPC: `docs/decisions/peer-transport.md` has the figures.

mod exchange;
mod frames;
pub mod link;
mod outbox;
mod port;

pub use exchange::PeerHandler;
pub use link::{LinkError, LinkSignals, Links, PeerLink};
pub use port::serve_peers;

use holdfast_core::ids::NodeId;
use holdfast_proto::v1;

/// Who a node is to its peers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// Another for each time that it starts.
    pub life: u64,
}

impl Identity {
    fn greeting(&self) -> v1::Ping {
        v1::Ping { cluster: self.cluster.clone(), node: self.node.to_bytes().to_vec().into() }
    }

    pub(crate) fn pong(&self) -> v1::Pong {
        v1::Pong { node: self.node.to_bytes().to_vec().into(), life: self.life }
    }
}

/// Messages in one frame at most. Enough to fill the pipe, few enough that a frame never starves the others.
const FRAME_MESSAGES_MAX: usize = 256;
/// A frame is closed before its messages are longer than this together, but one of them always goes in. What overtakes the
/// others waits for one frame all the same.
const FRAME_BYTES_SOFT_MAX: usize = 128 << 10;
/// Largest frame: that of the largest message (a listing page, some 5 MiB), with room to spare.
const FRAME_BYTES_MAX: usize = 16 << 20;
