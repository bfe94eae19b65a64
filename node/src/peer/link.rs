//! The asking end of a stream to one peer.
//!
//! A peer is *suspected* when it has been silent for [`SUSPECT_AFTER`] while something was asked of it, or cannot be
//! reached. Suspicion only steers: whom to ask first, when to take over. Safety never hangs on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_core::ids::NodeId;
use holdfast_core::sometimes;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Request;
use holdfast_proto::v1::{self, PeerReplies, PeerRequest};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::frames::Frames;
use super::outbox::{Outbox, OutboxWriter, outbox};
use crate::env::Env;

/// Silence that makes a peer suspected. Far above a loopback or data-centre round trip and a scheduler's hiccup, and
/// small enough that a hung node costs clients less than half a second.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(200);
/// How often a peer that owes answers is asked for a sign of life.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often an idle peer is asked for a sign of life.
const IDLE_PROBE_EVERY: Duration = Duration::from_millis(500);
/// Silence after which the connection is given up and made anew.
const DROP_AFTER: Duration = Duration::from_secs(3);
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between attempts to connect: doubles from the first to the second.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long a peer that said it is stopping is left alone.
const LEAVING_FOR: Duration = Duration::from_secs(5);
/// Requests outstanding to one peer at most, in number and in bytes; beyond them it counts as lost at once.
pub(super) const OUTSTANDING_MAX: usize = 16_384;
const OUTSTANDING_BYTES_MAX: usize = 64 << 20;

/// The id under which a sign of life is owed by a peer of which nothing else is awaited any more. Requests count from 1.
const SILENCE: u64 = 0;

/// Why there is no answer. The request may or may not have been carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the peer did not answer")]
pub struct LinkError;

type Callback = Box<dyn FnOnce(Result<Reply, LinkError>) + Send>;

struct Pending {
    callback: Callback,
    bytes: usize,
}

struct State {
    /// Present while connected.
    outbox: Option<Outbox<PeerRequest>>,
    pending: BTreeMap<u64, Pending>,
    pending_bytes: usize,
    next_id: u64,
    /// When it last said anything, or when it first began to owe an answer after owing none.
    owing_since: Instant,
    last_heard: Option<Instant>,
    leaving_until: Option<Instant>,
}

/// The asking end of the stream to one peer.
pub struct PeerLink {
    node: NodeId,
    state: Arc<Mutex<State>>,
    suspected: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for PeerLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerLink {
    fn open(env: Env, cluster: String, me: NodeId, node: NodeId, address: String) -> Self {
        let state = Arc::new(Mutex::new(State {
            outbox: None,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            next_id: 1,
            owing_since: Instant::now(),
            last_heard: None,
            leaving_until: None,
        }));
        let suspected = Arc::new(AtomicBool::new(true));
        let runner =
            Runner { env, cluster, me, node, address, state: state.clone(), suspected: suspected.clone() };
        Self { node, state, suspected, task: tokio::spawn(runner.run()) }
    }

    /// The peer.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether others should be asked first.
    pub fn is_suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed)
    }

    /// When it was last heard.
    pub fn last_heard(&self) -> Option<Instant> {
        self.state.lock().last_heard
    }

    /// It said that it is stopping: others are asked first for a while.
    pub fn on_leaving(&self) {
        sometimes!("a peer says that it is stopping");
        self.state.lock().leaving_until = Some(Instant::now() + LEAVING_FOR);
        self.suspected.store(true, Ordering::Relaxed);
    }

    /// Asks; `callback` runs once, on the answer or when there will be none. It must be quick.
    pub fn send(&self, request: Request, callback: impl FnOnce(Result<Reply, LinkError>) + Send + 'static) {
        if self.is_suspected() && !matches!(request, Request::Ping(_)) {
            sometimes!("a request for a suspected peer is not sent");
            return callback(Err(LinkError));
        }
        send(&self.state, request, Box::new(callback));
    }

    /// Asks and waits.
    pub async fn ask(&self, request: Request) -> Result<Reply, LinkError> {
        let (sender, receiver) = oneshot::channel();
        self.send(request, move |reply| drop(sender.send(reply)));
        receiver.await.unwrap_or(Err(LinkError))
    }
}

