//! The answering end of a peer's stream: one task, replies gathered into frames.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::NodeId;
use holdfast_core::sometimes;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Request;
use holdfast_proto::v1::{self, PeerReply, PeerRequest, PeerRequests};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Identity;
use super::frames::Frames;
use super::link::{IDLE_PROBE_EVERY, OUTSTANDING_MAX};
use super::outbox::{Outbox, outbox};
use crate::env::BoxIo;

/// A peer asks for a sign of life more often: one that is silent for so long has gone without a word.
const SILENT_MAX: Duration = Duration::from_secs(30);
// An asker looks at its links this often when nothing happens, and so may find one a moment too young.
const _: () = assert!(SILENT_MAX.as_millis() > 2 * IDLE_PROBE_EVERY.as_millis());
/// How long a new connection may take to say whose it is.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// Requests of one stream under way at most. Twice what an asker has outstanding: it forgets what it gave up.
const UNDER_WAY_MAX: usize = 2 * OUTSTANDING_MAX;

/// Carries out what peers ask.
pub trait PeerHandler: Send + Sync + 'static {
    /// One request. `reply` is called exactly once, possibly before this returns.
    fn handle(&self, request: Request, reply: Box<dyn FnOnce(Reply) + Send>);

    /// A peer said that it is stopping, in this life of it; 0: it does not say.
    fn on_leaving(&self, peer: NodeId, life: u64);
}

/// One peer's stream.
pub(super) struct Exchange {
    me: Identity,
    handler: Arc<dyn PeerHandler>,
    under_way: Arc<UnderWay>,
}

/// How many requests of the stream are not answered yet.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    none: Notify,
}

/// One of them. It ends when this is dropped: also when nobody answers, because that panicked. Then the asker is told: it
/// would wait for ever.
struct Asked {
    id: u64,
    outbox: Outbox<PeerReply>,
    under_way: Arc<UnderWay>,
    answered: bool,
}

impl Asked {
    fn answer(mut self, body: Reply) {
        self.answered = true;
        self.outbox.push(PeerReply { id: self.id, body: Some(body) });
    }

    /// What is asked so that an answer comes.
    fn live(mut self, pong: Reply) {
        self.answered = true;
        self.outbox.push_first(PeerReply { id: self.id, body: Some(pong) });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            let error = Error::new(Code::Internal, "a defect of the node: see its log");
            self.outbox.push(PeerReply { id: self.id, body: Some(Reply::Error((&error).into())) });
        }
        if self.under_way.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.under_way.none.notify_one();
            self.outbox.send_now();
        } else {
            self.outbox.send_soon();
        }
    }
}

impl Exchange {
    pub(super) fn new(me: Identity, handler: Arc<dyn PeerHandler>) -> Self {
        Self { me, handler, under_way: Arc::default() }
    }

    /// Until the asker goes away, or until `stop` and what is under way was answered.
    pub(super) async fn run(self, io: BoxIo, from: String, stop: CancellationToken) {
        let (reads, writes) = tokio::io::split(io);
        let mut frames = Frames::new(reads);
        let (outbox, mut writer) = outbox(writes);
        let greeting = tokio::select! {
            () = stop.cancelled() => return,
            greeting = timeout(GREETING_MAX, self.greet(&mut frames, &outbox)) => greeting,
        };
        let asker = match greeting {
            Ok(Ok(asker)) => asker,
            Ok(Err(reason)) => {
                tracing::warn!(from, reason, "a connection to the peer port was refused");
                // Best effort: the reason, for the other end's log.
                outbox.close();
                return drop(timeout(GREETING_MAX, writer.write()).await);
            }
            Err(_) => return tracing::warn!(from, "a connection to the peer port said nothing: closed"),
        };
        // Set anew only when it rings: not for every frame.
        let mut silence = pin!(sleep(SILENT_MAX));
        let mut heard = Instant::now();
        loop {
            // One that does not take its answers is not asked for more.
            if outbox.is_full() && writer.room().await.is_err() {
                return;
            }
            let frame = tokio::select! {
                // Writing first: a stream of requests must not hold up the replies.
                biased;
                _ = writer.write() => return,
                () = stop.cancelled() => break,
                frame = frames.next::<PeerRequests>() => frame,
                () = &mut silence => {
                    if heard.elapsed() >= SILENT_MAX {
                        return tracing::warn!(peer = %asker, "a peer's stream was silent: closed");
                    }
                    silence.as_mut().reset(heard + SILENT_MAX);
                    continue;
                }
            };
            match frame {
                Ok(Some(frame)) => {
                    heard = Instant::now();
                    let under_way = self.under_way.count.fetch_add(frame.requests.len(), Ordering::AcqRel);
                    if under_way > UNDER_WAY_MAX {
                        return tracing::error!(peer = %asker, under_way, "a peer asks without end: closed");
                    }
                    for request in frame.requests {
                        self.on_request(asker, request, &outbox);
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::warn!(peer = %asker, %error, "a peer's stream broke"),
            }
        }
        sometimes!(
            self.under_way.count.load(Ordering::Acquire) > 0,
            "a node stops while it owes a peer answers"
        );
        let idle = async {
            while self.under_way.count.load(Ordering::Acquire) > 0 {
                self.under_way.none.notified().await;
            }
            outbox.close();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = writer.write() => {}
            () = idle => {}
        }
    }

    /// The first frame says who asks, and of which cluster. Answers, and gives the asker; or the reason for a refusal.
    async fn greet(&self, frames: &mut Frames, outbox: &Outbox<PeerReply>) -> Result<NodeId, String> {
        let first = frames.next::<PeerRequests>().await.map_err(|error| error.to_string())?;
        let first = first.and_then(|frame| frame.requests.into_iter().next());
        let Some(PeerRequest { id, body: Some(Request::Ping(ping)) }) = first else {
            return Err("it did not begin with a greeting".to_owned());
        };
        let asker = NodeId::from_slice(&ping.node).map_err(|invalid| invalid.to_string());
        let asker = asker.and_then(|asker| {
            if ping.cluster == self.me.cluster {
                Ok(asker)
            } else {
                Err(another_cluster(&self.me.cluster, &ping.cluster))
            }
        });
        let answer = match &asker {
            Ok(_) => self.pong(),
            Err(message) => Reply::Error(v1::ErrorDetail {
                code: "invalid".to_owned(),
                message: message.clone(),
                ..v1::ErrorDetail::default()
            }),
        };
        outbox.push(PeerReply { id, body: Some(answer) });
        asker
    }

    fn on_request(&self, asker: NodeId, PeerRequest { id, body }: PeerRequest, outbox: &Outbox<PeerReply>) {
        let (outbox, under_way) = (outbox.clone(), self.under_way.clone());
        let asked = Asked { id, outbox, under_way, answered: false };
        match body {
            Some(Request::Ping(_)) => asked.live(self.pong()),
            Some(Request::Leaving(leaving)) => {
                self.handler.on_leaving(asker, leaving.life);
                asked.answer(self.pong());
            }
            Some(body) => self.handler.handle(body, Box::new(move |body| asked.answer(body))),
            None => asked.answer(Reply::Error(v1::ErrorDetail {
                code: "invalid".to_owned(),
                message: "this node does not know what was asked: its version is older".to_owned(),
                ..v1::ErrorDetail::default()
            })),
        }
    }

    fn pong(&self) -> Reply {
        Reply::Pong(self.me.pong())
    }
}

fn another_cluster(mine: &str, theirs: &str) -> String {
    format!("this node belongs to cluster {mine:?}, not {theirs:?}: check --cluster and the addresses")
}
