//! The store: a node's registers and promises on its own disk.
//!
//! A write-ahead log (one sync for many operations) stands in front of redb (written by rare checkpoints); what lies
//! between the two is in memory. One writer judges and commits all operations in order; reads go straight to what it
//! has published, which is always on disk. `docs/storage.md` has the formats and the walk of a write; why it is so is in
//! `docs/decisions/0002-write-ahead-log.md`.

mod backend;
mod base;
mod batch;
mod checkpoint;
mod error;
mod fact;
mod format;
mod frame;
mod identity;
mod memtable;
mod open;
mod operation;
mod record_cache;
mod replay;
mod scan;
mod shared;
mod sums;
mod wal;
mod witnessed;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_core::ids::{BucketName, NodeId, ObjectName, Partition};
use holdfast_core::record::Record;
use holdfast_core::register::Digest;
use holdfast_core::term::{Ballot, Term};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::env::{Blocking, Env, real, settle, tasks};

pub use base::is_guarded;
pub use error::{OpenError, StoreError};
pub use format::{BODY_INSIDE_BYTES_MAX, FORMAT};
pub use operation::{ReplicaAnswer, ReplicaOp};
pub use scan::{SCAN_ENTRIES_MAX, ScanEntry, ScanPage, ScanStart};

use checkpoint::{CheckpointPolicy, Checkpoints};
use open::Opened;
use operation::{Done, OnDone, Task};
use shared::Shared;
use writer::{Command, Submission, Writer};

/// Submissions that wait for the writer at most.
const QUEUE_SUBMISSIONS: usize = 4096;
/// Bytes that wait for the writer at most, in kilobytes: a few batches.
const QUEUE_KIB: u32 = 32 << 10;
/// Bytes of one submission at most. Compile-time relation: it fits the queue and a log frame.
const SUBMISSION_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(SUBMISSION_BYTES_MAX <= (QUEUE_KIB as usize) << 10);
const _: () = assert!(2 * SUBMISSION_BYTES_MAX <= frame::PAYLOAD_BYTES_MAX);

/// Log bytes that begin a checkpoint where nothing else is asked: a replay of it takes well below a second.
pub const CHECKPOINT_LOG_BYTES: u64 = 16 << 20;
/// Seconds after the last write until the rest is checkpointed, where nothing else is asked.
pub const CHECKPOINT_QUIET_S: u32 = 5;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The cluster's name, checked.
    pub cluster: String,
    /// Whether answers wait for the disk. Without, a power loss forgets promises and acknowledged writes, and may leave
    /// a folder that does not open; a killed process loses nothing.
    pub fsync: bool,
    /// Memory for redb's pages.
    pub cache_bytes: usize,
    /// Log bytes that begin a checkpoint. At twice as many the writer waits for the checkpoint before.
    pub checkpoint_log_bytes: u64,
    /// How long after the last write the rest is checkpointed.
    pub checkpoint_quiet: Duration,
}

impl StoreOptions {
    /// What a node uses when nothing else is asked.
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            fsync: true,
            cache_bytes: 16 << 20,
            checkpoint_log_bytes: CHECKPOINT_LOG_BYTES,
            checkpoint_quiet: Duration::from_secs(CHECKPOINT_QUIET_S.into()),
        }
    }
}

/// What a store has done since it was opened, and holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Operations answered.
    pub operations: u64,
    /// Group commits: writes and syncs of the log.
    pub commits: u64,
    /// Bytes appended to the log.
    pub log_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Stored values whose checksum was wrong.
    pub integrity_errors: u64,
    /// Writes that found no room.
    pub disk_full: u64,
    /// Log bytes that are not checkpointed yet: what is in memory, and what a start would replay.
    pub pending_log_bytes: u64,
}

