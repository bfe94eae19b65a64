//! What a request does to a key's current record: a pure function, the heart of every verb.

use alloc::sync::Arc;

use crate::condition::Condition;
use crate::error::Code;
use crate::history::{Effect as OpEffect, History, Seen};
use crate::ids::OpId;
use crate::record::{Object, Record, State};
use crate::term::{Ballot, Term, Version};

/// What is asked of a key's leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Write an object (whole, with its body).
    Put {
        /// The operation.
        op: OpId,
        /// What must hold.
        condition: Condition,
        /// An earlier try may still be on its way: a refusal must fence the operation, or that try could take effect
        /// after "it did not happen" was answered.
        retry: bool,
        /// What to write.
        object: Arc<Object>,
    },
    /// Delete the object.
    Delete {
        /// The operation.
        op: OpId,
        /// What must hold.
        condition: Condition,
        /// As for a put.
        retry: bool,
        /// The leader's wall clock, for people only.
        unix_ms: u64,
    },
    /// Settle what became of an operation; fence it if it has not taken effect.
    Outcome {
        /// The operation that is asked about.
        op: OpId,
        /// The leader's wall clock, for people only.
        unix_ms: u64,
    },
    /// A linearizable look at the key, completing what is half written.
    Resolve,
}

/// What a request ends with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The put took effect (now, or at an earlier try) and wrote this version.
    Put {
        /// What it wrote.
        version: Version,
        /// When it was decided; `None` when the record was replaced since.
        modified_unix_ms: Option<u64>,
    },
    /// The delete took effect; `false`: there was nothing to delete.
    Deleted(bool),
    /// The operation committed and wrote this version.
    Committed(Version),
    /// The operation never took effect and never will.
    Fenced,
    /// The key's history has forgotten operations that old.
    Forgotten,
    /// What is chosen now: the ballot and the head (`None`: never written).
    Chosen(Option<(Ballot, Arc<Record>)>),
    /// Refused: [`Code::ConditionFailed`], [`Code::StaleOpId`], [`Code::Fenced`] or [`Code::Overloaded`]. Nothing was changed.
    Refused(Code),
    /// Another term outranks ours: ask its node, or take over again. Our proposal may yet be completed by it, which
    /// its history will show: passing on the same op id is safe.
    NotLeader(Term),
    /// Too few replicas answered in time, and nothing was proposed: it did not happen.
    Unavailable,
    /// It was proposed and too few replicas acknowledged in time: it may have happened.
    OutcomeUnknown,
}

/// What to do about a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Propose this record; when it is chosen, answer.
    Apply(Arc<Record>, Answer),
    /// Answer so, but only once the current record is known to be chosen.
    WhenChosen(Answer),
    /// Answer so at once: it is true whatever becomes of the current record.
    Now(Answer),
}

/// Decides `request` on the `current` record (`None`: never written). `ballot` is what a new record would get.
pub fn decide(current: Option<&Record>, request: &Request, ballot: Ballot) -> Decision {
    match request {
        Request::Put { op, condition, retry, object } => {
            match decided_before(current, *op, *condition) {
                Some(Decision::WhenChosen(refusal @ Answer::Refused(Code::ConditionFailed(_)))) if *retry => {
                    return fence(current, *op, object.modified_unix_ms, ballot, refusal);
                }
                Some(decision) => return decision,
                None => {}
            }
            let version = Version(ballot);
            let record = Record {
                version,
                state: State::Object(Object::clone(object)),
                history: remember(current, *op, OpEffect::Put(version)),
            };
            let modified_unix_ms = Some(object.modified_unix_ms);
            Decision::Apply(Arc::new(record), Answer::Put { version, modified_unix_ms })
        }
        Request::Delete { op, condition, retry, unix_ms } => {
            let nothing = current.is_none_or(|record| record.object().is_none());
            let before = decided_before(current, *op, *condition)
                .or(nothing.then_some(Decision::WhenChosen(Answer::Deleted(false))));
            match before {
                Some(Decision::WhenChosen(
                    refusal @ (Answer::Refused(Code::ConditionFailed(_)) | Answer::Deleted(false)),
                )) if *retry => return fence(current, *op, *unix_ms, ballot, refusal),
                Some(decision) => return decision,
                None => {}
            }
            let version = Version(ballot);
            let record = Record {
                version,
                state: State::Tombstone { deleted_unix_ms: *unix_ms },
                history: remember(current, *op, OpEffect::Deleted(version)),
            };
            Decision::Apply(Arc::new(record), Answer::Deleted(true))
        }
        Request::Outcome { op, unix_ms } => decide_outcome(current, *op, *unix_ms, ballot),
        Request::Resolve => Decision::WhenChosen(Answer::Chosen(None)),
    }
}

/// The answer to a mutation that needs no new record: it took effect before, is too old to tell, or may not.
fn decided_before(current: Option<&Record>, op: OpId, condition: Condition) -> Option<Decision> {
    let object_version = current.and_then(Record::object_version);
    let seen = current.map_or(Seen::Never, |record| record.history.seen(op));
    match seen {
        Seen::Known(OpEffect::Put(version)) => {
            let object = current.and_then(Record::object).filter(|_| object_version == Some(version));
            let modified_unix_ms = object.map(|object| object.modified_unix_ms);
            Some(Decision::WhenChosen(Answer::Put { version, modified_unix_ms }))
        }
        Seen::Known(OpEffect::Deleted(_)) => Some(Decision::WhenChosen(Answer::Deleted(true))),
        Seen::Known(OpEffect::Fenced) => Some(Decision::WhenChosen(Answer::Refused(Code::Fenced))),
        Seen::Forgotten(floor) => Some(Decision::Now(Answer::Refused(Code::StaleOpId(floor)))),
        Seen::Never if !condition.holds(object_version) => {
            Some(Decision::WhenChosen(Answer::Refused(Code::ConditionFailed(object_version))))
        }
        Seen::Never => None,
    }
}

fn decide_outcome(current: Option<&Record>, op: OpId, unix_ms: u64, ballot: Ballot) -> Decision {
    let seen = current.map_or(Seen::Never, |record| record.history.seen(op));
    match seen {
        Seen::Known(OpEffect::Put(version) | OpEffect::Deleted(version)) => {
            Decision::WhenChosen(Answer::Committed(version))
        }
        Seen::Known(OpEffect::Fenced) => Decision::WhenChosen(Answer::Fenced),
        Seen::Forgotten(_) => Decision::Now(Answer::Forgotten),
        Seen::Never => fence(current, op, unix_ms, ballot, Answer::Fenced),
    }
}

/// Writes down that `op` never took effect, then answers. An object stays what it was, and so does its version.
fn fence(current: Option<&Record>, op: OpId, unix_ms: u64, ballot: Ballot, answer: Answer) -> Decision {
    let history = remember(current, op, OpEffect::Fenced);
    let record = match current {
        Some(record) => Record { history, ..record.clone() },
        None => {
            Record { version: Version(ballot), state: State::Tombstone { deleted_unix_ms: unix_ms }, history }
        }
    };
    Decision::Apply(Arc::new(record), answer)
}

fn remember(current: Option<&Record>, op: OpId, effect: OpEffect) -> History {
    let mut history = current.map(|record| record.history.clone()).unwrap_or_default();
    history.push(op, effect);
    history
}
