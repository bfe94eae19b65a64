//! One group commit: operations judged in their order against what is durable and what they themselves change.
//!
//! Nothing here touches the disk except to read. Answers are held back until the frame is durable: also refusals, since
//! they may rest on a promise of the same frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::ids::Partition;
use holdfast_core::register::Digest;
use holdfast_core::register::replica::{self, AcceptRule};
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};

use super::error::StoreError;
use super::fact::{self, Placed};
use super::format::{self, Encoded};
use super::frame::{self, FRAME_HEADER_BYTES};
use super::memtable::Entry;
use super::operation::{ReplicaAnswer, Task};
use super::shared::Shared;
use super::witnessed::{self, Judged};

/// What becomes of an operation once the frame is durable.
enum Outcome {
    Ready(Result<ReplicaAnswer, StoreError>),
    /// A learn's answer, durable before.
    Holds {
        key: Vec<u8>,
        entry: Entry,
        with_body: bool,
    },
    /// A learn's answer, from this very frame.
    HoldsNew {
        key: Vec<u8>,
        placed: Placed,
        with_body: bool,
    },
}

/// Operations on their way into one frame.
pub(super) struct Batch<'a> {
    shared: &'a Shared,
    frame: Vec<u8>,
    promises: BTreeMap<Partition, Term>,
    digests: BTreeMap<Partition, Digest>,
    records: BTreeMap<Vec<u8>, Placed>,
    outcomes: Vec<Outcome>,
    /// In order: where somebody watches.
    judged: Vec<Judged>,
}

impl<'a> Batch<'a> {
    /// `log_bytes`: the most that its operations can take.
    pub(super) fn new(shared: &'a Shared, log_bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(frame::frame_bytes(log_bytes));
        frame.resize(FRAME_HEADER_BYTES, 0);
        Self {
            shared,
            frame,
            promises: BTreeMap::new(),
            digests: BTreeMap::new(),
            records: BTreeMap::new(),
            outcomes: Vec::new(),
            judged: Vec::new(),
        }
    }

    /// Judges one operation.
    pub(super) fn on_task(&mut self, task: &Task) {
        let outcome = match task {
            Task::Prepare { partition, term } => {
                let promised = replica::on_prepare(self.promised(*partition), *term);
                self.promise(*partition, promised);
                let holds = self.digest(*partition);
                Ok(Outcome::Ready(Ok(ReplicaAnswer::Promised { term: promised, holds })))
            }
            Task::Learn { key, partition, term, with_body } => {
                self.on_learn(key, *partition, *term, *with_body)
            }
            Task::Accept { key, partition, ballot, value } => self.on_accept(key, *partition, *ballot, value),
            Task::Install { key, partition, ballot, value } => {
                self.on_install(key, *partition, *ballot, value)
            }
            Task::Refuse(error) => Err(error.clone()),
        };
        self.outcomes.push(outcome.unwrap_or_else(|error| Outcome::Ready(Err(error))));
    }

    fn on_learn(
        &mut self,
        key: &[u8],
        partition: Partition,
        term: Term,
        with_body: bool,
    ) -> Result<Outcome, StoreError> {
        let promise = match replica::on_learn(self.promised(partition), term) {
            Err(promised) => return Ok(Outcome::Ready(Ok(ReplicaAnswer::Refused(promised)))),
            Ok(promise) => promise,
        };
        // First the look: when it fails, nothing is promised for it.
        let outcome = if let Some(placed) = self.records.get(key) {
            Outcome::HoldsNew { key: key.to_vec(), placed: placed.clone(), with_body }
        } else {
            match self.shared.find(key, with_body)? {
                None => Outcome::Ready(Ok(ReplicaAnswer::Learned(None))),
                Some(entry) => Outcome::Holds { key: key.to_vec(), entry, with_body },
            }
        };
        self.promise(partition, promise);
        self.tell(|| Judged::Learned { key: key.to_vec(), term });
        Ok(outcome)
    }

    fn on_accept(
        &mut self,
        key: &[u8],
        partition: Partition,
        ballot: Ballot,
        value: &Encoded,
    ) -> Result<Outcome, StoreError> {
        let accepted = self.accepted(key)?;
        let answer = match replica::on_accept(self.promised(partition), accepted, ballot) {
            AcceptRule::Refused(promised) => ReplicaAnswer::Refused(promised),
            AcceptRule::Superseded(held) => ReplicaAnswer::Superseded(held),
            AcceptRule::Held => ReplicaAnswer::Stored,
            AcceptRule::Store => {
                self.promise(partition, ballot.term);
                self.store(key, partition, accepted, ballot, value, false);
                ReplicaAnswer::Stored
            }
        };
        Ok(Outcome::Ready(Ok(answer)))
    }

