//! One key across all nodes: what was proposed, who holds it, what is chosen.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::history::{Effect, Seen};
use holdfast_core::ids::{NodeId, ObjectName, OpId, Partition};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

use super::{LINEAGE, MAJORITIES, NEVER, NO_INVENTION, ONE_RECORD, ONLY_CHOSEN, Wrong, wrong};

/// One key.
pub(super) struct Key {
    partition: Partition,
    proposals: BTreeMap<Ballot, Proposal>,
    /// The ballots of `proposals` that are known to be chosen.
    chosen: BTreeSet<Ballot>,
    /// Operations of which a client was told that they never take effect.
    never: BTreeSet<OpId>,
    /// The last question of each term, and when it was first asked.
    asked: BTreeMap<Term, (u64, u64)>,
}

struct Proposal {
    /// Without its body.
    record: Record,
    /// Who ever held it.
    holders: BTreeSet<NodeId>,
}

impl Key {
    pub(super) fn new(name: &ObjectName) -> Self {
        let (proposals, chosen, never, asked) = Default::default();
        Self { partition: name.partition(), proposals, chosen, never, asked }
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    /// A client was told that an operation never takes effect.
    pub(super) fn on_never(&mut self, op: OpId) -> Result<(), Wrong> {
        self.never.insert(op);
        let took = |ballot: &&Ballot| {
            let record = &self.proposals[*ballot].record;
            record.history.entries().iter().filter_map(effective).any(|other| other == op)
        };
        match self.chosen.iter().find(took) {
            None => Ok(()),
            Some(ballot) => Err(took_effect(*ballot, op)),
        }
    }

    /// A leader asks, perhaps not for the first time.
    pub(super) fn on_asks(&mut self, term: Term, question: u64, now: u64) {
        let last = self.asked.entry(term).or_insert((question, now));
        if last.0 != question {
            *last = (question, now);
        }
    }

    /// When the question was first asked; `None`: another one is asked now, or none.
    pub(super) fn asked(&self, term: Term, question: u64) -> Option<u64> {
        self.asked.get(&term).filter(|(last, _)| *last == question).map(|(_, at)| *at)
    }

    /// Its leader proposes it, perhaps not for the first time.
    pub(super) fn on_proposed(&mut self, ballot: Ballot, record: &Record) -> Result<(), Wrong> {
        if record.version.0 > ballot {
            return Err(wrong(
                LINEAGE,
                format!("proposes {:?} under the lower ballot {ballot:?}", record.version),
            ));
        }
        let new = || Proposal { record: record.head(), holders: BTreeSet::new() };
        let known = self.proposals.entry(ballot).or_insert_with(new);
        check_same(known, ballot, record)
    }

    /// `node` has it on its disk.
    pub(super) fn on_held(&mut self, node: NodeId, ballot: Ballot, record: &Record) -> Result<(), Wrong> {
        let Some(known) = self.proposals.get_mut(&ballot) else {
            return Err(wrong(NO_INVENTION, format!("holds {ballot:?}, which nobody proposed")));
        };
        check_same(known, ballot, record)?;
        known.holders.insert(node);
        Ok(())
    }

    /// Whether `by` hold the ballot and are a majority; where nobody was counted, whether any majority does.
    pub(super) fn check_holders(
        &self,
        ballot: Ballot,
        by: &[NodeId],
        check_majority: impl Fn(&[NodeId]) -> Result<(), String>,
    ) -> Result<(), Wrong> {
        let Some(known) = self.proposals.get(&ballot) else {
            return Err(wrong(NO_INVENTION, format!("takes {ballot:?} for chosen, which nobody proposed")));
        };
        if let Some(node) = by.iter().find(|node| !known.holders.contains(node)) {
            return Err(wrong(
                MAJORITIES,
                format!("takes {ballot:?} for chosen and counts {node}, which never held it"),
            ));
        }
        let holders: Vec<_> = known.holders.iter().copied().collect();
        check_majority(if by.is_empty() { &holders } else { by })
            .map_err(|why| wrong(MAJORITIES, format!("takes {ballot:?} for chosen: {why}")))
    }

    /// It is chosen: does it follow from what was chosen before, and does what was chosen above it follow from it?
    pub(super) fn on_chosen(&mut self, ballot: Ballot, record: &Record) -> Result<(), Wrong> {
        let Some(known) = self.proposals.get(&ballot) else {
            return Err(wrong(NO_INVENTION, format!("takes {ballot:?} for chosen, which nobody proposed")));
        };
        check_same(known, ballot, record)?;
        if !self.chosen.insert(ballot) {
            return Ok(());
        }
        let effects = known.record.history.entries().iter().filter_map(effective);
        if let Some(op) = effects.into_iter().find(|op| self.never.contains(op)) {
            return Err(took_effect(ballot, op));
        }
        let of = |ballot: &Ballot| (*ballot, &self.proposals[ballot].record);
        let before = self.chosen.range(..ballot).next_back().map(of);
        let after =
            self.chosen.range((std::ops::Bound::Excluded(ballot), std::ops::Bound::Unbounded)).next().map(of);
        let this = (ballot, &known.record);
        let pairs = [before.map(|before| (before, this)), after.map(|after| (this, after))];
        for (older, newer) in pairs.into_iter().flatten() {
            check_follows(older, newer).map_err(|why| {
                wrong(
                    LINEAGE,
                    format!(
                        "takes {ballot:?} for chosen, but {:?} is not built on {:?}: {why}",
                        newer.0, older.0
                    ),
                )
            })?;
        }
        Ok(())
    }

    /// Whether a record with this version is chosen, known to be or not, and is this object.
    pub(super) fn check_shown(
        &self,
        version: Version,
        object: &Object,
        is_majority: impl Fn(ConfigVersion, &[NodeId]) -> bool,
    ) -> Result<(), Wrong> {
        let of_version = || self.proposals.iter().rev().filter(|(_, known)| known.record.version == version);
        let is_chosen = |(ballot, known): &(&Ballot, &Proposal)| {
            let holders: Vec<_> = known.holders.iter().copied().collect();
            self.chosen.contains(ballot) || is_majority(ballot.term.config, &holders)
        };
        let Some((_, known)) = of_version().find(is_chosen) else {
            let sentence = match of_version().next() {
                Some(_) => "shows {version:?}, which no majority holds",
                None => "shows {version:?}, which nobody proposed",
            };
            return Err(wrong(ONLY_CHOSEN, sentence.replace("{version:?}", &format!("{version:?}"))));
        };
        match &known.record.state {
            State::Object(chosen) if same_object(chosen, object) => Ok(()),
            _ => Err(wrong(ONLY_CHOSEN, format!("shows {version:?} as something else than was chosen"))),
        }
    }

    /// Whether some chosen record is of this version, or remembers a write of it.
    pub(super) fn has_in_lineage(&self, version: Version) -> bool {
        self.chosen.iter().rev().any(|ballot| {
            let record = &self.proposals[ballot].record;
            let wrote =
                |effect: &Effect| matches!(effect, Effect::Put(v) | Effect::Deleted(v) if *v == version);
            record.version == version || record.history.entries().iter().any(|(_, effect)| wrote(effect))
        })
    }
}

/// The operation, if it changed the key.
fn effective((op, effect): &(OpId, Effect)) -> Option<OpId> {
    matches!(effect, Effect::Put(_) | Effect::Deleted(_)).then_some(*op)
}

fn took_effect(ballot: Ballot, op: OpId) -> Wrong {
    let sentence = format!(
        "has the chosen {ballot:?}, in which operation {op} took effect; its client was told that it never does"
    );
    wrong(NEVER, sentence)
}

fn check_same(known: &Proposal, ballot: Ballot, record: &Record) -> Result<(), Wrong> {
    let of = &known.record;
    let same_state = match (&of.state, &record.state) {
        (State::Object(one), State::Object(other)) => same_object(one, other),
        (one, other) => one == other,
    };
    if of.version == record.version && of.history == record.history && same_state {
        return Ok(());
    }
    Err(wrong(
        ONE_RECORD,
        format!("has {:?} under {ballot:?}, which is another record with {:?}", record.version, of.version),
    ))
}

/// But for the body.
fn same_object(one: &Object, other: &Object) -> bool {
    let Object { size, content_type, metadata, hash, modified_unix_ms, body: _ } = one;
    *size == other.size
        && *content_type == other.content_type
        && *metadata == other.metadata
        && *hash == other.hash
        && *modified_unix_ms == other.modified_unix_ms
}

/// Whether the newer record can be built on the older one.
fn check_follows((ballot, older): (Ballot, &Record), (_, newer): (Ballot, &Record)) -> Result<(), String> {
    if newer.version == older.version {
        let same = match (&older.state, &newer.state) {
            (State::Object(one), State::Object(other)) => same_object(one, other),
            (one, other) => one == other,
        };
        if !same {
            return Err(format!("{:?} has another value in it", newer.version));
        }
    } else if newer.version < older.version {
        return Err(format!("its version went back from {:?} to {:?}", older.version, newer.version));
    } else if newer.version.0 <= ballot {
        // A new write gets a version above everything that it is built on.
        return Err(format!("{:?} was decided before it", newer.version));
    }
    if newer.history.floor() < older.history.floor() {
        return Err("its floor went back".to_owned());
    }
    for (op, effect) in older.history.entries() {
        match newer.history.seen(*op) {
            Seen::Known(now) if now == *effect => {}
            Seen::Forgotten(_) => {}
            other => return Err(format!("operation {op} became {other:?}, and was {effect:?}")),
        }
    }
    Ok(())
}
