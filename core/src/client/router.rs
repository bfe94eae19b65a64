//! What one client knows of the nodes: where they are, what they hold, how they have answered it lately.
//!
//! Shared by all operations of a client. Health is this client's own experience; the registry's `live` flag only
//! breaks ties. Nothing here is ever a reason not to try a node at all, only to try it later.

use alloc::string::String;
use alloc::vec::Vec;

use super::effect::Kind;
use super::latency::Latency;
use super::policy::Policy;
use super::topology::{NO_NODE, Topology, check_url};
use crate::error::Invalid;
use crate::ids::{NodeId, Partition};
use crate::sometimes;

/// Names a node to its router. Stable for the router's life, whatever the topology becomes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub(super) u16);

impl Slot {
    /// From 0, without gaps: an index for what the edge keeps per node.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Addresses that a user may give.
const SEEDS_MAX: usize = 64;
/// Slots a router ever makes. More only when thousands of nodes came and went within one client's life: then it
/// keeps the topology it has.
const SLOTS_MAX: usize = 16_384;
/// Times in a row that a node may leave us waiting before it is suspected.
const STRIKES_MAX: u8 = 2;
/// A hedge costs ten of what each operation brings one of: in the long run a tenth of all operations may be hedged,
/// so that a cluster that is slow because it has too much to do is not sent twice as much.
const HEDGE_COST: u32 = 10;
/// Hedges that may come at once, when a node hangs under load.
const HEDGE_TOKENS_MAX: u32 = 64 * HEDGE_COST;
/// A hedge beyond that waits this many times longer. It still comes: a hung node must not fail operations.
const HEDGE_DEAR: u32 = 4;

/// The nodes as one client sees them. Starts from the addresses that the user gave; see the module's documentation.
#[derive(Clone, Debug)]
pub struct Router {
    policy: Policy,
    peers: Vec<Peer>,
    known: Option<Known>,
    reads: Latency,
    mutations: Latency,
    hedge_tokens: u32,
    /// Given so far: see [`Peer::turn`].
    turns: u64,
    /// When the topology is to be asked for again.
    refresh_at: u64,
    /// Whom it is being asked of now, and since when.
    refreshing: Vec<(Slot, u64)>,
}

/// One address.
#[derive(Clone, Debug)]
struct Peer {
    id: Option<NodeId>,
    url: String,
    /// The user gave this address: it stays of use when the addresses in the topology cannot be reached from here.
    seed: bool,
    /// In the topology now.
    member: bool,
    /// Registered, when the topology was made.
    live: bool,
    /// Its process's number then; 0: not known.
    life: u64,
    heard_ms: u64,
    strikes: u8,
    suspected: bool,
    /// When an operation, or a question for the topology, went to it first: larger is later.
    turn: u64,
    /// While suspected: when to probe it.
    probe_at: u64,
    /// Times it became suspected, or a probe failed, since it last carried out an operation.
    level: u8,
}

/// What the last topology said, in slots.
#[derive(Clone, Debug)]
struct Known {
    cluster: String,
    layout_version: u64,
    replication: usize,
    placement: Vec<u16>,
}

/// What makes a node better than another, smallest first: times tried, rank, last turn, place.
type Key = (u32, u8, u64, usize);

/// How an operation stands with a slot: see [`Router::choose`].
pub(super) struct Tried {
    pub(super) busy: bool,
    pub(super) times: u32,
}

impl Router {
    /// From addresses such as `http://10.0.0.1:7070`: at least one, any nodes of one cluster.
    pub fn new<'a>(seeds: impl IntoIterator<Item = &'a str>, policy: Policy) -> Result<Self, Invalid> {
        let mut peers: Vec<Peer> = Vec::new();
        for seed in seeds {
            let url = check_url(seed)?;
            if peers.iter().all(|peer| peer.url != url) {
                peers.push(Peer::new(url, true));
            }
        }
        if peers.is_empty() || peers.len() > SEEDS_MAX {
            return Err(Invalid::new("give 1 to 64 addresses of nodes, such as http://127.0.0.1:7070"));
        }
        Ok(Self {
            policy,
            peers,
            known: None,
            reads: Latency::default(),
            mutations: Latency::default(),
            hedge_tokens: HEDGE_TOKENS_MAX,
            turns: 0,
            refresh_at: 0,
            refreshing: Vec::new(),
        })
    }

    /// Where a slot's node is now. May change with a topology.
    pub fn url(&self, slot: Slot) -> &str {
        &self.peers[slot.index()].url
    }