    fn on_install(
        &mut self,
        key: &[u8],
        partition: Partition,
        ballot: Ballot,
        value: &Encoded,
    ) -> Result<Outcome, StoreError> {
        let accepted = self.accepted(key)?;
        if replica::on_install(accepted, ballot) {
            self.store(key, partition, accepted, ballot, value, true);
        }
        Ok(Outcome::Ready(Ok(ReplicaAnswer::Stored)))
    }

    fn accepted(&self, key: &[u8]) -> Result<Option<Ballot>, StoreError> {
        if let Some(placed) = self.records.get(key) {
            sometimes!("two proposals for one key share a sync of the log");
            return Ok(Some(placed.ballot));
        }
        Ok(self.shared.find(key, false)?.map(|entry| entry.ballot))
    }

    fn promised(&self, partition: Partition) -> Term {
        sometimes!(
            self.promises.contains_key(&partition),
            "a promise counts within the commit that it is part of"
        );
        self.promises.get(&partition).copied().unwrap_or_else(|| self.shared.promised(partition))
    }

    fn promise(&mut self, partition: Partition, term: Term) {
        if term > self.promised(partition) {
            self.promises.insert(partition, term);
            fact::push_promise(&mut self.frame, partition, term);
            self.tell(|| Judged::Promised { partition, term });
        }
    }

    fn tell(&mut self, judged: impl FnOnce() -> Judged) {
        if self.shared.witness.is_watching() {
            self.judged.push(judged());
        }
    }

    fn digest(&self, partition: Partition) -> Digest {
        self.digests.get(&partition).copied().unwrap_or_else(|| self.shared.digest(partition))
    }

    fn store(
        &mut self,
        key: &[u8],
        partition: Partition,
        accepted: Option<Ballot>,
        ballot: Ballot,
        value: &Encoded,
        installed: bool,
    ) {
        let mut digest = self.digest(partition);
        digest.replace(key, accepted, ballot);
        self.digests.insert(partition, digest);
        let placed = fact::push_record(&mut self.frame, key, ballot, value);
        self.tell(|| Judged::Stored { key: key.to_vec(), placed: placed.clone(), installed });
        self.records.insert(key.to_vec(), placed);
    }

    /// Whether there is anything to be made durable.
    pub(super) fn has_facts(&self) -> bool {
        self.frame.len() > FRAME_HEADER_BYTES
    }

    /// The frame, with room for its header.
    pub(super) fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// The frame is durable (or there was none to write): publishes it and answers, in the order of the operations.
    pub(super) fn publish(self) -> Vec<Result<ReplicaAnswer, StoreError>> {
        let Self { shared, mut frame, promises, digests, records, outcomes, judged } = self;
        if frame.capacity() / 2 > frame.len() {
            frame.shrink_to_fit();
        }
        let frame = Bytes::from(frame);
        witnessed::committed(shared, &frame, &judged);
        if frame.len() > FRAME_HEADER_BYTES {
            let mut published = shared.published.write();
            let published = &mut *published;
            for (partition, term) in promises {
                published.promised[partition.index()] = term;
                published.memtable.active.promise(partition, term);
            }
            for (partition, digest) in digests {
                published.digests[partition.index()] = digest;
            }
            for placed in records.values() {
                let (key, entry) = placed.entry(&frame);
                published.memtable.active.store(key, entry);
            }
            published.memtable.active.log_bytes += frame.len() as u64;
        }
        outcomes.into_iter().map(|outcome| answer(shared, &frame, outcome)).collect()
    }
}

fn answer(shared: &Shared, frame: &Bytes, outcome: Outcome) -> Result<ReplicaAnswer, StoreError> {
    let (key, entry, with_body) = match outcome {
        Outcome::Ready(answer) => return answer,
        Outcome::Holds { key, entry, with_body } => (key, entry, with_body),
        Outcome::HoldsNew { key, placed, with_body } => (key, placed.entry(frame).1, with_body),
    };
    let record = shared.counted(format::decode_entry(&key, &entry, with_body))?;
    Ok(ReplicaAnswer::Learned(Some((entry.ballot, Arc::new(record)))))
}
