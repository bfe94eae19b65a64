//! What the services call. Names and limits are checked before; here begin routing and the register protocol.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{NodeId, ObjectName, OpId, Partition};
use holdfast_core::listing::{Listing, Query};
use holdfast_core::record::Record;
use holdfast_core::term::Version;
use holdfast_proto::v1;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::kept_view::KeptView;
use super::lead::PartitionCell;
use super::write::{Done, Operation, no_layout};
use super::{Engine, EngineParts, Inner, OPERATIONS_MAX, REPAIRS_MAX};
use crate::peer::link::PROBE_EVERY;
use crate::peer::{Identity, LinkSignals, Links};
use crate::pulse::Pulse;

/// An object to be put, as it came from the client.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Checked media type, not empty.
    pub content_type: String,
    /// Checked.
    pub metadata: BTreeMap<String, String>,
    /// At most `BODY_BYTES_MAX`.
    pub body: Bytes,
    /// BLAKE3 of `body`, computed (and compared with the client's, if that sent one) by the service.
    pub hash: [u8; 32],
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeAnswer {
    /// It took effect and wrote this version.
    Committed(Version),
    /// It never took effect and never will.
    Fenced,
    /// Forgotten.
    Unknown,
}

/// What a delete did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// Whether there was something to delete.
    pub found: bool,
    /// The tombstone: the one that it wrote, or the one that was there (`None`: nothing was ever written).
    pub version: Option<Version>,
}

impl Deleted {
    pub(crate) fn to_wire(self) -> v1::DeleteResponse {
        let version = self.version.map(|version| version.to_text()).unwrap_or_default();
        v1::DeleteResponse { deleted: self.found, version }
    }
}

/// A mutation's identity and condition.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The same for every try.
    pub op: OpId,
    /// What must hold.
    pub condition: Condition,
    /// An earlier try may still be on its way: a refusal fences it.
    pub retry: bool,
}

impl Engine {
    /// Starts serving the cluster from an opened store. Reads the stored layout, so that a node which comes back while
    /// the registry is away serves at once. Errors when that cannot be read.
    pub fn start(parts: EngineParts) -> io::Result<Self> {
        let EngineParts { env, cluster, store, registry, bootstrap_nodes, replication } = parts;
        let me = store.node_id();
        let kept = KeptView::default();
        let stored = kept.load(&*env.disk)?;
        let unanswered = Arc::new(Pulse::new(PROBE_EVERY));
        let leaderships = Arc::new(Notify::new());
        let signals = LinkSignals { unanswered: unanswered.clone(), recovered: leaderships.clone() };
        let mut life = [0; 8];
        env.ambient.random(&mut life);
        let identity = Identity { cluster: cluster.clone(), node: me, life: u64::from_be_bytes(life) };
        let links = Links::new(env.clone(), identity.clone(), signals);
        let inner = Arc::new(Inner {
            me,
            identity,
            env,
            cluster,
            store,
            registry,
            bootstrap_nodes,
            replication,
            links,
            view: RwLock::new(None),
            kept,
            changing: tokio::sync::Mutex::default(),
            exchanged: Mutex::default(),
            partitions: Partition::all().map(|_| PartitionCell::new()).collect(),
            unanswered,
            waiting: Mutex::default(),
            leaderships,
            readiness: watch::Sender::new(false),
            tokens: AtomicU64::new(1),
            operations: Semaphore::new(OPERATIONS_MAX),
            repairs: Arc::new(Semaphore::new(REPAIRS_MAX)),
            turn: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            started: Instant::now(),
            tasks: Mutex::new(Vec::new()),
        });
        if let Some(view) = stored {
            tracing::info!(
                layout = view.layout.version,
                "serving with the stored layout until the registry answers"
            );
            inner.set_view(view);
        }
        inner.start_duties();
        Ok(Self { inner })
    }

    /// What it tells peers of itself.
    pub fn identity(&self) -> Identity {
        self.inner.identity.clone()
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.inner.me
    }

