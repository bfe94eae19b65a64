//! The one writer: drains what is queued, judges it in order, makes it durable with one sync, publishes, answers.
//!
//! It never waits to fill a batch: while one is being synced, the next one gathers by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::sometimes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::env::{Blocking, Env, real, settle, tasks};

use super::batch::Batch;
use super::checkpoint::{CheckpointPolicy, Checkpoints, Job};
use super::error::StoreError;
use super::operation::{Done, ReplicaAnswer, Task};
use super::shared::{CheckpointPhase, Shared, count};
use super::wal::{Wal, WalError};

/// A batch takes no more submissions from this many bytes on: one write of a few milliseconds at most.
const BATCH_BYTES: usize = 4 << 20;
/// Or from this many submissions on.
const BATCH_SUBMISSIONS: usize = 1024;

/// What the writer is told.
pub(super) enum Command {
    Work(Submission),
    /// Some time has passed.
    Tick(Instant),
    /// Checkpoint and end.
    Close(oneshot::Sender<()>),
}

/// Some operations of one asker.
pub(super) struct Submission {
    pub(super) tasks: Vec<Task>,
    pub(super) log_bytes: usize,
    pub(super) done: Done,
    /// Its share of the queue's bytes, given back once it was answered.
    pub(super) room: OwnedSemaphorePermit,
}

/// The writer's own state.
pub(super) struct Writer {
    env: Env,
    shared: Arc<Shared>,
    wal: Wal,
    checkpoints: Checkpoints,
    policy: CheckpointPolicy,
    /// The log's bytes, and since when they have not changed, at the last tick.
    quiet: Option<(u64, Instant)>,
    /// There was no room for a new log segment: tried again at the next tick.
    no_room_to_rotate: bool,
}

impl Writer {
    pub(super) fn new(
        env: Env,
        shared: Arc<Shared>,
        wal: Wal,
        checkpoints: Checkpoints,
        policy: CheckpointPolicy,
    ) -> Self {
        Self { env, shared, wal, checkpoints, policy, quiet: None, no_room_to_rotate: false }
    }