/// A node's registers and promises. Cheap to clone; all methods may be called from anywhere.
#[derive(Clone)]
pub struct Store {
    node: NodeId,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    /// Ends with the last of the clones.
    _ticker: Arc<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("node", &self.node)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the environment's data folder; an empty one becomes a new node's.
    pub async fn open(env: &Env, options: StoreOptions) -> Result<Self, OpenError> {
        let policy = CheckpointPolicy {
            log_bytes: options.checkpoint_log_bytes,
            log_bytes_max: options.checkpoint_log_bytes.saturating_mul(2),
            quiet: options.checkpoint_quiet,
        };
        let opened = match env.blocking {
            Blocking::InPlace => {
                let opened = open::open(env, &options)?;
                settle(&*env.disk).await;
                opened
            }
            Blocking::Threads => {
                let (sender, receiver) = oneshot::channel();
                let env = env.clone();
                real::spawn_thread("store-open", move || {
                    let _ = sender.send(open::open(&env, &options));
                })?;
                let ended = |_| OpenError::Damaged("opening it panicked: see the log".to_owned());
                receiver.await.map_err(ended)??
            }
        };
        let Opened { node, shared, wal, checkpointer } = opened;
        let checkpoints = Checkpoints::start(env.blocking, checkpointer)?;
        let (commands, receiver) = mpsc::channel(QUEUE_SUBMISSIONS);
        Writer::new(env.clone(), Arc::clone(&shared), wal, checkpoints, policy).start(receiver)?;
        let ticker = tasks::spawn(tick(Arc::clone(&shared), commands.downgrade()));
        let ticker = Arc::new(AbortOnDropHandle::new(ticker));
        let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
        Ok(Self { node, shared, commands, room, _ticker: ticker })
    }

    /// The node that this folder is of.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// The highest term that this replica has durably promised in a partition.
    pub fn promised(&self, partition: Partition) -> Term {
        self.shared.promised(partition)
    }

    /// What this replica durably holds of a partition.
    pub fn digest(&self, partition: Partition) -> Digest {
        self.shared.digest(partition)
    }

    /// What is durably accepted for a key; the body only when it is asked for. Does not wait for the writer.
    pub fn read(&self, name: &ObjectName, with_body: bool) -> Result<Option<(Ballot, Record)>, StoreError> {
        self.shared.check()?;
        let key = format::storage_key(name);
        let holds = self.shared.record(&key, with_body)?;
        witnessed::told(&self.shared, name, holds.as_ref().map(|(ballot, _)| *ballot));
        Ok(holds)
    }

    /// The heads of a bucket in key order, from `start`, those with `prefix`: at most `limit` (and never more than
    /// [`SCAN_ENTRIES_MAX`]).
    pub fn scan(
        &self,
        bucket: &BucketName,
        prefix: &str,
        start: ScanStart<'_>,
        limit: usize,
    ) -> Result<ScanPage, StoreError> {
        self.shared.check()?;
        scan::scan(&self.shared, bucket, prefix, start, limit)
    }

    /// Carries out one operation. When this is dropped before it answers, the operation may still happen.
    pub async fn apply(&self, operation: ReplicaOp) -> Result<ReplicaAnswer, StoreError> {
        let mut answers = self.apply_all(vec![operation]).await;
        answers.pop().unwrap_or(Err(StoreError::Closed))
    }

    /// Carries out some operations, in their order and mostly in one commit. One answer for each.
    pub async fn apply_all(&self, operations: Vec<ReplicaOp>) -> Vec<Result<ReplicaAnswer, StoreError>> {
        let count = operations.len();
        let (sender, receiver) = oneshot::channel();
        self.submit(operations, move |answers| {
            // Whoever asked may have gone.
            let _ = sender.send(answers);
        })
        .await;
        receiver.await.unwrap_or_else(|_| vec![Err(StoreError::Closed); count])
    }

    /// Queues operations, waiting for room in the queue, and has `on_done` called exactly once with one answer for each.
    /// It is called on the writer's thread (or on this task, when they cannot be queued): it must not block.
    pub async fn submit(
        &self,
        operations: Vec<ReplicaOp>,
        on_done: impl FnOnce(Vec<Result<ReplicaAnswer, StoreError>>) + Send + 'static,
    ) {
        let Some(prepared) = self.prepare(operations, Box::new(on_done)) else { return };
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(prepared.kib).await else { return };
        // A writer that has ended drops the submission, which calls back with an error.
        let _ = self.commands.send(Command::Work(prepared.submission(room))).await;
    }

