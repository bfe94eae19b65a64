//! What goes into an operation and what comes out of it: plain data, the edge's side of the state machine.

use super::router::Slot;
use crate::error::Code;
use crate::ids::{OpId, Partition};

/// What an operation does to its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Changes nothing: may be asked anywhere, any number of times. (`Outcome`, too: asking it twice is harmless.)
    Read,
    /// Changes something, under an op id that every attempt carries.
    Mutation,
}

/// One operation, before it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What it does.
    pub kind: Kind,
    /// The key's; `None` when any node is as good as any other (a listing).
    pub partition: Option<Partition>,
    /// Bytes that each attempt uploads: a large body may take longer before a hedge.
    pub body_bytes: u64,
    /// When it must have ended.
    pub deadline_ms: u64,
    /// An earlier message may have carried this op id already and may have taken effect (a batch without an answer).
    pub doubtful: bool,
    /// The caller chose the op id and may ask for its outcome by it: never replaced by a fresh one. An op id that is
    /// too old, or fenced, is then the result.
    pub pinned: bool,
}

/// What the edge must do. In order; [`Effect::Done`] is the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send it, and report its end once with [`super::Operation::on_answer`].
    Send {
        /// Counts from 0.
        attempt: u32,
        /// To whom.
        slot: Slot,
        /// An earlier attempt under this op id may still take effect: the request must say so (`retry`), so that a
        /// node that refuses this one fences them all.
        retry: bool,
        /// What is left until the deadline: for the request's own timeout.
        timeout_ms: u64,
    },
    /// Abort this attempt: it was given up. No answer of it is expected.
    Cancel {
        /// Which.
        attempt: u32,
    },
    /// Call [`super::Operation::on_time`] at this time, unless a newer `WakeAt` or `Done` came.
    WakeAt(u64),
    /// From now on use a fresh op id. What was sent under the old one did nothing and never will.
    FreshOpId {
        /// It must be larger than this: the key's history has forgotten what was up to here.
        floor: OpId,
    },
    /// The end.
    Done(Ending),
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// This attempt's answer, good or refusal, is the operation's result.
    Answer {
        /// Which.
        attempt: u32,
    },
    /// No answer is the result.
    Failed(Failure),
}

/// Results that no node gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No node could be reached. It did not happen.
    Unavailable,
    /// A read's deadline passed.
    Timeout,
    /// A mutation may or may not have happened.
    OutcomeUnknown,
    /// What came did not have its hash, from any node.
    Integrity,
}

impl Failure {
    /// The code that callers see.
    pub fn code(self) -> Code {
        match self {
            Self::Unavailable => Code::Unavailable,
            Self::Timeout => Code::Timeout,
            Self::OutcomeUnknown => Code::OutcomeUnknown,
            Self::Integrity => Code::Integrity,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The operation's answer came. A mutation took effect.
    Ok,
    /// A mutation's answer came, and it changed nothing: a delete of what is not there.
    Unchanged,
    /// The node answered with an error.
    Refused(Code),
    /// The answer's body does not have the hash that came with it.
    Damaged,
    /// It certainly did not arrive: no connection could be made.
    NotSent,
    /// It was sent, or may have been, and no answer came: the connection broke, or what came was no answer.
    Lost,
}