    /// Starts it: on a thread of its own, or on a task. Within a tokio runtime.
    pub(super) fn start(self, commands: mpsc::Receiver<Command>) -> std::io::Result<()> {
        match self.env.blocking {
            Blocking::InPlace => {
                tasks::spawn(self.run(commands));
            }
            Blocking::Threads => {
                let shared = Arc::clone(&self.shared);
                let runtime = Handle::current();
                real::spawn_thread("store", move || {
                    let work = || runtime.block_on(self.run(commands));
                    if catch_unwind(AssertUnwindSafe(work)).is_err() {
                        shared.fail("the store's writer panicked");
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Runs until it is closed or nobody can ask any more.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.recv().await {
            if let Some(closed) = self.on_commands(first, &mut commands).await {
                return self.end(closed, commands).await;
            }
        }
    }

    /// Carries out `first` and what else is queued, as one batch. Some: the store was closed.
    async fn on_commands(
        &mut self,
        first: Command,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Option<oneshot::Sender<()>> {
        let (mut batch, mut log_bytes) = (Vec::new(), 0);
        let mut next = Some(first);
        let mut closed = None;
        while let Some(command) = next.take() {
            match command {
                Command::Work(submission) => {
                    log_bytes += submission.log_bytes;
                    batch.push(submission);
                }
                Command::Tick(now) => self.on_tick(now).await,
                Command::Close(sender) => {
                    closed = Some(sender);
                    break;
                }
            }
            if log_bytes < BATCH_BYTES && batch.len() < BATCH_SUBMISSIONS {
                next = commands.try_recv().ok();
            }
        }
        if !batch.is_empty() {
            self.on_batch(batch, log_bytes).await;
            self.checkpoint_if_due(Duration::ZERO).await;
        }
        closed
    }

    async fn on_batch(&mut self, batch: Vec<Submission>, log_bytes: usize) {
        sometimes!(batch.len() > 1, "several askers share one sync of the log");
        let room = self.wait_for_room().await;
        if let Err(error) = self.shared.check() {
            return batch.into_iter().for_each(|submission| submission.done.refuse(&error));
        }
        let shared = Arc::clone(&self.shared);
        let judged = judge(&shared, batch.iter().flat_map(|submission| &submission.tasks), log_bytes);
        match self.commit(judged, room).await {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for Submission { tasks, done, room, .. } in batch {
                    drop(room);
                    done.answer(answers.by_ref().take(tasks.len()).collect());
                }
            }
            // What needs no room, or less, still goes: each for itself.
            Err(StoreError::DiskFull) => {
                sometimes!("a commit finds no room, so each of its operations is tried for itself");
                for Submission { tasks, done, .. } in batch {
                    let mut each = Vec::with_capacity(tasks.len());
                    for task in &tasks {
                        let judged = judge(&shared, [task], task.log_bytes());
                        let answers = self.commit(judged, room).await;
                        each.push(answers.and_then(|answers| {
                            answers.into_iter().next().expect("one task has one answer")
                        }));
                    }
                    done.answer(each);
                }
            }
            Err(error) => batch.into_iter().for_each(|submission| submission.done.refuse(&error)),
        }
    }

    /// One group commit. Without `room` only what changes nothing is carried out.
    async fn commit(
        &mut self,
        mut batch: Batch<'_>,
        room: bool,
    ) -> Result<Vec<Result<ReplicaAnswer, StoreError>>, StoreError> {
        self.shared.check()?;
        let counters = &self.shared.counters;
        if batch.has_facts() {
            let appended = match room {
                true => self.wal.append(&*self.env.disk, batch.frame()).await,
                false => Err(WalError::Full),
            };
            match appended {
                Ok(()) => {}
                Err(WalError::Full) => {
                    count(&counters.disk_full, 1);
                    return Err(StoreError::DiskFull);
                }
                Err(WalError::Failed(why)) => {
                    self.shared.fail(&why);
                    return Err(StoreError::Failed(why));
                }
            }
            count(&counters.commits, 1);
            count(&counters.log_bytes, batch.frame().len() as u64);
        }
        let has_facts = batch.has_facts();
        let answers = batch.publish();
        if has_facts {
            self.shared.pending.start();
        }
        count(&self.shared.counters.operations, answers.len() as u64);
        Ok(answers)
    }

    /// Waits for the running checkpoint when the log is at its limit. `false`: that one found no room, so nothing more
    /// can be taken until it does.
    async fn wait_for_room(&self) -> bool {
        if !self.policy.must_wait(self.active_log_bytes()) {
            return true;
        }
        let phase = self.shared.wait_while(|phase| phase == CheckpointPhase::Running).await;
        phase != CheckpointPhase::Full
    }

    fn active_log_bytes(&self) -> u64 {
        self.shared.published.read().memtable.active.log_bytes
    }

    async fn on_tick(&mut self, now: Instant) {
        sometimes!(self.no_room_to_rotate, "a new log segment that found no room is tried again");
        self.no_room_to_rotate = false;
        if self.shared.phase() == CheckpointPhase::Full {
            self.retry_checkpoint();
        }
        let log_bytes = self.active_log_bytes();
        match self.quiet {
            Some((before, since)) if before == log_bytes => {
                sometimes!(
                    now.saturating_duration_since(since) >= self.policy.quiet,
                    "a store that is quiet is checkpointed"
                );
                self.checkpoint_if_due(now.saturating_duration_since(since)).await;
            }
            _ => self.quiet = Some((log_bytes, now)),
        }
    }

    async fn checkpoint_if_due(&mut self, quiet: Duration) {
        if self.policy.is_due(self.active_log_bytes(), quiet)
            && self.shared.phase() == CheckpointPhase::Idle
            && !self.no_room_to_rotate
        {
            self.begin_checkpoint().await;
        }
    }

    async fn begin_checkpoint(&mut self) {
        if self.shared.check().is_err() {
            return;
        }
        let rotated = self.wal.rotate(&self.env);
        settle(&*self.env.disk).await;
        match rotated {
            Ok(()) => {
                let frozen = self.shared.published.write().memtable.freeze();
                let job = Job { frozen, wal_first: self.wal.segment() };
                self.checkpoints.begin(&self.shared, job);
            }
            Err(WalError::Full) => {
                sometimes!("there is no room for a new log segment");
                count(&self.shared.counters.disk_full, 1);
                self.no_room_to_rotate = true;
            }
            Err(WalError::Failed(why)) => self.shared.fail(&why),
        }
    }

    /// The frozen generation once more. The segments after it are those of the active one.
    fn retry_checkpoint(&mut self) {
        let frozen = self.shared.published.read().memtable.frozen.clone();
        if let (Some(frozen), Ok(())) = (frozen, self.shared.check()) {
            sometimes!("a checkpoint that found no room is tried again");
            let job = Job { frozen, wal_first: self.wal.segment() };
            self.checkpoints.begin(&self.shared, job);
        }
    }

    /// The last checkpoint, so that the next start has nothing to replay. Without room the log keeps it.
    async fn end(mut self, closed: oneshot::Sender<()>, mut commands: mpsc::Receiver<Command>) {
        commands.close();
        while let Ok(command) = commands.try_recv() {
            if let Command::Work(submission) = command {
                submission.done.refuse(&StoreError::Closed);
            }
        }
        let running = |phase| phase == CheckpointPhase::Running;
        if self.shared.wait_while(running).await == CheckpointPhase::Idle
            && !self.shared.published.read().memtable.active.is_empty()
        {
            sometimes!("a store that is closed writes its last checkpoint");
            self.begin_checkpoint().await;
            self.shared.wait_while(running).await;
        }
        self.checkpoints.end(&self.shared).await;
        self.shared.close();
        // Whoever asked for it may have gone.
        let _ = closed.send(());
    }
}

/// Judges operations in their order.
fn judge<'s, 't>(
    shared: &'s Shared,
    tasks: impl IntoIterator<Item = &'t Task>,
    log_bytes: usize,
) -> Batch<'s> {
    let mut batch = Batch::new(shared, log_bytes);
    for task in tasks {
        batch.on_task(task);
    }
    batch
}