    /// As [`Self::submit`], but refuses at once with [`StoreError::Overloaded`] when the queue is full.
    pub fn try_submit(
        &self,
        operations: Vec<ReplicaOp>,
        on_done: impl FnOnce(Vec<Result<ReplicaAnswer, StoreError>>) + Send + 'static,
    ) {
        let Some(prepared) = self.prepare(operations, Box::new(on_done)) else { return };
        let room = Arc::clone(&self.room).try_acquire_many_owned(prepared.kib);
        match (room, self.commands.try_reserve()) {
            (Ok(room), Ok(place)) => place.send(Command::Work(prepared.submission(room))),
            (_, Err(mpsc::error::TrySendError::Closed(()))) => drop(prepared),
            _ => prepared.done.refuse(&StoreError::Overloaded),
        }
    }

    /// Checks and encodes here, where it holds nobody up. `None`: `on_done` was called with errors.
    fn prepare(&self, operations: Vec<ReplicaOp>, on_done: OnDone) -> Option<Prepared> {
        let done = Done::new(operations.len(), on_done);
        if let Err(error) = self.shared.check() {
            done.refuse(&error);
            return None;
        }
        let tasks: Vec<Task> = operations.into_iter().map(Task::new).collect();
        let log_bytes: usize = tasks.iter().map(Task::log_bytes).sum();
        if log_bytes > SUBMISSION_BYTES_MAX {
            done.refuse(&StoreError::NotWhole("operations submitted together are over 16 MiB: split them"));
            return None;
        }
        let kib = u32::try_from(log_bytes.div_ceil(1024)).expect("bounded by the limit above");
        Some(Prepared { tasks, log_bytes, kib, done })
    }

    /// Why the store has failed for good, if it has: the node must stop.
    pub fn failed(&self) -> Option<&str> {
        self.shared.failure()
    }

    /// Until it has failed for good, if ever: why.
    pub async fn until_failed(&self) -> &str {
        self.shared.until_failed().await
    }

    /// What it has done and holds.
    pub fn stats(&self) -> StoreStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let pending_log_bytes = {
            let published = self.shared.published.read();
            let frozen = published.memtable.frozen.as_ref().map_or(0, |frozen| frozen.log_bytes);
            published.memtable.active.log_bytes + frozen
        };
        StoreStats {
            operations: load(&counters.operations),
            commits: load(&counters.commits),
            log_bytes: load(&counters.log_bytes),
            checkpoints: load(&counters.checkpoints),
            integrity_errors: load(&counters.integrity_errors),
            disk_full: load(&counters.disk_full),
            pending_log_bytes,
        }
    }

    /// Carries out what is queued, checkpoints, and gives the folder free. Later operations are refused.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.commands.send(Command::Close(sender)).await;
        // The sender is dropped when the writer has ended, or had before.
        let _ = receiver.await;
        self.shared.close();
        self.shared.failure().map_or(Ok(()), |why| Err(StoreError::Failed(why.to_owned())))
    }
}

/// Operations ready to be queued.
struct Prepared {
    tasks: Vec<Task>,
    log_bytes: usize,
    kib: u32,
    done: Done,
}

impl Prepared {
    fn submission(self, room: tokio::sync::OwnedSemaphorePermit) -> Submission {
        Submission { tasks: self.tasks, log_bytes: self.log_bytes, done: self.done, room }
    }
}

/// Tells the writer the time, while it has something to be checkpointed, until nobody holds the store.
async fn tick(shared: Arc<Shared>, commands: mpsc::WeakSender<Command>) {
    // What the start has replayed.
    let mut pending = shared.has_pending();
    loop {
        if pending {
            shared.pending.start();
        }
        shared.pending.tick().await;
        let Some(commands) = commands.upgrade() else { return };
        if commands.is_closed() {
            return;
        }
        pending = shared.has_pending();
        if pending {
            // A full queue means that the writer is awake anyway.
            let _ = commands.try_send(Command::Tick(Instant::now()));
        }
    }
}
