//! What a leader knows and does about one key.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;

use crate::ids::{NodeId, ObjectName};
use crate::record::Record;
use crate::register::counted::{Counted, Counts};
use crate::register::decide::{Answer, Request};
use crate::register::leader::Token;
use crate::register::quorum::Quorum;
use crate::sometimes;
use crate::term::Ballot;

/// A record and the ballot it was accepted under.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Held {
    pub(super) ballot: Ballot,
    pub(super) record: Arc<Record>,
}

/// The key's current record, as far as this leader knows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Known {
    /// Must be learnt first.
    Unknown,
    /// Chosen (`None`: never written). Kept as a head: no body.
    Chosen(Option<Held>),
    /// The highest proposal that may be chosen: the next record builds on it, and nobody sees it before it is.
    Proposed(Held),
}

impl Known {
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Unknown | Self::Chosen(None) => None,
            Self::Chosen(Some(held)) | Self::Proposed(held) => Some(&held.record),
        }
    }

    /// A majority answered a question: `assessed`. What is known to be chosen stays so when fewer were seen to hold it.
    pub(super) fn learn(&mut self, assessed: Self) {
        let stays = match (&*self, &assessed) {
            (Self::Chosen(Some(known)), Self::Chosen(Some(held)) | Self::Proposed(held)) => {
                known.ballot >= held.ballot
            }
            _ => false,
        };
        sometimes!(stays, "a leader is shown less than what it knows to be chosen");
        if !stays {
            *self = assessed;
        }
    }

    /// The whole of the record whose head is known has come.
    pub(super) fn complete(&mut self, whole: Held) {
        match self {
            Self::Chosen(Some(held)) | Self::Proposed(held) if held.ballot == whole.ballot => *held = whole,
            _ => unreachable!("only a known record's body is fetched, and it stays known meanwhile"),
        }
    }

    /// Judges what a majority holds.
    pub(super) fn assess(
        quorum: &Quorum,
        replies: &BTreeMap<NodeId, Option<Held>>,
        name: &ObjectName,
        counts: &mut Counts,
    ) -> Self {
        let ballot_of = |held: &Option<Held>| held.as_ref().map(|held| held.ballot);
        let Some(Some(highest)) = replies.values().max_by_key(|held| ballot_of(held)) else {
            return Self::Chosen(None);
        };
        let agrees = |node| replies.get(&node).is_some_and(|held| ballot_of(held) == Some(highest.ballot));
        if quorum.is_majority(agrees) {
            let holders = replies.keys().copied().filter(|node| agrees(*node));
            counts.note(|| Counted::chosen(name, highest, holders));
            Self::Chosen(Some(highest.clone()))
        } else {
            sometimes!("a leader learns of a record that may be on a minority only");
            Self::Proposed(highest.clone())
        }
    }
}

/// What is under way for a key: one thing at a time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Busy {
    /// Nothing.
    Idle,
    /// Asking a majority what they hold. Only replies to this very question count: an older one may have been
    /// answered before this leader's own accepts. `own`: only the own replica is asked, which holds what a majority does.
    Learning { question: u64, replies: BTreeMap<NodeId, Option<Held>>, own: bool },
    /// The record under `ballot` must be accepted again, and only its head is known: asking for the whole. `replies`
    /// are of those who do not hold it (any more).
    Fetching { question: u64, ballot: Ballot, replies: BTreeMap<NodeId, Option<Held>> },
    /// Waiting for a majority of acknowledgements. Without `answer` it completes what another proposed, or what nobody
    /// waits for any more.
    Accepting { held: Held, votes: BTreeSet<NodeId>, answer: Option<(Token, Answer)> },
}

impl Busy {
    pub(super) fn learning(question: u64, own: bool) -> Self {
        Self::Learning { question, replies: BTreeMap::new(), own }
    }

    pub(super) fn accepting(held: Held, answer: Option<(Token, Answer)>) -> Self {
        Self::Accepting { held, votes: BTreeSet::new(), answer }
    }

    /// Whether what is under way is the request's own record: it may have happened.
    pub(super) fn has_proposed(&self, token: Token) -> bool {
        matches!(self, Self::Accepting { answer: Some((of, _)), .. } if *of == token)
    }
}

/// A request that waits for its turn on the key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Waiting {
    pub(super) token: Token,
    pub(super) request: Request,
    /// The leader's counter when it came: what was begun under a higher number was begun later.
    pub(super) since: u64,
}

/// One key's place in the leader's memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Slot {
    pub(super) known: Known,
    pub(super) busy: Busy,
    /// The number of the last question or proposal that a majority answered. All of them stood by the term then.
    pub(super) confirmed: u64,
    pub(super) queue: VecDeque<Waiting>,
    /// The last proposal that was chosen without the own replica, which has not acknowledged it yet.
    pub(super) missing_here: Option<Ballot>,
    /// Ticks since the last message of what is under way.
    pub(super) quiet_ticks: u8,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            known: Known::Unknown,
            busy: Busy::Idle,
            confirmed: 0,
            queue: VecDeque::new(),
            missing_here: None,
            quiet_ticks: 0,
        }
    }
}
