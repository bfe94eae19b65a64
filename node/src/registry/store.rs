//! The primitives a registry backend gives: a small revisioned store with leases and watches, as etcd has it.
//!
//! Each primitive is tried once and may hang: the layer above has the deadlines, the retries, the listing again.
//! That is what keeps them in one place, and what lets the simulator break every primitive on its own.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// A point in the registry's history: rises with every change of any key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names a lease while it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId(pub u64);

/// A key as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// JSON text, at most [`VALUE_BYTES_MAX`].
    pub value: String,
    /// The revision that wrote it.
    pub revision: Revision,
    /// The lease it goes with.
    pub lease: Option<LeaseId>,
}

/// All keys of a prefix at one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Everything up to this revision is in it.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
}

/// What became of a compare-and-swap that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swap {
    /// It was made, at this revision.
    Done(Revision),
    /// It was not made: the key stands like this (`None`: absent).
    Conflict(Option<Entry>),
}

/// One change that a watch reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Made or overwritten.
    Put(Entry),
    /// Deleted, or expired with its lease.
    Delete {
        /// The whole key.
        key: String,
        /// The revision that deleted it.
        revision: Revision,
    },
}

impl Change {
    /// The revision that made it.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// A running watch: batches of changes, oldest first. An empty batch is a heartbeat.
pub type Watch = BoxStream<'static, Result<Vec<Change>, StoreError>>;

/// Longest value. etcd refuses requests above 1.5 MiB.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A watch shows a sign of life (changes or an empty batch) at least this often. A backend that hangs as a whole is noticed
/// sooner, by the calls that keep the node registered: this is for a watch that alone does.
pub const WATCH_HEARTBEAT: Duration = Duration::from_secs(4);

/// Why a primitive gave nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer, or none that tells: a read failed, a change may or may not have happened.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The lease has expired or was revoked. Nothing was changed.
    #[error("the lease is gone")]
    LeaseGone,
    /// The watch cannot go on from that revision: list again.
    #[error("the history from there on is gone (compacted)")]
    Compacted,
    /// Answered with no. Nothing was changed, and asking again helps only once somebody mends what the text says.
    #[error("refused: {0}")]
    Refused(String),
}

/// A backend. Dropping a returned future may leave its change made or not made.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// Names the backend in logs, such as `etcd at http://127.0.0.1:2379`.
    fn describe(&self) -> String;

    /// Everything under a prefix. Linearizable: it contains every change that was answered before it was asked.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// One key. Linearizable, as `list`.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Writes a key, whatever it held. With a lease it goes away with it; without, it leaves the lease it had.
    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError>;

    /// Writes a key if it still is at `expected` (`None`: absent).
    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError>;

    /// Reports every change under a prefix from `from` on (inclusive), in the order of their revisions. A value that
    /// was replaced before it could be reported may be skipped, the last one never. Must never go quiet:
    /// [`WATCH_HEARTBEAT`]. Ends after its first error.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;

    /// Makes a lease that expires `ttl` after it was last kept alive, or somewhat later.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Keeps a lease alive for another full time.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease and deletes its keys. No error when it is gone already.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
}
