//! The asking end of a stream to one peer.
//!
//! A peer is *suspected* when it has been silent for [`SUSPECT_AFTER`] while something was asked of it, or cannot be
//! reached. Suspicion only steers: whom to ask first, when to take over. Safety never hangs on it.
//!
//! A link has no timer. [`Links::look`] is called while peers owe answers ([`Pulse`]), and rarely otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::sometimes;
use holdfast_core::term::Ballot;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Request;
use holdfast_proto::v1::{self, PeerReplies, PeerRequest};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Identity;
use super::frames::Frames;
use super::outbox::{Outbox, OutboxWriter, outbox};
use crate::env::{Env, tasks};
use crate::pulse::Pulse;

/// Silence that makes a peer suspected. Far above a loopback or data-centre round trip and a scheduler's hiccup, and
/// small enough that a hung node costs clients less than half a second.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(200);
/// How often [`Links::look`] is to be called while peers owe answers. Each time they are asked for a sign of life, so that
/// one that is slow with an answer, and only that, is not suspected.
pub const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How often an idle peer is asked for a sign of life, and [`Links::look`] to be called when nobody owes anything. Nothing
/// hangs on it but when a machine that went away without a word is noticed by one that asks nothing of it: whoever asks
/// something notices after [`SUSPECT_AFTER`], and a connection's end is noticed at once.
pub const IDLE_PROBE_EVERY: Duration = Duration::from_secs(10);
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

/// What a leader asks under one number, of a question or a proposal: no number is used twice in a partition.
pub type Step = (Partition, Ballot);

struct Pending {
    callback: Callback,
    bytes: usize,
    step: Option<Step>,
}

struct State {
    /// Present while connected, and until the connection is given up.
    outbox: Option<Outbox<PeerRequest>>,
    pending: BTreeMap<u64, Pending>,
    pending_bytes: usize,
    /// Of those that are pending.
    steps: BTreeSet<Step>,
    next_id: u64,
    /// When it last said anything, or when it first began to owe an answer after owing none.
    owing_since: Instant,
    /// Looks since then that found it owing. A node that itself stood still for a while looks once, late: its peers' answers
    /// have come meanwhile and are not read yet.
    quiet_looks: u32,
    last_heard: Option<Instant>,
    leaving_until: Option<Instant>,
    /// The peer's, by its greeting; 0: none yet, or it does not say.
    life: u64,
}

impl State {
    /// None of it is waited for any longer.
    fn take_pending(&mut self) -> BTreeMap<u64, Pending> {
        self.pending_bytes = 0;
        self.steps.clear();
        std::mem::take(&mut self.pending)
    }
}

/// What links tell those who wait.
#[derive(Clone, Debug)]
pub struct LinkSignals {
    /// Started while a peer owes an answer: [`Links::look`] is to be called with its ticks.
    pub unanswered: Arc<Pulse>,
    /// A peer that was not reached, or was suspected, answers.
    pub recovered: Arc<Notify>,
}

/// A link as those see it who ask, those who look, and its task.
struct Shared {
    node: NodeId,
    state: Mutex<State>,
    /// Changed under the lock of `state`.
    suspected: AtomicBool,
    signals: LinkSignals,
}

/// The asking end of the stream to one peer.
pub struct PeerLink {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for PeerLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerLink {
    fn open(env: Env, me: Identity, node: NodeId, address: String, signals: LinkSignals) -> Self {
        let state = Mutex::new(State {
            outbox: None,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            steps: BTreeSet::new(),
            next_id: 1,
            owing_since: Instant::now(),
            quiet_looks: 0,
            last_heard: None,
            leaving_until: None,
            life: 0,
        });
        let shared = Arc::new(Shared { node, state, suspected: AtomicBool::new(true), signals });
        let runner = Runner { env, me, address, shared: shared.clone() };
        Self { shared, task: tasks::spawn(runner.run()) }
    }

    /// The peer.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Whether others should be asked first.
    pub fn is_suspected(&self) -> bool {
        self.shared.suspected.load(Ordering::Relaxed)
    }

