//! One partition's leaderships and majorities, across all nodes; and whose majorities they are.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, PartitionLayout};
use holdfast_core::term::{ConfigVersion, Term};

use super::{LAYOUTS, MAJORITIES, NO_INVENTION, PROMISES, Wrong, wrong};

/// Every config that any node ever counted by.
#[derive(Default)]
pub(super) struct Configs {
    by_config: BTreeMap<(Partition, ConfigVersion), PartitionLayout>,
    /// The layouts that were looked at, by version: nodes name the same ones again and again.
    seen: BTreeMap<u64, Layout>,
}

impl Configs {
    pub(super) fn on_layout(&mut self, layout: &Layout) -> Result<(), Wrong> {
        if self.seen.get(&layout.version) == Some(layout) {
            return Ok(());
        }
        self.seen.insert(layout.version, layout.clone());
        for (partition, place) in Partition::all().zip(&layout.partitions) {
            let known = self.by_config.entry((partition, place.config)).or_insert_with(|| place.clone());
            if (&known.replicas, &known.next) != (&place.replicas, &place.next) {
                let (config, other) = (place.config.0, &place.replicas);
                let known = &known.replicas;
                return Err(wrong(
                    MAJORITIES,
                    format!(
                        "counts by {other:?} in config {config} of partition {partition}, others by {known:?}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether who counts by a layout knows the config of a term that it binds itself to: else the layout could get lost
    /// with the one who asked.
    pub(super) fn check_known(&self, layout: u64, partition: Partition, term: Term) -> Result<(), Wrong> {
        let known = self.seen.get(&layout).map(|layout| layout.partition(partition).config);
        if known.is_some_and(|known| known >= term.config) {
            return Ok(());
        }
        Err(wrong(
            LAYOUTS,
            format!(
                "binds itself to term {term:?} of partition {partition}, whose config its layout {layout} has not"
            ),
        ))
    }

    /// Whether `nodes` are more than half of a config's replicas, and of the next ones while there are some. Else what
    /// they are.
    pub(super) fn check_majority(
        &self,
        partition: Partition,
        config: ConfigVersion,
        nodes: &[NodeId],
    ) -> Result<(), String> {
        let Some(place) = self.by_config.get(&(partition, config)) else {
            return Err(format!("nobody knows config {}", config.0));
        };
        for list in [Some(&place.replicas), place.next.as_ref()].into_iter().flatten() {
            let counted: BTreeSet<_> = nodes.iter().filter(|node| list.contains(node)).collect();
            if counted.len() * 2 <= list.len() {
                return Err(format!("{nodes:?} are no majority of {list:?}"));
            }
        }
        Ok(())
    }
}

/// One partition.
#[derive(Default)]
pub(super) struct Terms {
    led: BTreeMap<Term, Leadership>,
    /// The majorities by which records were chosen, each once for each term.
    chosen_by: BTreeSet<(Term, Vec<NodeId>)>,
}

struct Leadership {
    life: u64,
    promised_by: Vec<NodeId>,
}

impl Terms {
    pub(super) fn on_led(
        &mut self,
        me: NodeId,
        life: u64,
        term: Term,
        promised_by: &[NodeId],
    ) -> Result<(), Wrong> {
        if term.node != me || !promised_by.contains(&me) {
            return Err(wrong(PROMISES, format!("leads in term {term:?} without a promise of its own")));
        }
        if self.led.contains_key(&term) {
            return Err(wrong(PROMISES, format!("leads a second time in term {term:?}")));
        }
        for (chosen_in, by) in self.chosen_by.range(..(term, Vec::new())) {
            check_meet((term, promised_by), (*chosen_in, by))?;
        }
        self.led.insert(term, Leadership { life, promised_by: promised_by.to_vec() });
        Ok(())
    }

    /// Whether the node leads in the term, in this life of its own.
    pub(super) fn check_leads(&self, me: NodeId, life: u64, term: Term) -> Result<(), Wrong> {
        match self.led.get(&term) {
            Some(leadership) if term.node == me && leadership.life == life => Ok(()),
            Some(_) if term.node == me => Err(wrong(
                PROMISES,
                format!("proposes in term {term:?}, which it led before it was restarted"),
            )),
            _ => Err(wrong(NO_INVENTION, format!("proposes in term {term:?}, which it does not lead"))),
        }
    }

    /// A record was chosen in a term by these replicas.
    pub(super) fn on_chosen(&mut self, term: Term, by: &[NodeId]) -> Result<(), Wrong> {
        let mut by = by.to_vec();
        by.sort_unstable();
        if self.chosen_by.contains(&(term, by.clone())) {
            return Ok(());
        }
        let above = (std::ops::Bound::Excluded(term), std::ops::Bound::Unbounded);
        for (led, leadership) in self.led.range(above) {
            check_meet((*led, &leadership.promised_by), (term, &by))?;
        }
        self.chosen_by.insert((term, by));
        Ok(())
    }
}

/// A leader has heard of everything that was chosen in lower terms: one of those that promised holds it. Across more than
/// one change of the config another leader stands between the two.
fn check_meet(
    (led, promised_by): (Term, &[NodeId]),
    (chosen_in, by): (Term, &[NodeId]),
) -> Result<(), Wrong> {
    if led.config.0 > chosen_in.config.0 + 1 || promised_by.iter().any(|node| by.contains(node)) {
        return Ok(());
    }
    Err(wrong(
        MAJORITIES,
        format!(
            "sees a majority of term {chosen_in:?}, {by:?}, that none of the promises of term {led:?}, {promised_by:?}, is of"
        ),
    ))
}
