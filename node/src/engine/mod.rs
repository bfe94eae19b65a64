//! The engine: a client's operations carried out on the cluster, whichever node they arrive at.
//!
//! * `api`: what the services call.
//! * `lead`: drives the partitions' leaders ([`holdfast_core::register::Leader`]): performs their effects.
//! * `write`: finds the leader of a key, here or on a peer, and takes over when there is none.
//! * `forward`: operations passed on between nodes, as messages.
//! * `read`: quorum reads, which any replica coordinates.
//! * `list`: listings, merged from several nodes.
//! * `peers`: what other nodes ask.
//! * `view`: the cluster as this node knows it, also when the registry is away.
//! * `layouts`: layouts as nodes hear of them: from the registry, and from one another.
//! * `witnessed`: what a witness is told of it.
//! * `duties`: what a node does by itself: first layout, taking its share of leaderships, ticks.

mod api;
mod duties;
mod forward;
mod kept_view;
mod layouts;
mod lead;
mod list;
mod peers;
mod read;
mod status;
mod view;
mod witnessed;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::term::Term;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use api::{Deleted, Mutation, NewObject, OutcomeAnswer};
use kept_view::KeptView;
pub use view::ClusterView;

use crate::env::Env;
use crate::peer::{Identity, Links};
use crate::pulse::Pulse;
use crate::registry::Registry;
use crate::store::{ReplicaAnswer, ReplicaOp, Store, StoreError};
use lead::PartitionCell;

/// Operations of clients under way on one node at most; beyond it they are refused as overload.
const OPERATIONS_MAX: usize = 8192;
/// Lagging copies being repaired at the same time.
const REPAIRS_MAX: usize = 64;

/// What an engine is made of.
pub struct EngineParts {
    /// The world.
    pub env: Env,
    /// The cluster's name.
    pub cluster: String,
    /// The opened store.
    pub store: Store,
    /// The registry, started.
    pub registry: Registry,
    /// The first layout is made when so many nodes are registered.
    pub bootstrap_nodes: usize,
    /// With so many replicas.
    pub replication: u8,
}

/// Carries out operations. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    me: NodeId,
    identity: Identity,
    env: Env,
    cluster: String,
    store: Store,
    registry: Registry,
    bootstrap_nodes: usize,
    replication: u8,
    links: Links,
    /// `None` until there is a layout.
    view: RwLock<Option<Arc<ClusterView>>>,
    /// The same on the disk.
    kept: KeptView,
    /// Held by whoever puts another layout in force, from the look at the one before to the end.
    changing: tokio::sync::Mutex<()>,
    /// When layouts were exchanged with a peer last.
    exchanged: Mutex<BTreeMap<NodeId, Instant>>,
    partitions: Vec<PartitionCell>,
    /// Ticks while a peer owes an answer or a leader waits for one.
    unanswered: Arc<Pulse>,
    /// The partitions whose leaders wait, each once.
    waiting: Mutex<Vec<Partition>>,
    /// Leaderships may be due: there is another layout, a leadership was lost, or a peer answers (again).
    leaderships: Arc<Notify>,
    /// What [`Engine::ready`] answers, without the reason.
    readiness: watch::Sender<bool>,
    tokens: AtomicU64,
    operations: Semaphore,
    repairs: Arc<Semaphore>,
    /// Spreads reads over the replicas.
    turn: AtomicUsize,
    leaving: AtomicBool,
    started: Instant,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

impl Inner {
    /// The cluster as known now.
    fn view(&self) -> Option<Arc<ClusterView>> {
        self.view.read().clone()
    }

    /// What the own replica holds of a key, in a term: at once where that term is promised already (durably, so that
    /// nothing of an older term can be accepted any more), by the store's writer where it must be promised first.
    fn learn(
        &self,
        name: ObjectName,
        term: Term,
        with_body: bool,
        on_done: impl FnOnce(Result<ReplicaAnswer, StoreError>) + Send + 'static,
    ) {
        let promised = || self.store.promised(name.partition());
        if promised() == term {
            let holds = self.store.read(&name, with_body);
            // Still: what was read is of no later term.
            if promised() == term {
                if holds.is_ok() {
                    self.tell_stood_by(&name, term);
                }
                return on_done(holds.map(|holds| {
                    ReplicaAnswer::Learned(holds.map(|(ballot, record)| (ballot, Arc::new(record))))
                }));
            }
        }
        self.submit(ReplicaOp::Learn { name, term, with_body }, on_done);
    }

    /// One operation for the own replica. A full queue answers as overloaded: whoever needs it asks again.
    fn submit(
        &self,
        op: ReplicaOp,
        on_done: impl FnOnce(Result<ReplicaAnswer, StoreError>) + Send + 'static,
    ) {
        self.store.try_submit(vec![op], move |mut answers| {
            on_done(answers.pop().unwrap_or(Err(StoreError::Closed)));
        });
    }
}