    /// When it was last heard.
    pub fn last_heard(&self) -> Option<Instant> {
        self.shared.state.lock().last_heard
    }

    /// Its process's number, by its last greeting; 0: none yet.
    pub fn life(&self) -> u64 {
        self.shared.state.lock().life
    }

    /// It said that it is stopping, in this life of it: others are asked first for a while.
    pub fn on_leaving(&self, life: u64) {
        let mut state = self.shared.state.lock();
        if life != state.life && life != 0 && state.life != 0 {
            // Of a connection that lost packets for long.
            sometimes!("the word of a peer that it is stopping comes when it has started again");
            return;
        }
        sometimes!("a peer says that it is stopping");
        state.leaving_until = Some(Instant::now() + LEAVING_FOR);
        self.shared.suspected.store(true, Ordering::Relaxed);
        drop(state);
        // It may stay after all.
        self.shared.signals.unanswered.start();
    }

    /// Asks; `callback` runs once, on the answer or when there will be none. It must be quick.
    pub fn send(&self, request: Request, callback: impl FnOnce(Result<Reply, LinkError>) + Send + 'static) {
        self.send_as(None, request, Box::new(callback));
    }

    /// The same for a step of a leader's. Where it is on its way already nothing is done, nor `callback` run: the stream
    /// loses nothing while it lasts, and when it ends the step is not on its way any more. Large ones, sent again and again,
    /// would block the stream.
    pub fn send_step(
        &self,
        step: Step,
        request: Request,
        callback: impl FnOnce(Result<Reply, LinkError>) + Send + 'static,
    ) {
        if self.shared.state.lock().steps.contains(&step) {
            sometimes!("what a leader would send again is still on its way");
            return;
        }
        self.send_as(Some(step), request, Box::new(callback));
    }

    fn send_as(&self, step: Option<Step>, request: Request, callback: Callback) {
        if self.is_suspected() && !matches!(request, Request::Ping(_)) {
            sometimes!("a request for a suspected peer is not sent");
            return callback(Err(LinkError));
        }
        self.shared.send(request, step, callback);
    }

    /// Asks and waits.
    pub async fn ask(&self, request: Request) -> Result<Reply, LinkError> {
        let (sender, receiver) = oneshot::channel();
        self.send(request, move |reply| drop(sender.send(reply)));
        receiver.await.unwrap_or(Err(LinkError))
    }
}

impl Shared {
    fn send(&self, request: Request, step: Option<Step>, callback: Callback) {
        let mut state = self.state.lock();
        let bytes = request_bytes(&request);
        let full =
            state.pending.len() >= OUTSTANDING_MAX || state.pending_bytes + bytes > OUTSTANDING_BYTES_MAX;
        let Some(outbox) = state.outbox.clone().filter(|_| !full) else {
            drop(state);
            return callback(Err(LinkError));
        };
        // Alone, it goes out from here; with others, together with what else comes until the link's task runs.
        let alone = state.pending.is_empty();
        if alone {
            state.owing_since = Instant::now();
            state.quiet_looks = 0;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.pending_bytes += bytes;
        state.steps.extend(step);
        state.pending.insert(id, Pending { callback, bytes, step });
        // Pushed under the lock, so that a stream that ends meanwhile fails this request too.
        let first = matches!(request, Request::Ping(_));
        let request = PeerRequest { id, body: Some(request) };
        if first {
            outbox.push_first(request);
        } else {
            outbox.push(request);
        }
        drop(state);
        if alone {
            outbox.send_now();
            self.signals.unanswered.start();
        } else {
            outbox.send_soon();
        }
    }

    fn ping(&self) {
        self.send(sign_of_life(), None, Box::new(|_| {}));
    }

    /// A look at the clock: notices silence, and asks for a sign of life where an answer is owed or nothing was heard for
    /// long.
    fn look(&self, now: Instant) {
        {
            let mut state = self.state.lock();
            state.quiet_looks += u32::from(!state.pending.is_empty());
        }
        self.judge(now);
        let (owes, leaving, idle) = {
            let state = self.state.lock();
            if state.outbox.is_none() {
                return;
            }
            let idle = state.last_heard.is_none_or(|at| now - at >= IDLE_PROBE_EVERY);
            (!state.pending.is_empty(), state.leaving_until.is_some(), idle)
        };
        if owes || leaving {
            self.signals.unanswered.start();
        }
        // A peer that was stopping may have been started again on a machine that does not know this connection.
        if owes || leaving || idle {
            self.ping();
        }
    }

    fn on_connected(&self, outbox: Outbox<PeerRequest>, life: u64) {
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            state.outbox = Some(outbox);
            state.life = life;
            state.owing_since = now;
            state.quiet_looks = 0;
            state.last_heard = Some(now);
            // What was leaving is back.
            state.leaving_until = None;
        }
        self.judge(now);
    }

