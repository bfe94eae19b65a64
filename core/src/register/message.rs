//! What a leader wants done, and what comes back: the messages of the register protocol, without their wire form.

use alloc::sync::Arc;

use crate::ids::{NodeId, ObjectName};
use crate::record::Record;
use crate::register::decide::Answer;
use crate::term::{Ballot, Term};

/// Names a request towards whoever asked; unique per leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// What the leader wants done. `to` may be its own node: that goes to its own store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Ask for a promise; the reply goes to [`super::Leader::on_promised`].
    Prepare {
        /// A voter.
        to: NodeId,
        /// The term to be promised.
        term: Term,
    },
    /// Ask what is accepted; the reply goes to [`super::Leader::on_learned`] with the same question.
    Learn {
        /// A voter.
        to: NodeId,
        /// The key.
        name: ObjectName,
        /// The leader's term, promised by the replica if it has not yet.
        term: Term,
        /// Tells this question from earlier ones about the same key.
        question: u64,
        /// Send the body too.
        with_body: bool,
    },
    /// Ask to store a proposal; the reply goes to [`super::Leader::on_accepted`].
    Accept {
        /// A voter.
        to: NodeId,
        /// The key.
        name: ObjectName,
        /// The proposal's ballot.
        ballot: Ballot,
        /// The record, whole.
        record: Arc<Record>,
    },
    /// A request has ended.
    Answer {
        /// The request.
        token: Token,
        /// Its end.
        answer: Answer,
    },
}

impl Effect {
    /// The voter that it is for; `None`: for an asker.
    pub fn to(&self) -> Option<NodeId> {
        match self {
            Self::Prepare { to, .. } | Self::Learn { to, .. } | Self::Accept { to, .. } => Some(*to),
            Self::Answer { .. } => None,
        }
    }
}

/// A replica's answer to an accept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AcceptReply {
    /// On disk.
    Accepted,
    /// A higher ballot of the key is there.
    Superseded(Ballot),
    /// A higher term was promised.
    Refused(Term),
}

/// A replica's answer to a learning read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LearnReply {
    /// What is accepted there.
    Holds(Option<(Ballot, Arc<Record>)>),
    /// A higher term was promised.
    Refused(Term),
}
