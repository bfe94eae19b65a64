//! What a request does to a key's current record: a pure function, the heart of every verb.

use alloc::sync::Arc;

use crate::condition::Condition;
use crate::error::Code;
use crate::history::{Effect as OpEffect, History, Seen};
use crate::ids::OpId;
use crate::record::{Object, Record, State};
use crate::sometimes;
use crate::term::{Ballot, Term, Version};

/// Whether other attempts of the same operation may be about: one that is half written at a minority can be completed
/// by any later leader, one that is still on its way can arrive at any time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Attempt {
    /// No other attempt was ever sent, or could take effect after this one was refused: a refusal leaves no trace.
    Only,
    /// There was, or may have been, another one: sent by the client again, or passed on by a node that had proposed it
    /// (or cannot tell). A refusal fences the operation, or it could take effect after it was refused. The safe choice.
    Again,
}

/// What is asked of a key's leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Write an object (whole, with its body).
    Put {
        /// The operation.
        op: OpId,
        /// Whether it is the only one of the operation.
        attempt: Attempt,
        /// What must hold.
        condition: Condition,
        /// What to write.
        object: Arc<Object>,
    },
    /// Delete the object.
    Delete {
        /// The operation.
        op: OpId,
        /// Whether it is the only one of the operation.
        attempt: Attempt,
        /// What must hold.
        condition: Condition,
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
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// The put took effect (now, or at an earlier try) and wrote this version.
    Put {
        /// What it wrote.
        version: Version,
        /// When it was decided; `None` when the record was replaced since.
        modified_unix_ms: Option<u64>,
    },
    /// The delete took effect, or there was nothing to delete.
    Deleted {
        /// Whether there was something.
        found: bool,
        /// The tombstone: the one that it wrote, or the one that was there (`None`: nothing was ever written).
        version: Option<Version>,
    },
    /// The operation committed and wrote this version.
    Committed(Version),
    /// The operation never took effect and never will.
    Fenced,
    /// The key's history has forgotten operations that old.
    Forgotten,
    /// What is chosen now: the ballot and the head (`None`: never written).
    Chosen(Option<(Ballot, Arc<Record>)>),
    /// The condition does not hold. This attempt changed nothing; of an [`Attempt::Again`] it also says that no other
    /// attempt did or will.
    ConditionFailed {
        /// The object's version; `None`: there is no object.
        object: Option<Version>,
        /// The version of the tombstone that is there instead; `None`: there is an object, or nothing was ever written.
        tombstone: Option<Version>,
    },
    /// Refused: [`Code::StaleOpId`], [`Code::Fenced`] or [`Code::Overloaded`]. This attempt changed nothing.
    Refused(Code),
    /// This leadership is over, or this node may not lead, and this attempt proposed nothing: ask the node of the given
    /// term, or take over again when it is this one or does not answer.
    NotLeader(Term),
    /// Too few replicas answered in time, and this attempt proposed nothing: it did not happen.
    Unavailable,
    /// It was proposed, and too few replicas acknowledged it in time or before the leadership was over: it may have
    /// happened, or happen yet. Passing on the same op id as [`Attempt::Again`] is safe.
    OutcomeUnknown,
}

/// What to do about a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
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
        Request::Put { op, attempt, condition, object } => {
            if let Some(decision) = decided_before(current, *op) {
                return decision;
            }
            if let Some(refusal) = refusal(current, *condition) {
                return refuse(current, *op, *attempt, refusal, object.modified_unix_ms, ballot);
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
        Request::Delete { op, attempt, condition, unix_ms } => {
            if let Some(decision) = decided_before(current, *op) {
                return decision;
            }
            if let Some(refusal) = refusal(current, *condition).or_else(|| nothing_to_delete(current)) {
                return refuse(current, *op, *attempt, refusal, *unix_ms, ballot);
            }
            let version = Version(ballot);
            let record = Record {
                version,
                state: State::Tombstone { deleted_unix_ms: *unix_ms },
                history: remember(current, *op, OpEffect::Deleted(version)),
            };
            Decision::Apply(Arc::new(record), Answer::Deleted { found: true, version: Some(version) })
        }
        Request::Outcome { op, unix_ms } => decide_outcome(current, *op, *unix_ms, ballot),
        Request::Resolve => Decision::WhenChosen(Answer::Chosen(None)),
    }
}