    fn on_frame(&self, frame: PeerReplies) {
        let now = Instant::now();
        let mut ready = Vec::with_capacity(frame.replies.len());
        {
            let mut state = self.state.lock();
            state.owing_since = now;
            state.quiet_looks = 0;
            state.last_heard = Some(now);
            // What stood for the sign of life that was awaited.
            state.pending.remove(&SILENCE);
            for reply in frame.replies {
                let Some(pending) = state.pending.remove(&reply.id) else { continue };
                state.pending_bytes -= pending.bytes;
                if let Some(step) = pending.step {
                    state.steps.remove(&step);
                }
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

    /// Updates the suspicion; answers of a peer that has just become suspected are not waited for any longer. A connection
    /// that is beyond hope is ended: the link's task makes a new one.
    fn judge(&self, now: Instant) {
        let lost = {
            let mut state = self.state.lock();
            let Some(outbox) = &state.outbox else { return };
            let silent = if state.pending.is_empty() {
                Duration::ZERO
            } else {
                (now - state.owing_since).min(PROBE_EVERY * (state.quiet_looks + 1))
            };
            if silent >= DROP_AFTER {
                sometimes!("a peer is silent for so long that its connection is given up");
                outbox.abort();
                state.outbox = None;
                return;
            }
            state.leaving_until = state.leaving_until.filter(|until| now < *until);
            let leaving = state.leaving_until.is_some();
            let suspected = silent >= SUSPECT_AFTER || leaving;
            let was = self.suspected.swap(suspected, Ordering::Relaxed);
            if was && !suspected {
                self.signals.recovered.notify_one();
            }
            if !suspected || was || leaving {
                return;
            }
            sometimes!("a peer that owes answers becomes suspected");
            tracing::warn!(peer = %self.node, silent_ms = silent.as_millis(), "peer suspected: it owes answers");
            // Something stays pending, so that the silence goes on being measured.
            let lost = state.take_pending();
            state.pending.insert(SILENCE, Pending { callback: Box::new(|_| {}), bytes: 0, step: None });
            lost
        };
        for pending in lost.into_values() {
            (pending.callback)(Err(LinkError));
        }
    }

    fn on_disconnected(&self) {
        let lost = {
            let mut state = self.state.lock();
            self.suspected.store(true, Ordering::Relaxed);
            state.outbox = None;
            state.take_pending()
        };
        for pending in lost.into_values() {
            (pending.callback)(Err(LinkError));
        }
    }
}

fn sign_of_life() -> Request {
    Request::Ping(v1::Ping { cluster: String::new(), node: bytes::Bytes::new() })
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
    /// The peer's.
    life: u64,
}

struct Runner {
    env: Env,
    me: Identity,
    address: String,
    shared: Arc<Shared>,
}

impl Runner {
    async fn run(self) {
        let mut pause = RECONNECT_PAUSE.0;
        let mut told = false;
        let peer = self.shared.node;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    tracing::info!(%peer, address = %self.address, "peer connected");
                    (pause, told) = (RECONNECT_PAUSE.0, false);
                    self.serve(connection).await;
                    sometimes!("the connection to a peer ends and is made again");
                    tracing::info!(%peer, "peer lost");
                }
                Err(reason) if !told => {
                    tracing::info!(%peer, address = %self.address, %reason, "peer not reached; trying on");
                    told = true;
                }
                Err(_) => {}
            }
            self.shared.on_disconnected();
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
        outbox.push(PeerRequest { id: 0, body: Some(Request::Ping(self.me.greeting())) });
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
            Some(Reply::Pong(pong)) if NodeId::from_slice(&pong.node) == Ok(self.shared.node) => {
                Ok(Connection { outbox, writer, frames, life: pong.life })
            }
            Some(Reply::Pong(_)) => Err("another node answers at this address".to_owned()),
            Some(Reply::Error(error)) => Err(error.message),
            _ => Err("an unexpected greeting".to_owned()),
        }
    }