    /// Writes an object. Retrying with the same op id never applies twice. Answers the head of what was written.
    pub async fn put(
        &self,
        name: ObjectName,
        mutation: Mutation,
        object: NewObject,
        deadline: Instant,
    ) -> Result<Record, Error> {
        let _admitted = self.admit()?;
        let Mutation { op, condition, retry } = mutation;
        let operation = Operation::Put { op, condition, retry, object };
        match self.inner.route(&name, &operation, 0, deadline).await? {
            Done::Record(record) => Ok(record),
            _ => Err(unexpected()),
        }
    }

    /// Deletes.
    pub async fn delete(
        &self,
        name: ObjectName,
        mutation: Mutation,
        deadline: Instant,
    ) -> Result<Deleted, Error> {
        let _admitted = self.admit()?;
        let Mutation { op, condition, retry } = mutation;
        match self.inner.route(&name, &Operation::Delete { op, condition, retry }, 0, deadline).await? {
            Done::Deleted(deleted) => Ok(deleted),
            _ => Err(unexpected()),
        }
    }

    /// The whole object, linearizable. `NotFound` when there is none.
    pub async fn get(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        let _admitted = self.admit()?;
        self.inner.read(&name, false, 0, deadline).await
    }

    /// As `get`, without the body.
    pub async fn head(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        let _admitted = self.admit()?;
        self.inner.read(&name, true, 0, deadline).await
    }

    /// One page of a listing.
    pub async fn list(&self, query: Query, deadline: Instant) -> Result<Listing, Error> {
        let _admitted = self.admit()?;
        self.inner.list(query, deadline).await
    }

    /// Settles what became of `op`.
    pub async fn outcome(
        &self,
        name: ObjectName,
        op: OpId,
        deadline: Instant,
    ) -> Result<OutcomeAnswer, Error> {
        let _admitted = self.admit()?;
        match self.inner.route(&name, &Operation::Outcome { op }, 0, deadline).await? {
            Done::Outcome(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// The replicas of a name's partition, preferred leader first.
    pub fn replicas(&self, name: &ObjectName) -> Vec<NodeId> {
        self.inner
            .view()
            .map_or_else(Vec::new, |view| view.layout.partition(name.partition()).replicas.clone())
    }

    /// What `Cluster.Topology` answers; `None` until there is a layout. Does not wait for peers that were not heard of late:
    /// they are asked, so that the next answer is up to date.
    pub fn topology(&self) -> Option<v1::TopologyResponse> {
        drop(self.inner.ask_silent());
        self.inner.topology_now()
    }

    /// What `Cluster.Status` answers. Peers that were not heard of late are asked first, which takes some 200 ms when one
    /// of them hangs.
    pub async fn status(&self) -> v1::StatusResponse {
        self.inner.ask_silent().await;
        self.inner.status_now()
    }

    /// Whether this node can serve: it has a layout and its store works.
    pub fn ready(&self) -> Result<(), Error> {
        self.inner.ready()
    }

    /// Whether [`Self::ready`] is without error, now and whenever that changes.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.inner.readiness.subscribe()
    }

    /// Stops leading: requests go to other nodes from now on, and peers are refused what only a leader may do. They are
    /// told, so that they ask others first.
    pub fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
        self.inner.note_readiness();
        self.inner.links.tell_leaving();
        self.inner.step_down();
    }

    fn admit(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.inner.operations.try_acquire().map_err(|_| {
            Error::new(Code::Overloaded, "too many operations are under way on this node: wait and try again")
        })
    }
}

impl Inner {
    fn ready(&self) -> Result<(), Error> {
        if let Some(failure) = self.store.failed() {
            return Err(Error::owned(Code::Unavailable, format!("the store has failed: {failure}")));
        }
        if self.leaving.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Unavailable, "this node is stopping"));
        }
        self.view().map(|_| ()).ok_or_else(no_layout)
    }

    /// To be called whenever [`Self::ready`] may have changed.
    pub(super) fn note_readiness(&self) {
        self.readiness.send_if_modified(|told| {
            // Under the channel's lock: of two callers the later one tells what holds then.
            let ready = self.ready().is_ok();
            std::mem::replace(told, ready) != ready
        });
    }
}

fn unexpected() -> Error {
    Error::new(Code::Internal, "the leader answered something else than was asked")
}