fn send(state: &Mutex<State>, request: Request, callback: Callback) {
    let mut locked = state.lock();
    let bytes = request_bytes(&request);
    let full =
        locked.pending.len() >= OUTSTANDING_MAX || locked.pending_bytes + bytes > OUTSTANDING_BYTES_MAX;
    let Some(outbox) = locked.outbox.clone().filter(|_| !full) else {
        drop(locked);
        return callback(Err(LinkError));
    };
    // Alone, it goes out from here; with others, together with what else comes until the link's task runs.
    let alone = locked.pending.is_empty();
    if alone {
        locked.owing_since = Instant::now();
    }
    let id = locked.next_id;
    locked.next_id += 1;
    locked.pending_bytes += bytes;
    locked.pending.insert(id, Pending { callback, bytes });
    // Pushed under the lock, so that a stream that ends meanwhile fails this request too.
    outbox.push(PeerRequest { id, body: Some(request) });
    drop(locked);
    if alone { outbox.send_now() } else { outbox.send_soon() }
}

/// What counts against the bytes outstanding: bodies; the rest is small.
fn request_bytes(request: &Request) -> usize {
    let record = match request {
        Request::Accept(accept) => &accept.record,
        Request::Install(install) => &install.record,
        Request::Forward(v1::Forward { operation: Some(v1::forward::Operation::Put(put)), .. }) => {
            return put.body.len() + 256;
        }
        _ => return 256,
    };
    let body = record.as_ref().and_then(|record| match &record.state {
        Some(v1::record::State::Object(object)) => object.inline_body.as_ref().map(bytes::Bytes::len),
        _ => None,
    });
    body.unwrap_or(0) + 256
}

/// A greeted connection.
struct Connection {
    outbox: Outbox<PeerRequest>,
    writer: OutboxWriter<PeerRequest>,
    frames: Frames,
}

struct Runner {
    env: Env,
    cluster: String,
    me: NodeId,
    node: NodeId,
    address: String,
    state: Arc<Mutex<State>>,
    suspected: Arc<AtomicBool>,
}

