//! What a leader has found by counting, for whoever checks it from outside: an auditor, the simulator's oracles.
//!
//! A leader acts on majorities that nobody else sees. Where this is switched on it says which replicas it counted, so that
//! the claim can be compared with what these replicas did. Switched off, as in production, it keeps and costs nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ids::{NodeId, ObjectName};
use crate::record::Record;
use crate::register::slot::Held;
use crate::term::{Ballot, Term};

/// One finding.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Counted {
    /// The leadership of a term begins: a majority promised it.
    Led {
        /// The term.
        term: Term,
        /// Who promised it.
        promised_by: Vec<NodeId>,
    },
    /// A majority has answered a question of the leader, and so stood by its term after the question was asked.
    Confirmed {
        /// The key.
        name: ObjectName,
        /// The leader's term.
        term: Term,
        /// The question's number.
        question: u64,
        /// Whose answers were counted.
        by: Vec<NodeId>,
    },
    /// A record is chosen.
    Chosen {
        /// The key.
        name: ObjectName,
        /// The ballot at which it is.
        ballot: Ballot,
        /// The record, perhaps without its body.
        record: Arc<Record>,
        /// Who was counted as holding it at that ballot. Empty: nobody, the leader is caught up and took its own
        /// replica's word for it.
        by: Vec<NodeId>,
    },
}

impl Counted {
    pub(super) fn confirmed<'a>(
        name: &ObjectName,
        term: Term,
        question: u64,
        by: impl IntoIterator<Item = &'a NodeId>,
    ) -> Self {
        Self::Confirmed { name: name.clone(), term, question, by: by.into_iter().copied().collect() }
    }

    pub(super) fn chosen(name: &ObjectName, held: &Held, by: impl IntoIterator<Item = NodeId>) -> Self {
        let (ballot, record) = (held.ballot, held.record.clone());
        Self::Chosen { name: name.clone(), ballot, record, by: by.into_iter().collect() }
    }
}

/// What was found since it was last taken; `None`: nobody looks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Counts(Option<Vec<Counted>>);

impl Counts {
    pub(super) fn keep(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(super) fn note(&mut self, counted: impl FnOnce() -> Counted) {
        if let Some(counts) = &mut self.0 {
            counts.push(counted());
        }
    }

    pub(super) fn take(&mut self) -> Vec<Counted> {
        self.0.as_mut().map(core::mem::take).unwrap_or_default()
    }
}