    async fn serve(&self, Connection { outbox, mut writer, mut frames, life }: Connection) {
        self.shared.on_connected(outbox, life);
        loop {
            tokio::select! {
                biased;
                _ = writer.write() => return,
                frame = frames.next::<PeerReplies>() => match frame {
                    Ok(Some(frame)) => self.shared.on_frame(frame),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(peer = %self.shared.node, %error, "a peer's stream broke");
                        return;
                    }
                },
            }
        }
    }
}

/// The links to all peers that are known, by node.
pub struct Links {
    env: Env,
    me: Identity,
    signals: LinkSignals,
    links: RwLock<BTreeMap<NodeId, (String, Arc<PeerLink>)>>,
}

impl Links {
    /// No links yet.
    pub fn new(env: Env, me: Identity, signals: LinkSignals) -> Self {
        Self { env, me, signals, links: RwLock::default() }
    }

    /// Opens links to the nodes of `addresses` (node, `host:port`), closes those to nodes that are gone or moved.
    pub fn set(&self, addresses: &BTreeMap<NodeId, String>) {
        let mut links = self.links.write();
        links.retain(|node, (address, _)| addresses.get(node) == Some(address));
        for (node, address) in addresses {
            if *node != self.me.node && !links.contains_key(node) {
                let (env, me) = (self.env.clone(), self.me.clone());
                let link = PeerLink::open(env, me, *node, address.clone(), self.signals.clone());
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
        for link in self.all() {
            // It is a courtesy: without it they notice when their connections end.
            link.send(Request::Leaving(v1::Leaving { life: self.me.life }), |_| {});
        }
    }

    /// A look at the clock, for all links: silence is noticed, and signs of life are asked for.
    pub fn look(&self) {
        let now = Instant::now();
        for link in self.all() {
            link.shared.look(now);
        }
    }

    /// Asks the peers that were not heard for so long for a sign of life: what [`Self::is_healthy`] says may be as old. What
    /// is returned ends, soon after [`SUSPECT_AFTER`] at the latest, when each has answered or is suspected.
    pub fn ask_silent(&self, silent: Duration) -> impl Future<Output = ()> + use<> {
        let now = Instant::now();
        let is_silent = |link: &PeerLink| link.last_heard().is_none_or(|at| now - at > silent);
        let answers =
            self.all().into_iter().filter(|link| !link.is_suspected() && is_silent(link)).map(|link| {
                let (sender, receiver) = oneshot::channel();
                link.send(sign_of_life(), move |reply| drop(sender.send(reply)));
                receiver
            });
        let answers: Vec<_> = answers.collect();
        async { drop(join_all(answers).await) }
    }

    fn all(&self) -> Vec<Arc<PeerLink>> {
        // Not under the lock: what callbacks do takes it too.
        self.links.read().values().map(|(_, link)| link.clone()).collect()
    }

    /// Whether a node can be expected to answer.
    pub fn is_healthy(&self, node: NodeId) -> bool {
        node == self.me.node || self.links.read().get(&node).is_some_and(|(_, link)| !link.is_suspected())
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