/// The answer to a mutation that was decided before, or is too old to tell.
fn decided_before(current: Option<&Record>, op: OpId) -> Option<Decision> {
    let object_version = current.and_then(Record::object_version);
    let seen = current.map_or(Seen::Never, |record| record.history.seen(op));
    match seen {
        Seen::Known(OpEffect::Put(version)) => {
            let object = current.and_then(Record::object).filter(|_| object_version == Some(version));
            let modified_unix_ms = object.map(|object| object.modified_unix_ms);
            sometimes!(object.is_some(), "a put comes again and is answered with its first result");
            sometimes!(object.is_none(), "a put comes again after its object was replaced");
            Some(Decision::WhenChosen(Answer::Put { version, modified_unix_ms }))
        }
        Seen::Known(OpEffect::Deleted(version)) => {
            sometimes!("a delete comes again and is answered with its first result");
            Some(Decision::WhenChosen(Answer::Deleted { found: true, version: Some(version) }))
        }
        Seen::Known(OpEffect::Fenced) => {
            sometimes!("an operation comes after it was fenced");
            Some(Decision::WhenChosen(Answer::Refused(Code::Fenced)))
        }
        Seen::Forgotten(floor) => {
            sometimes!("an operation is older than what its key remembers");
            Some(Decision::Now(Answer::Refused(Code::StaleOpId(floor))))
        }
        Seen::Never => None,
    }
}

fn refusal(current: Option<&Record>, condition: Condition) -> Option<Answer> {
    let object = current.and_then(Record::object_version);
    let tombstone = current.and_then(Record::tombstone_version);
    (!condition.holds(object)).then_some(Answer::ConditionFailed { object, tombstone })
}

fn nothing_to_delete(current: Option<&Record>) -> Option<Answer> {
    let version = current.and_then(Record::tombstone_version);
    let nothing = current.is_none_or(|record| record.object().is_none());
    nothing.then_some(Answer::Deleted { found: false, version })
}

/// A refusal must stay true. The only attempt ends with its answer; of others nobody knows, so the operation is fenced.
fn refuse(
    current: Option<&Record>,
    op: OpId,
    attempt: Attempt,
    answer: Answer,
    unix_ms: u64,
    ballot: Ballot,
) -> Decision {
    match attempt {
        Attempt::Only => Decision::WhenChosen(answer),
        Attempt::Again => {
            sometimes!("a refusal fences other attempts of the same operation");
            Decision::Apply(fence(current, op, unix_ms, ballot), answer)
        }
    }
}

fn decide_outcome(current: Option<&Record>, op: OpId, unix_ms: u64, ballot: Ballot) -> Decision {
    let seen = current.map_or(Seen::Never, |record| record.history.seen(op));
    match seen {
        Seen::Known(OpEffect::Put(version) | OpEffect::Deleted(version)) => {
            sometimes!("the outcome of an operation is asked, and it took effect");
            Decision::WhenChosen(Answer::Committed(version))
        }
        Seen::Known(OpEffect::Fenced) => {
            sometimes!("the outcome of an operation is asked, and it was fenced before");
            Decision::WhenChosen(Answer::Fenced)
        }
        Seen::Forgotten(_) => {
            sometimes!("the outcome of an operation is asked, and its key has forgotten it");
            Decision::Now(Answer::Forgotten)
        }
        Seen::Never => {
            sometimes!("the outcome of an operation is asked, and it is fenced so that it never happens");
            Decision::Apply(fence(current, op, unix_ms, ballot), Answer::Fenced)
        }
    }
}

/// The current record, with the mark that `op` will never take effect.
fn fence(current: Option<&Record>, op: OpId, unix_ms: u64, ballot: Ballot) -> Arc<Record> {
    let history = remember(current, op, OpEffect::Fenced);
    sometimes!(current.is_none(), "an operation is fenced on a key that was never written");
    Arc::new(match current {
        // The object stays what it was, and so does its version.
        Some(record) => Record { history, ..record.clone() },
        None => {
            Record { version: Version(ballot), state: State::Tombstone { deleted_unix_ms: unix_ms }, history }
        }
    })
}

fn remember(current: Option<&Record>, op: OpId, effect: OpEffect) -> History {
    let mut history = current.map(|record| record.history.clone()).unwrap_or_default();
    history.push(op, effect);
    history
}
