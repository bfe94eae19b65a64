//! What a replica is asked to do through the store's writer, and what it answers.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::ids::{ObjectName, Partition};
use holdfast_core::record::{BODY_BYTES_MAX, Record};
use holdfast_core::register::Digest;
use holdfast_core::term::{Ballot, Term};

use super::error::StoreError;
use super::format::{self, Encoded};

/// One operation for the writer. Those of one asker are carried out in the order in which they were submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaOp {
    /// Promise to follow no lower term in a partition.
    Prepare {
        /// The partition.
        partition: Partition,
        /// The term to promise.
        term: Term,
    },
    /// A leader's look at a key: promises its term first.
    Learn {
        /// The key.
        name: ObjectName,
        /// The term to promise before looking.
        term: Term,
        /// Whether the answer carries the body.
        with_body: bool,
    },
    /// Accept a proposal.
    Accept {
        /// The key.
        name: ObjectName,
        /// The proposal.
        ballot: Ballot,
        /// The whole record.
        record: Arc<Record>,
    },
    /// Store a record that is known to be chosen.
    Install {
        /// The key.
        name: ObjectName,
        /// The ballot at which it was chosen.
        ballot: Ballot,
        /// The whole record.
        record: Arc<Record>,
    },
}

/// What a replica answers. Everything that it says is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaAnswer {
    /// To a prepare.
    Promised {
        /// The highest promised term now; equal to the asked one when that was promised.
        term: Term,
        /// What the replica holds of the partition at this moment.
        holds: Digest,
    },
    /// To a learn: what is accepted; `None`: nothing yet.
    Learned(Option<(Ballot, Arc<Record>)>),
    /// To an accept or install: it is on disk (or was already; for an install: or something newer is).
    Stored,
    /// To a learn or accept: this higher term was promised. Nothing changed.
    Refused(Term),
    /// To an accept: this higher ballot of the key was accepted before. Nothing changed.
    Superseded(Ballot),
}

/// Takes the answers of one submission, in the order of its operations. Called on the writer: it must not block.
pub(super) type OnDone = Box<dyn FnOnce(Vec<Result<ReplicaAnswer, StoreError>>) + Send>;

/// Calls back exactly once: with errors when the writer ends before it comes to the submission.
pub(super) struct Done {
    operations: usize,
    on_done: Option<OnDone>,
}

impl Done {
    pub(super) fn new(operations: usize, on_done: OnDone) -> Self {
        Self { operations, on_done: Some(on_done) }
    }

    pub(super) fn answer(mut self, answers: Vec<Result<ReplicaAnswer, StoreError>>) {
        if let Some(on_done) = self.on_done.take() {
            on_done(answers);
        }
    }

    pub(super) fn refuse(self, error: &StoreError) {
        let answers = vec![Err(error.clone()); self.operations];
        self.answer(answers);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(on_done) = self.on_done.take() {
            on_done(vec![Err(StoreError::Closed); self.operations]);
        }
    }
}

/// An operation made ready for the writer by whoever submits it: checked, encoded and summed.
#[derive(Debug)]
pub(super) enum Task {
    Prepare {
        partition: Partition,
        term: Term,
    },
    Learn {
        key: Vec<u8>,
        partition: Partition,
        term: Term,
        with_body: bool,
    },
    Accept {
        key: Vec<u8>,
        partition: Partition,
        ballot: Ballot,
        value: Encoded,
    },
    Install {
        key: Vec<u8>,
        partition: Partition,
        ballot: Ballot,
        value: Encoded,
    },
    /// Cannot be carried out.
    Refuse(StoreError),
}

impl Task {
    pub(super) fn new(operation: ReplicaOp) -> Self {
        match operation {
            ReplicaOp::Prepare { partition, term } => Self::Prepare { partition, term },
            ReplicaOp::Learn { name, term, with_body } => {
                Self::Learn { key: format::storage_key(&name), partition: name.partition(), term, with_body }
            }
            ReplicaOp::Accept { name, ballot, record } => match check_whole(&record) {
                Err(what) => Self::Refuse(StoreError::NotWhole(what)),
                Ok(()) => {
                    let key = format::storage_key(&name);
                    let value = format::encode(&key, ballot, &record);
                    Self::Accept { key, partition: name.partition(), ballot, value }
                }
            },
            ReplicaOp::Install { name, ballot, record } => match check_whole(&record) {
                Err(what) => Self::Refuse(StoreError::NotWhole(what)),
                Ok(()) => {
                    let key = format::storage_key(&name);
                    let value = format::encode(&key, ballot, &record);
                    Self::Install { key, partition: name.partition(), ballot, value }
                }
            },
        }
    }

    /// The most that it takes in a log frame.
    pub(super) fn log_bytes(&self) -> usize {
        const FIXED: usize = 64;
        match self {
            Self::Accept { key, value, .. } | Self::Install { key, value, .. } => {
                FIXED + key.len() + value.head.len() + value.body.as_ref().map_or(0, Bytes::len)
            }
            _ => FIXED,
        }
    }
}

/// A replica acknowledges a record only if it holds every byte that the record names.
fn check_whole(record: &Record) -> Result<(), &'static str> {
    let Some(object) = record.object() else { return Ok(()) };
    match &object.body {
        None => Err("its body is missing"),
        Some(body) if body.len() as u64 != object.size => Err("its body has another length than it says"),
        Some(body) if body.len() > BODY_BYTES_MAX => Err("its body is over 1 MiB"),
        Some(_) => Ok(()),
    }
}