    /// Which node it is; `None` for an address of the user's that no topology named.
    pub fn node(&self, slot: Slot) -> Option<NodeId> {
        self.peers[slot.index()].id
    }

    /// Which process is at this address, by the last topology; 0: not known.
    pub fn life(&self, url: &str) -> u64 {
        self.peers.iter().find(|peer| peer.member && peer.url == url).map_or(0, |peer| peer.life)
    }

    /// The slot of a node that a topology named.
    pub fn slot(&self, node: NodeId) -> Option<Slot> {
        self.slots().find(|slot| self.peers[slot.index()].id == Some(node))
    }

    /// Whether this client has given up on it for now.
    pub fn suspected(&self, slot: Slot) -> bool {
        self.peers[slot.index()].suspected
    }

    /// The cluster's name, once a topology came.
    pub fn cluster(&self) -> Option<&str> {
        self.known.as_ref().map(|known| known.cluster.as_str())
    }

    /// The last topology's version, once one came.
    pub fn layout_version(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.layout_version)
    }

    /// The first replica of a partition that this client would write to: whom to send a batch to.
    pub fn leader(&self, partition: Partition) -> Option<Slot> {
        self.replicas(partition).find(|slot| self.peers[slot.index()].rank() == 0)
    }

    /// The numbers it was made with.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the topology is to be asked for now (at least [`Policy::refresh_ms`] old, or a suspected node is to be
    /// probed), and of which node. The caller must report its end.
    ///
    /// Before any topology came, another node is asked beside one that lets the client wait for
    /// [`Policy::read_hedge_ms_first`]: a browser's mutations wait for the first.
    pub fn refresh_due(&mut self, now_ms: u64, random: u64) -> Option<Slot> {
        self.forget_refreshes(now_ms);
        let is_recent = |since: u64| now_ms < since + u64::from(self.policy.read_hedge_ms_first);
        if self.refreshing.iter().any(|&(_, since)| self.known.is_some() || is_recent(since)) {
            return None;
        }
        let peer = |slot: &Slot| &self.peers[slot.index()];
        let is_asked = |slot: Slot| self.refreshing.iter().any(|&(asked, _)| asked == slot);
        let due = |slot: &Slot| {
            let Peer { suspected, probe_at, .. } = *peer(slot);
            suspected && peer(slot).of_use() && probe_at <= now_ms && !is_asked(*slot)
        };
        // Each in its turn: one that lets a probe wait would else be due again before the next.
        let probe = self.slots().filter(due).min_by_key(|slot| peer(slot).probe_at);
        // Before anything is known, a node that was not asked yet is the better guess.
        let is_untried = |slot: Slot| !peer(&slot).suspected && !is_asked(slot);
        let slot = match probe.filter(|_| self.known.is_some() || !self.slots().any(is_untried)) {
            Some(slot) => {
                sometimes!("a client probes a node that it suspects");
                slot
            }
            None if now_ms >= self.refresh_at => {
                let tried = |slot| Tried { busy: is_asked(slot), times: 0 };
                self.choose(Kind::Read, None, random, tried)?.0
            }
            None => return None,
        };
        if !self.refreshing.is_empty() {
            sometimes!("a client asks a second node for the first topology");
        }
        self.refreshing.push((slot, now_ms));
        self.on_first(slot);
        Some(slot)
    }

    /// Requests whose time is over have failed: their callers forgot them, or are about to report it.
    fn forget_refreshes(&mut self, now_ms: u64) {
        let timeout_ms = u64::from(self.policy.refresh_timeout_ms);
        while let Some(&(slot, _)) = self.refreshing.iter().find(|(_, since)| now_ms >= since + timeout_ms) {
            self.on_refresh_failed(slot, now_ms);
        }
    }

    /// `slot` answered with a topology. Errors when it is of another cluster than before: nothing changes then.
    pub fn on_topology(&mut self, slot: Slot, topology: &Topology, now_ms: u64) -> Result<(), Invalid> {
        self.end_refresh(slot);
        if self.cluster().is_some_and(|cluster| cluster != topology.cluster) {
            self.suspect(slot, now_ms);
            return Err(Invalid::new("a node at a known address belongs to another cluster now"));
        }
        self.on_heard(slot, now_ms);
        self.refresh_at = now_ms + u64::from(self.policy.refresh_ms);
        let newer = self.layout_version().is_none_or(|version| version <= topology.layout_version);
        // A cluster made anew under the old name starts its count again: it shares no node with the old one.
        let anew = || topology.nodes.iter().all(|node| self.slot(node.id).is_none());
        if newer || anew() {
            self.learn(topology);
        }
        Ok(())
    }

    /// `slot` gave no topology.
    pub fn on_refresh_failed(&mut self, slot: Slot, now_ms: u64) {
        sometimes!("a node does not tell a client the topology");
        self.end_refresh(slot);
        self.suspect(slot, now_ms);
        self.refresh_at = self.refresh_at.max(now_ms + u64::from(self.policy.backoff_ms_min));
    }

    fn end_refresh(&mut self, slot: Slot) {
        self.refreshing.retain(|&(asked, _)| asked != slot);
    }

    fn learn(&mut self, topology: &Topology) {
        if self.peers.len() + topology.nodes.len() > SLOTS_MAX {
            return;
        }
        for peer in &mut self.peers {
            peer.member = false;
        }
        let mut slots = Vec::with_capacity(topology.nodes.len());
        for node in &topology.nodes {
            let same_url = |peer: &Peer| peer.id.is_none() && peer.url == node.url;
            let at = self
                .peers
                .iter()
                .position(|peer| peer.id == Some(node.id))
                .or_else(|| self.peers.iter().position(same_url))
                .unwrap_or_else(|| {
                    self.peers.push(Peer::new(node.url.clone(), false));
                    self.peers.len() - 1
                });
            let peer = &mut self.peers[at];
            peer.id = Some(node.id);
            peer.member = true;
            peer.live = node.live;
            peer.life = node.life;
            if peer.url != node.url {
                peer.url.clone_from(&node.url);
            }
            slots.push(u16::try_from(at).expect("SLOTS_MAX is below 2^16"));
        }
        let slot_of = |&index: &u16| if index == NO_NODE { NO_NODE } else { slots[usize::from(index)] };
        self.known = Some(Known {
            cluster: topology.cluster.clone(),
            layout_version: topology.layout_version,
            replication: topology.replication,
            placement: topology.placement.iter().map(slot_of).collect(),
        });
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.peers.len()).map(|index| Slot(u16::try_from(index).expect("SLOTS_MAX is below 2^16")))
    }

    /// Replicas in list order; none before a topology is known.
    fn replicas(&self, partition: Partition) -> impl Iterator<Item = Slot> + '_ {
        let slots = self.known.as_ref().map_or(&[][..], |known| {
            let start = partition.index() * known.replication;
            &known.placement[start..start + known.replication]
        });
        slots.iter().filter(|&&slot| slot != NO_NODE).map(|&slot| Slot(slot))
    }

    /// The best node for the next attempt, and how often this operation tried it already: never one that is busy with
    /// it now; the least tried; then replicas before others, trusted before suspected, of these the one that was
    /// first longest ago: who comes first has the most of a short deadline, so each gets its turn; the usual leader first
    /// for mutations, any for reads (by `spread`).
    pub(super) fn choose(
        &self,
        kind: Kind,
        partition: Option<Partition>,
        spread: u64,
        tried: impl Fn(Slot) -> Tried,
    ) -> Option<(Slot, u32)> {
        let replicas = partition.map_or(0, |partition| self.replicas(partition).count());
        let place = |position: usize, of: usize| match kind {
            Kind::Mutation => position,
            Kind::Read => {
                (position + usize::try_from(spread % of.max(1) as u64).expect("below of")) % of.max(1)
            }
        };
        let mut best: Option<(Key, Slot)> = None;
        let key = |slot: Slot, rank: u8, place: usize| {
            let Tried { busy, times } = tried(slot);
            (!busy).then_some((times, rank, self.peers[slot.index()].turn(), place))
        };
        for (position, slot) in partition.into_iter().flat_map(|p| self.replicas(p)).enumerate() {
            let rank = self.peers[slot.index()].rank() * 3;
            let Some(key) = key(slot, rank, place(position, replicas)) else {
                continue;
            };
            if key == (0, 0, 0, 0) {
                return Some((slot, 0));
            }
            if best.is_none_or(|(least, _)| key < least) {
                best = Some((key, slot));
            }
        }
        if best.is_none_or(|((times, rank, ..), _)| times > 0 || rank > 0) {
            for slot in self.slots() {
                let peer = &self.peers[slot.index()];
                let rank = peer.rank() * 3 + if peer.member { 1 } else { 2 };
                let key = key(slot, rank, place(slot.index(), self.peers.len()));
                if let Some(key) = key.filter(|_| peer.of_use())
                    && best.is_none_or(|(least, _)| key < least)
                {
                    best = Some((key, slot));
                }
            }
        }
        best.map(|((times, ..), slot)| (slot, times))
    }

    /// `slot` is the first that is asked.
    pub(super) fn on_first(&mut self, slot: Slot) {
        self.turns += 1;
        self.peers[slot.index()].turn = self.turns;
    }

    /// An operation begins: part of a hedge is earned.
    pub(super) fn on_begin(&mut self) {
        self.hedge_tokens = (self.hedge_tokens + 1).min(HEDGE_TOKENS_MAX);
    }

    /// A hedge is sent.
    pub(super) fn on_hedge(&mut self) {
        self.hedge_tokens = self.hedge_tokens.saturating_sub(HEDGE_COST);
    }

    /// How long an attempt may stay unanswered before another node is asked too.
    pub(super) fn hedge_ms(&self, kind: Kind) -> u64 {
        let policy = &self.policy;
        let usual = match kind {
            Kind::Read => (&self.reads, policy.read_hedge_ms_first, policy.read_hedge_ms_min),
            Kind::Mutation => (&self.mutations, policy.mutation_hedge_ms_first, policy.mutation_hedge_ms_min),
        };
        let wait = usual.0.unusual_ms(usual.1, usual.2, policy.hedge_ms_max);
        u64::from(if self.hedge_tokens < HEDGE_COST { wait * HEDGE_DEAR } else { wait })
    }

    /// `slot` carried out an attempt of `kind` in `took_ms`.
    pub(super) fn on_success(&mut self, slot: Slot, kind: Kind, took_ms: u64, now_ms: u64) {
        match kind {
            Kind::Read => self.reads.on_sample(took_ms),
            Kind::Mutation => self.mutations.on_sample(took_ms),
        }
        self.on_heard(slot, now_ms);
        self.peers[slot.index()].level = 0;
    }

    /// `slot` answered something.
    pub(super) fn on_heard(&mut self, slot: Slot, now_ms: u64) {
        let peer = &mut self.peers[slot.index()];
        sometimes!(peer.suspected, "a node that a client suspected answers it again");
        peer.heard_ms = now_ms;
        peer.strikes = 0;
        peer.suspected = false;
    }

    /// `slot` answered that it cannot, or let an attempt wait: suspected when that goes on.
    pub(super) fn on_strike(&mut self, slot: Slot, now_ms: u64) {
        let peer = &mut self.peers[slot.index()];
        peer.strikes += 1;
        if peer.strikes >= STRIKES_MAX {
            sometimes!("a client suspects a node that answers, but carries nothing out");
            self.suspect(slot, now_ms);
        }
    }

    /// An attempt begun at `sent_ms` is unusually late. Only if the node answered nobody else since, it says
    /// something about the node.
    pub(super) fn on_late(&mut self, slot: Slot, sent_ms: u64, now_ms: u64) {
        if self.peers[slot.index()].heard_ms <= sent_ms {
            self.on_strike(slot, now_ms);
        }
    }

    /// `slot` could not be reached, or broke off, or kept silent: it is tried last until it answers a probe.
    pub(super) fn suspect(&mut self, slot: Slot, now_ms: u64) {
        let policy = &self.policy;
        let peer = &mut self.peers[slot.index()];
        if peer.suspected && now_ms < peer.probe_at {
            return;
        }
        let wait = policy.probe_ms_min.checked_shl(u32::from(peer.level)).unwrap_or(u32::MAX);
        peer.suspected = true;
        peer.strikes = 0;
        peer.probe_at = now_ms + u64::from(wait.min(policy.probe_ms_max));
        peer.level = (peer.level + 1).min(16);
    }
}

impl Peer {
    fn new(url: String, seed: bool) -> Self {
        Self {
            id: None,
            url,
            seed,
            member: false,
            live: true,
            life: 0,
            heard_ms: 0,
            strikes: 0,
            suspected: false,
            turn: 0,
            probe_at: 0,
            level: 0,
        }
    }

    fn of_use(&self) -> bool {
        self.member || self.seed
    }

    /// When it had its last turn, if it is suspected.
    fn turn(&self) -> u64 {
        if self.suspected { self.turn } else { 0 }
    }

    /// 0 is best. A suspected node comes after one that only the registry misses: what this client saw is newer.
    fn rank(&self) -> u8 {
        match (self.suspected, self.live) {
            (false, true) => 0,
            (false, false) => 1,
            (true, _) => 2,
        }
    }
}

impl Tried {
    pub(super) const NOT: Self = Self { busy: false, times: 0 };
}
