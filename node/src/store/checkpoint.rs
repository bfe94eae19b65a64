//! Checkpoints: moving a frozen generation from the log and memory to the checkpointed store.
//!
//! When one is due is a pure decision. It is carried out on a thread of its own, or on a task in the simulator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::sometimes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::env::{Blocking, Disk, real, settle, tasks};

use super::base::{Base, CommitError};
use super::memtable::Generation;
use super::shared::{CheckpointPhase, Shared, count};
use super::wal::Wal;

/// When to begin a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointPolicy {
    /// At this many bytes of log.
    pub(super) log_bytes: u64,
    /// From this many on, nothing more is taken until the checkpoint before has ended.
    pub(super) log_bytes_max: u64,
    /// When nothing was written for this long: an idle node holds nothing in memory and starts fast.
    pub(super) quiet: Duration,
}

impl CheckpointPolicy {
    /// Whether to begin one, given the active generation's log bytes and how long nothing was added to it.
    pub(super) fn is_due(&self, active_log_bytes: u64, quiet: Duration) -> bool {
        active_log_bytes > 0 && (active_log_bytes >= self.log_bytes || quiet >= self.quiet)
    }

    /// Whether the writer must wait for the running checkpoint before it takes more.
    pub(super) fn must_wait(&self, active_log_bytes: u64) -> bool {
        active_log_bytes >= self.log_bytes_max
    }
}

/// One checkpoint to be written.
pub(super) struct Job {
    pub(super) frozen: Arc<Generation>,
    /// The first log segment that is not in it.
    pub(super) wal_first: u64,
}

/// Writes checkpoints.
pub(super) struct Checkpointer {
    base: Base,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
}

impl Checkpointer {
    pub(super) fn new(base: Base, disk: Arc<dyn Disk>, shared: Arc<Shared>) -> Self {
        Self { base, disk, shared }
    }

    /// Writes what it is given until nobody can ask any more.
    async fn run_all(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            self.run(&job).await;
        }
        let shared = Arc::clone(&self.shared);
        // The file is closed before anybody is told.
        drop(self);
        shared.set_phase(CheckpointPhase::Ended);
    }

    async fn run(&mut self, job: &Job) {
        let phase = match self.write(job).await {
            Ok(phase) => phase,
            Err(why) => {
                self.shared.fail(&why);
                CheckpointPhase::Ended
            }
        };
        if phase == CheckpointPhase::Idle {
            count(&self.shared.counters.checkpoints, 1);
            // What stays is removed at the next start.
            if let Err(error) = Wal::remove_before(&*self.disk, job.wal_first) {
                tracing::warn!(%error, "an old log segment could not be removed");
            }
            settle(&*self.disk).await;
        }
        self.shared.set_phase(phase);
    }

    async fn write(&mut self, job: &Job) -> Result<CheckpointPhase, String> {
        {
            let writing = self.shared.base_writing.lock();
            match self.base.commit(&job.frozen, job.wal_first) {
                Ok(()) => {}
                Err(CommitError::Full) => {
                    sometimes!("a checkpoint finds no room");
                    count(&self.shared.counters.disk_full, 1);
                    tracing::warn!("the disk is full: a checkpoint waits for room");
                    self.base
                        .reopen()
                        .map_err(|error| format!("opening it after a full disk failed: {error}"))?;
                    self.publish(CheckpointPhase::Full)?;
                    return Ok(CheckpointPhase::Full);
                }
                Err(CommitError::Failed(why)) => return Err(why),
            }
            drop(writing);
        }
        settle(&*self.disk).await;
        self.publish(CheckpointPhase::Idle)?;
        Ok(CheckpointPhase::Idle)
    }

    /// Shows readers what is in the file now; once a checkpoint has ended, the frozen generation goes.
    fn publish(&self, phase: CheckpointPhase) -> Result<(), String> {
        let snapshot = Arc::new(self.base.snapshot()?);
        // Dropped after the lock: freeing a generation takes a while.
        let (_old_base, _frozen) = {
            let mut published = self.shared.published.write();
            let old = std::mem::replace(&mut published.base, snapshot);
            let frozen = if phase == CheckpointPhase::Idle { published.memtable.frozen.take() } else { None };
            (old, frozen)
        };
        Ok(())
    }
}

/// Where checkpoints are asked for.
pub(super) struct Checkpoints(mpsc::UnboundedSender<Job>);

impl Checkpoints {
    /// Starts what writes them. Within a tokio runtime.
    pub(super) fn start(blocking: Blocking, checkpointer: Checkpointer) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::unbounded_channel::<Job>();
        match blocking {
            Blocking::InPlace => {
                tasks::spawn(checkpointer.run_all(receiver));
            }
            Blocking::Threads => {
                let runtime = Handle::current();
                real::spawn_thread("checkpoint", move || {
                    let shared = Arc::clone(&checkpointer.shared);
                    let work = || runtime.block_on(checkpointer.run_all(receiver));
                    if catch_unwind(AssertUnwindSafe(work)).is_err() {
                        shared.fail("a checkpoint panicked");
                        shared.set_phase(CheckpointPhase::Ended);
                    }
                })?;
            }
        }
        Ok(Self(jobs))
    }

    /// Starts one.
    pub(super) fn begin(&self, shared: &Shared, job: Job) {
        shared.set_phase(CheckpointPhase::Running);
        if self.0.send(job).is_err() {
            shared.fail("the checkpoint thread has ended");
            shared.set_phase(CheckpointPhase::Ended);
        }
    }

    /// Closes the checkpointed store.
    pub(super) async fn end(self, shared: &Shared) {
        drop(self.0);
        shared.wait_while(|phase| phase != CheckpointPhase::Ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_size_or_by_quiet() {
        let quiet = Duration::from_secs(5);
        let policy = CheckpointPolicy { log_bytes: 100, log_bytes_max: 200, quiet };
        let nearly = quiet - Duration::from_millis(1);
        let due = [(0, quiet), (1, nearly), (1, quiet), (99, nearly), (100, Duration::ZERO)]
            .map(|(log_bytes, quiet)| policy.is_due(log_bytes, quiet));
        assert_eq!(due, [false, false, true, false, true]);
        assert_eq!([199, 200].map(|log_bytes| policy.must_wait(log_bytes)), [false, true]);
    }
}
