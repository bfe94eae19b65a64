//! The answering end: one task for each stream, replies gathered into frames.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use holdfast_core::ids::NodeId;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Request;
use holdfast_proto::v1::peer_server::{Peer, PeerServer};
use holdfast_proto::v1::{self, PeerReplies, PeerReply, PeerRequests};
use tonic::{Status, Streaming};

use super::FRAME_BYTES_MAX;
use super::outbox::Outbox;

/// Carries out what peers ask. The callback runs exactly once, possibly before `handle` returns.
pub trait PeerHandler: Send + Sync + 'static {
    /// One request.
    fn handle(&self, request: Request, reply: Box<dyn FnOnce(Reply) + Send>);
}

/// The gRPC service on the peer port.
pub struct PeerService {
    cluster: String,
    me: NodeId,
    handler: Arc<dyn PeerHandler>,
}

impl PeerService {
    /// As a tonic service.
    pub fn server(cluster: String, me: NodeId, handler: Arc<dyn PeerHandler>) -> PeerServer<Self> {
        PeerServer::new(Self { cluster, me, handler })
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<PeerReplies, Status>> + Send>>;

    async fn exchange(
        &self,
        request: tonic::Request<Streaming<PeerRequests>>,
    ) -> Result<tonic::Response<Self::ExchangeStream>, Status> {
        let requests = request.into_inner();
        let (outbox, frames) = Outbox::new(|replies| PeerReplies { replies });
        let stream =
            Exchange { cluster: self.cluster.clone(), me: self.me, handler: self.handler.clone(), outbox };
        tokio::spawn(stream.run(requests));
        Ok(tonic::Response::new(Box::pin(frames.map(Ok))))
    }
}

struct Exchange {
    cluster: String,
    me: NodeId,
    handler: Arc<dyn PeerHandler>,
    outbox: Outbox<PeerReply>,
}

impl Exchange {
    /// Until the asker goes away. What it asks is bounded by its own limit on requests outstanding.
    async fn run(self, mut requests: Streaming<PeerRequests>) {
        let mut greeted = false;
        while let Some(Ok(frame)) = requests.next().await {
            for request in frame.requests {
                let Some(body) = request.body else { continue };
                let id = request.id;
                if let Request::Ping(ping) = &body {
                    greeted = greeted || ping.cluster == self.cluster;
                    let answer =
                        if greeted { self.pong() } else { another_cluster(&self.cluster, &ping.cluster) };
                    self.outbox.push(PeerReply { id, body: Some(answer) });
                } else if greeted {
                    let outbox = self.outbox.clone();
                    let reply = Box::new(move |body| outbox.push(PeerReply { id, body: Some(body) }));
                    self.handler.handle(body, reply);
                } else {
                    break;
                }
            }
        }
        self.outbox.close();
    }

    fn pong(&self) -> Reply {
        Reply::Pong(v1::Pong { node: self.me.to_bytes().to_vec().into() })
    }
}

fn another_cluster(mine: &str, theirs: &str) -> Reply {
    Reply::Error(v1::ErrorDetail {
        code: "invalid".to_owned(),
        message: format!(
            "this node belongs to cluster {mine:?}, not {theirs:?}: check --cluster and the addresses"
        ),
        ..v1::ErrorDetail::default()
    })
}