impl Runner {
    async fn run(self) {
        let mut pause = RECONNECT_PAUSE.0;
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!(peer = %self.node, address = %self.address, "peer connected");
                    (pause, told) = (RECONNECT_PAUSE.0, false);
                    self.serve(connection).await;
                    sometimes!("the connection to a peer ends and is made again");
                    tracing::info!(peer = %self.node, "peer lost");
                }
                Err(reason) if !told => {
                    tracing::info!(peer = %self.node, address = %self.address, %reason, "peer not reached; trying on");
                    told = true;
                }
                Err(_) => {}
            }
            self.suspected.store(true, Ordering::Relaxed);
            self.disconnect();
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_PAUSE.1);
        }
    }

    /// Connects and checks that the right node of the right cluster answers.
    async fn connect(&self) -> Result<Connection, String> {
        let io = timeout(CONNECT_TIMEOUT, self.env.net.connect(self.address.clone()))
            .await
            .inspect_err(|_| sometimes!("a peer cannot be connected to in time"))
            .map_err(|_| "no connection in time".to_owned())?
            .inspect_err(|_| sometimes!("a peer refuses to be connected to"))
            .map_err(|error| format!("cannot connect: {error}"))?;
        let (reads, writes) = tokio::io::split(io);
        let mut frames = Frames::new(reads);
        let (outbox, mut writer) = outbox(writes);
        let hello = v1::Ping { cluster: self.cluster.clone(), node: self.me.to_bytes().to_vec().into() };
        outbox.push(PeerRequest { id: 0, body: Some(Request::Ping(hello)) });
        let greeting = async {
            tokio::select! {
                broken = writer.write() => Err(broken.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
                first = frames.next::<PeerReplies>() => first,
            }
        };
        let first = timeout(CONNECT_TIMEOUT, greeting)
            .await
            .inspect_err(|_| sometimes!("a peer takes a connection and says nothing"))
            .map_err(|_| "no greeting in time".to_owned())?
            .map_err(|error| format!("no greeting: {error}"))?;
        let answer = first.and_then(|frame| frame.replies.into_iter().next()).and_then(|reply| reply.body);
        match answer {
            Some(Reply::Pong(pong)) if NodeId::from_slice(&pong.node) == Ok(self.node) => {
                Ok(Connection { outbox, writer, frames })
            }
            Some(Reply::Pong(_)) => Err("another node answers at this address".to_owned()),
            Some(Reply::Error(error)) => Err(error.message),
            _ => Err("an unexpected greeting".to_owned()),
        }
    }

    async fn serve(&self, Connection { outbox, mut writer, mut frames }: Connection) {
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            state.outbox = Some(outbox);
            state.owing_since = now;
            state.last_heard = Some(now);
            // What was leaving is back.
            state.leaving_until = None;
        }
        self.judge(now);
        let mut probe = interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_probe = now;
        loop {
            tokio::select! {
                biased;
                _ = writer.write() => return,
                frame = frames.next::<PeerReplies>() => match frame {
                    Ok(Some(frame)) => self.on_frame(frame),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(peer = %self.node, %error, "a peer's stream broke");
                        return;
                    }
                },
                _ = probe.tick() => {
                    let now = Instant::now();
                    if !self.judge(now) {
                        return;
                    }
                    let owes = !self.state.lock().pending.is_empty();
                    if owes || now - last_probe >= IDLE_PROBE_EVERY {
                        last_probe = now;
                        let ping = v1::Ping { cluster: String::new(), node: bytes::Bytes::new() };
                        send(&self.state, Request::Ping(ping), Box::new(|_| {}));
                    }
                }
            }
        }
    }

    fn on_frame(&self, frame: PeerReplies) {
        let now = Instant::now();
        let mut ready = Vec::with_capacity(frame.replies.len());
        {
            let mut state = self.state.lock();
            state.owing_since = now;
            state.last_heard = Some(now);
            // What stood for the sign of life that was awaited.
            state.pending.remove(&SILENCE);
            for reply in frame.replies {
                let Some(pending) = state.pending.remove(&reply.id) else { continue };
                state.pending_bytes -= pending.bytes;
                if let Some(body) = reply.body {
                    ready.push((pending.callback, body));
                }
            }
        }
        if self.suspected.load(Ordering::Relaxed) {
            sometimes!("a suspected peer answers again");
            self.judge(now);
        }
        for (callback, body) in ready {
            callback(Ok(body));
        }
    }

    /// Updates the suspicion; answers to a peer that has just become suspected are not waited for any longer.
    /// `false`: the connection is beyond hope.
    fn judge(&self, now: Instant) -> bool {
        let lost = {
            let mut state = self.state.lock();
            let silent = if state.pending.is_empty() { Duration::ZERO } else { now - state.owing_since };
            let leaving = state.leaving_until.is_some_and(|until| now < until);
            let suspected = silent >= SUSPECT_AFTER || leaving;
            let was = self.suspected.swap(suspected, Ordering::Relaxed);
            if silent >= DROP_AFTER {
                sometimes!("a peer is silent for so long that its connection is given up");
                return false;
            }
            if !suspected || was || leaving {
                return true;
            }
            sometimes!("a peer that owes answers becomes suspected");
            tracing::warn!(peer = %self.node, silent_ms = silent.as_millis(), "peer suspected: it owes answers");
            // Something stays pending, so that the silence goes on being measured.
            let lost = std::mem::take(&mut state.pending);
            state.pending_bytes = 0;
            state.pending.insert(SILENCE, Pending { callback: Box::new(|_| {}), bytes: 0 });
            lost
        };
        for pending in lost.into_values() {
            (pending.callback)(Err(LinkError));
        }
        true
    }

    fn disconnect(&self) {
        let lost = {
            let mut state = self.state.lock();
            state.outbox = None;
            sometimes!(!state.pending.is_empty(), "a connection ends while a peer owes answers");
            state.pending_bytes = 0;
            std::mem::take(&mut state.pending)
        };
        for pending in lost.into_values() {
            (pending.callback)(Err(LinkError));
        }
    }
}

/// The links to all peers that are known, by node.
pub struct Links {
    env: Env,
    cluster: String,
    me: NodeId,
    links: RwLock<BTreeMap<NodeId, (String, Arc<PeerLink>)>>,
}

