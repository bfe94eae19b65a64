//! A quorum read: which ballot of a key is chosen, by the answers of replicas. It changes nothing.
//!
//! Why it is linearizable: a write that was answered is held by a majority, so any majority of answers shows its ballot
//! or a higher one; and the value is only given away once a majority holds it, so later reads see no less.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;
use crate::register::quorum::Quorum;
use crate::sometimes;
use crate::term::Ballot;

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadStep {
    /// This ballot is chosen and current ([`Ballot::ZERO`]: the key was never written). One of its holders is named.
    Chosen(Ballot, NodeId),
    /// Ask this replica too.
    Ask(NodeId),
    /// Answers are outstanding.
    Wait,
    /// The highest ballot is half written: the leader must complete it before anyone sees it.
    Resolve,
    /// Too few replicas answer.
    Unavailable,
}

/// One read under way.
#[derive(Clone, Debug)]
pub struct QuorumRead<'a> {
    quorum: &'a Quorum,
    /// `None`: asked, no answer yet. `Some(None)`: failed.
    asked: BTreeMap<NodeId, Option<Option<Ballot>>>,
}

impl<'a> QuorumRead<'a> {
    /// A read that has asked nobody yet.
    pub fn new(quorum: &'a Quorum) -> Self {
        Self { quorum, asked: BTreeMap::new() }
    }

    /// Notes that `node` was asked.
    pub fn asking(&mut self, node: NodeId) {
        self.asked.entry(node).or_insert(None);
    }

    /// `node` holds `ballot` ([`Ballot::ZERO`]: nothing). `order`: whom to ask next, best first.
    pub fn on_reply(&mut self, node: NodeId, ballot: Ballot, order: &[NodeId]) -> ReadStep {
        self.asked.insert(node, Some(Some(ballot)));
        self.step(order)
    }

    /// `node` did not or will not answer.
    pub fn on_failed(&mut self, node: NodeId, order: &[NodeId]) -> ReadStep {
        self.asked.insert(node, Some(None));
        self.step(order)
    }

    /// An answer is slow: whom to ask besides, if there is anyone left.
    pub fn on_slow(&mut self, order: &[NodeId]) -> Option<NodeId> {
        let another = self.unasked(order);
        sometimes!(another.is_some(), "a read does not wait for a slow replica alone");
        another
    }

    fn unasked(&self, order: &[NodeId]) -> Option<NodeId> {
        order.iter().copied().find(|node| self.quorum.contains(*node) && !self.asked.contains_key(node))
    }

    fn step(&self, order: &[NodeId]) -> ReadStep {
        let replies = || {
            self.asked.iter().filter_map(|(node, answer)| match answer {
                Some(Some(ballot)) => Some((*node, *ballot)),
                _ => None,
            })
        };
        let highest = replies().map(|(_, ballot)| ballot).max();
        if let Some(highest) = highest {
            let holds = |node: NodeId| self.asked.get(&node) == Some(&Some(Some(highest)));
            // Whether a ballot of a newer config is chosen, only that config's voters can tell.
            let may_judge = highest.term.config <= self.quorum.config();
            if may_judge && self.quorum.is_majority(holds) {
                let holder = replies().find(|(_, ballot)| *ballot == highest).map(|(node, _)| node);
                return ReadStep::Chosen(highest, holder.expect("the highest ballot came from someone"));
            }
        }
        let outstanding = self.asked.values().filter(|answer| answer.is_none()).count();
        // Those asked may still make a majority of one ballot: wait for them before asking more.
        let could_agree = highest.is_none_or(|highest| {
            self.quorum.is_majority(|node| {
                matches!(self.asked.get(&node), Some(None))
                    || self.asked.get(&node) == Some(&Some(Some(highest)))
            })
        });
        if outstanding > 0 && could_agree {
            return ReadStep::Wait;
        }
        if let Some(node) = self.unasked(order) {
            let ballots = replies().map(|(_, ballot)| ballot);
            sometimes!(
                ballots.min() != highest,
                "the replicas that a read asked disagree, so another one is asked"
            );
            return ReadStep::Ask(node);
        }
        if outstanding > 0 {
            return ReadStep::Wait;
        }
        let answered = |node: NodeId| matches!(self.asked.get(&node), Some(Some(Some(_))));
        if self.quorum.is_majority(answered) {
            sometimes!("a read finds a record that may be on a minority only");
            let ballots: BTreeSet<Ballot> = replies().map(|(_, ballot)| ballot).collect();
            sometimes!(ballots.len() >= 3, "a read meets three different ballots of its key");
            ReadStep::Resolve
        } else {
            sometimes!("a read finds too few replicas that answer");
            ReadStep::Unavailable
        }
    }
}
