//! What readers, the writer and the checkpointer share: the published state, and how the store is.
//!
//! Everything in [`Published`] is on disk: the writer publishes after its sync.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdfast_core::ids::Partition;
use holdfast_core::record::Record;
use holdfast_core::register::Digest;
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::env::witness::Witness;

use super::base::Snapshot;
use super::error::StoreError;
use super::format;
use super::memtable::{Entry, Memtable};
use crate::pulse::Pulse;

/// The durable state, for readers.
pub(super) struct Published {
    pub(super) memtable: Memtable,
    pub(super) base: Arc<Snapshot>,
    /// By partition.
    pub(super) promised: Box<[Term]>,
    /// What is held, by partition.
    pub(super) digests: Box<[Digest]>,
}

/// Where the one checkpoint stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CheckpointPhase {
    /// None is under way: nothing is frozen.
    Idle,
    /// The frozen generation is being written.
    Running,
    /// It found no room. The frozen generation waits to be tried again.
    Full,
    /// The checkpointer has ended.
    Ended,
}

/// How often the writer looks whether it is quiet. Only while there is something to be checkpointed.
const TICK: Duration = Duration::from_secs(1);

/// Counters, for the status and the tests. They only rise.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) operations: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) integrity_errors: AtomicU64,
    pub(super) disk_full: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

pub(super) struct Shared {
    pub(super) published: RwLock<Published>,
    pub(super) counters: Counters,
    /// Ticks while there is something to be checkpointed.
    pub(super) pending: Pulse,
    failure: OnceLock<String>,
    /// Cancelled once `failure` is set.
    failed: CancellationToken,
    closed: AtomicBool,
    phase: watch::Sender<CheckpointPhase>,
    /// Held while redb's file is written, and perhaps opened again.
    pub(super) base_writing: Mutex<()>,
    /// Is told what has become durable.
    pub(super) witness: Arc<dyn Witness>,
    /// Claims the data folder.
    claim: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Shared {
    pub(super) fn new(published: Published, claim: Box<dyn Send + Sync>, witness: Arc<dyn Witness>) -> Self {
        Self {
            published: RwLock::new(published),
            counters: Counters::default(),
            pending: Pulse::new(TICK),
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
            closed: AtomicBool::new(false),
            phase: watch::Sender::new(CheckpointPhase::Idle),
            base_writing: Mutex::new(()),
            witness,
            claim: Mutex::new(Some(claim)),
        }
    }

    /// Whether something is not checkpointed yet.
    pub(super) fn has_pending(&self) -> bool {
        let memtable = &self.published.read().memtable;
        memtable.active.log_bytes > 0 || memtable.frozen.is_some()
    }

    /// What a key holds, durably.
    pub(super) fn find(&self, key: &[u8], with_body: bool) -> Result<Option<Entry>, StoreError> {
        let (entry, base) = {
            let published = self.published.read();
            (published.memtable.find(key), Arc::clone(&published.base))
        };
        if entry.is_some() {
            return Ok(entry);
        }
        self.read_base(&base, |base| base.find(key, with_body))
    }

    /// A key's record, durably.
    pub(super) fn record(&self, key: &[u8], with_body: bool) -> Result<Option<(Ballot, Record)>, StoreError> {
        let (entry, base) = {
            let published = self.published.read();
            (published.memtable.find(key), Arc::clone(&published.base))
        };
        match entry {
            Some(entry) => {
                let record = self.counted(format::decode_entry(key, &entry, with_body))?;
                Ok(Some((entry.ballot, record)))
            }
            None => self.read_base(&base, |base| base.record(key, with_body)),
        }
    }

    /// Reads from a snapshot; once more from its successor when redb's file was opened anew meanwhile.
    pub(super) fn read_base<T>(
        &self,
        base: &Snapshot,
        read: impl Fn(&Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = match read(base) {
            Err(StoreError::Failed(_)) => {
                drop(self.base_writing.lock());
                let newer = Arc::clone(&self.published.read().base);
                read(&newer).inspect_err(|error| {
                    if let StoreError::Failed(why) = error {
                        self.fail(why);
                    }
                })
            }
            result => result,
        };
        self.counted(result)
    }

    /// Counts an integrity error.
    pub(super) fn counted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Integrity(what)) = &result {
            sometimes!("stored bytes are found to be damaged");
            count(&self.counters.integrity_errors, 1);
            tracing::error!(what, "stored bytes are damaged");
        }
        result
    }

    pub(super) fn promised(&self, partition: Partition) -> Term {
        self.published.read().promised[partition.index()]
    }

    pub(super) fn digest(&self, partition: Partition) -> Digest {
        self.published.read().digests[partition.index()]
    }

    /// Fails for good.
    pub(super) fn fail(&self, why: &str) {
        if self.failure.set(why.to_owned()).is_ok() {
            self.failed.cancel();
            if !self.closed.load(Ordering::Acquire) {
                sometimes!("the store fails for good");
                tracing::error!(why, "the store has failed: the node must stop");
            }
        }
    }

    /// Until it has failed, if ever: why.
    pub(super) async fn until_failed(&self) -> &str {
        self.failed.cancelled().await;
        self.failure().expect("it is set before the token is cancelled")
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Whether operations are still taken.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Some(why) = self.failure.get() {
            return Err(StoreError::Failed(why.clone()));
        }
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Ends all use, and lets another process have the folder.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.claim.lock().take();
    }

    pub(super) fn phase(&self) -> CheckpointPhase {
        *self.phase.borrow()
    }

    pub(super) fn set_phase(&self, phase: CheckpointPhase) {
        self.phase.send_replace(phase);
    }

    /// Waits while a checkpoint is running.
    pub(super) async fn wait_while(&self, waiting: impl Fn(CheckpointPhase) -> bool) -> CheckpointPhase {
        let mut phase = self.phase.subscribe();
        let phase = phase.wait_for(|phase| !waiting(*phase)).await;
        *phase.expect("its sender is in here")
    }
}