impl Links {
    /// No links yet.
    pub fn new(env: Env, cluster: String, me: NodeId) -> Self {
        Self { env, cluster, me, links: RwLock::default() }
    }

    /// Opens links to the nodes of `addresses` (node, `host:port`), closes those to nodes that are gone or moved.
    pub fn set(&self, addresses: &BTreeMap<NodeId, String>) {
        let mut links = self.links.write();
        links.retain(|node, (address, _)| addresses.get(node) == Some(address));
        for (node, address) in addresses {
            if *node != self.me && !links.contains_key(node) {
                let link =
                    PeerLink::open(self.env.clone(), self.cluster.clone(), self.me, *node, address.clone());
                links.insert(*node, (address.clone(), Arc::new(link)));
            }
        }
    }

    /// The link to a node, if its address is known.
    pub fn get(&self, node: NodeId) -> Option<Arc<PeerLink>> {
        self.links.read().get(&node).map(|(_, link)| link.clone())
    }

    /// Tells all peers that this node is stopping.
    pub fn tell_leaving(&self) {
        let links: Vec<_> = self.links.read().values().map(|(_, link)| link.clone()).collect();
        for link in links {
            // It is a courtesy: without it they notice when their connections end.
            link.send(Request::Leaving(v1::Leaving {}), |_| {});
        }
    }

    /// Whether a node can be expected to answer.
    pub fn is_healthy(&self, node: NodeId) -> bool {
        node == self.me || self.links.read().get(&node).is_some_and(|(_, link)| !link.is_suspected())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use holdfast_proto::v1::{PeerReply, PeerRequests};
    use tokio::sync::mpsc;

    use super::*;
    use crate::env::{BoxIo, Listener, Net, real};

    /// Hands the other end of every connection to the test.
    struct Wires(mpsc::UnboundedSender<BoxIo>);

    impl Net for Wires {
        fn connect(&self, _: String) -> BoxFuture<'static, io::Result<BoxIo>> {
            let (here, there) = tokio::io::duplex(1 << 20);
            let sent = self.0.send(Box::new(there)).map_err(|_| io::ErrorKind::ConnectionRefused.into());
            Box::pin(async move { sent.map(|()| Box::new(here) as BoxIo) })
        }

        fn listen(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
            unreachable!("a link only connects")
        }
    }

    /// A peer that answers pings while it is awake, late or not.
    async fn answer(io: BoxIo, node: NodeId, asleep: Arc<AtomicBool>) {
        let (reads, writes) = tokio::io::split(io);
        let mut frames = Frames::new(reads);
        let (outbox, mut writer) = outbox(writes);
        loop {
            let frame = tokio::select! {
                _ = writer.write() => return,
                frame = frames.next::<PeerRequests>() => frame,
            };
            let Ok(Some(frame)) = frame else { return };
            while asleep.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            for request in frame.requests {
                let pong = Reply::Pong(v1::Pong { node: node.to_bytes().to_vec().into() });
                outbox.push(PeerReply { id: request.id, body: Some(pong) });
            }
            outbox.send_soon();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_was_suspected_owes_nothing_once_it_answers() {
        let (me, peer) = (NodeId(1), NodeId(2));
        let (sender, mut wires) = mpsc::unbounded_channel();
        let folder = tempfile::tempdir().expect("a folder");
        let real = real::env(folder.path().to_owned()).expect("an environment");
        let env = Env { net: Arc::new(Wires(sender)), ..real };
        let link = PeerLink::open(env, "test".to_owned(), me, peer, "peer:1".to_owned());
        let asleep = Arc::new(AtomicBool::new(false));
        tokio::spawn(answer(wires.recv().await.expect("a connection"), peer, asleep.clone()));
        sleep(Duration::from_millis(20)).await;
        assert!(!link.is_suspected());

        asleep.store(true, Ordering::Relaxed);
        let ask = Request::Prepare(v1::Prepare::default());
        assert_eq!(link.ask(ask).await, Err(LinkError));
        assert!(link.is_suspected());
        asleep.store(false, Ordering::Relaxed);
        sleep(Duration::from_millis(100)).await;
        assert!(!link.is_suspected());
        assert!(link.state.lock().pending.is_empty(), "then a lone request is sent at once again");
    }
}
