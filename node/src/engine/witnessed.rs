//! What the engine tells a witness: leaderships, proposals, what was counted, what is answered.

use std::sync::Arc;

use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::listing::{Listing, Query};
use holdfast_core::placement::Layout;
use holdfast_core::record::Record;
use holdfast_core::register::{Counted, Effect, Leader, Quorum};
use holdfast_core::term::{Ballot, Term, Version};

use super::Inner;
use super::read::Copy;
use crate::env::witness::{Fact, Witness};

impl Inner {
    fn witness(&self) -> Option<&Arc<dyn Witness>> {
        Some(&self.env.witness).filter(|witness| witness.is_watching())
    }

    pub(super) fn tell_configured(&self, layout: &Layout) {
        if let Some(witness) = self.witness() {
            witness.sees(Fact::Configured(layout));
        }
    }

    /// What the leader has counted since it was last asked.
    pub(super) fn tell_counts(&self, partition: Partition, leader: &mut Leader) {
        let Some(witness) = self.witness() else { return };
        let config = leader.quorum().config();
        for counted in leader.take_counts() {
            witness.sees(match &counted {
                Counted::Led { term, promised_by } => Fact::Led { partition, term: *term, promised_by },
                Counted::Confirmed { name, term, question, by } => {
                    Fact::Confirmed { name, term: *term, question: *question, by }
                }
                Counted::Chosen { name, ballot, record, by } => {
                    Fact::Chosen { name, ballot: *ballot, record, config, by }
                }
            });
        }
    }

    /// What a leader says to replicas.
    pub(super) fn tell_effect(&self, effect: &Effect) {
        let Some(witness) = self.witness() else { return };
        match effect {
            Effect::Accept { name, ballot, record, .. } => {
                witness.sees(Fact::Proposed { name, ballot: *ballot, record });
            }
            Effect::Learn { name, term, question, .. } => {
                witness.sees(Fact::Asks { name, term: *term, question: *question });
            }
            _ => {}
        }
    }

    /// The own replica answers the leader of `term`.
    pub(super) fn tell_stood_by(&self, name: &ObjectName, term: Term) {
        if let Some(witness) = self.witness() {
            witness.sees(Fact::StoodBy { name, term });
        }
    }

    /// A quorum read has found `ballot` to be chosen, by these copies.
    pub(super) fn tell_read(
        &self,
        quorum: &Quorum,
        name: &ObjectName,
        ballot: Ballot,
        copies: &[(NodeId, Copy)],
    ) {
        let Some(witness) = self.witness() else { return };
        if ballot == Ballot::ZERO {
            let without = copies.iter().filter(|(_, copy)| copy.is_none()).map(|(node, _)| *node);
            let by: Vec<_> = without.collect();
            return witness.sees(Fact::FoundNothing { name, config: quorum.config(), by: &by });
        }
        let holders: Vec<_> = copies
            .iter()
            .filter_map(|(node, copy)| copy.as_ref().map(|(held, record)| (*node, *held, record)))
            .filter(|(_, held, _)| *held == ballot)
            .collect();
        let Some((.., record)) = holders.first() else { return };
        let by: Vec<_> = holders.iter().map(|(node, ..)| *node).collect();
        witness.sees(Fact::Chosen { name, ballot, record, config: quorum.config(), by: &by });
    }

    pub(super) fn tell_served(&self, name: &ObjectName, record: &Record) {
        if let (Some(witness), Some(object)) = (self.witness(), record.object()) {
            witness.sees(Fact::Served { name, version: record.version, object });
        }
    }

    pub(super) fn tell_listed(&self, query: &Query, listing: &Listing) {
        let Some(witness) = self.witness() else { return };
        for (key, version, object) in &listing.objects {
            let name = ObjectName { bucket: query.bucket().clone(), key: key.clone() };
            witness.sees(Fact::Served { name: &name, version: *version, object });
        }
    }

    pub(super) fn tell_acknowledged(&self, name: &ObjectName, version: Version) {
        if let Some(witness) = self.witness() {
            witness.sees(Fact::Acknowledged { name, version });
        }
    }
}
