//! What the engine tells a witness: leaderships, proposals, what was counted, what is answered.

use std::sync::Arc;

use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::listing::{Listing, Query};
use holdfast_core::placement::Layout;
use holdfast_core::record::Record;
use holdfast_core::register::{Counted, Effect, Leader, Quorum};
use holdfast_core::term::{Ballot, Version};

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
                Counted::Chosen { name, ballot, record, by } => {
                    Fact::Chosen { name, ballot: *ballot, record, config, by }
                }
            });
        }
    }

    pub(super) fn tell_proposed(&self, effect: &Effect) {
        if let (Effect::Accept { name, ballot, record, .. }, Some(witness)) = (effect, self.witness()) {
            witness.sees(Fact::Proposed { name, ballot: *ballot, record });
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
