//! White-box oracles: what nodes do that binds them, checked across all nodes at the moment when they do it.
//!
//! What clients see cannot show that a promise was forgotten at a restart, or that a record was never synced: the run has
//! to go on in just the wrong way for it to matter. The nodes therefore tell a witness ([`node::env::witness`]) what they
//! promise, accept, count and answer, and the oracles hold every fact against the facts of all nodes before it:
//!
//! | oracle | what must hold |
//! |---|---|
//! | [`KEPT`] | what a replica has acknowledged it still has after every restart, and says so when asked |
//! | [`ONE_RECORD`] | one ballot of one key is one record, wherever it is proposed, held or chosen |
//! | [`LAYOUTS`] | a running node counts by layouts that follow one another, and promises nothing under one that it does not know |
//! | [`MAJORITIES`] | who counts a majority has one, of replicas that really promised or hold it; each meets the ones before |
//! | [`PROMISES`] | nobody accepts below its promise, and no term is led in twice |
//! | [`NO_INVENTION`] | nobody holds what its ballot's leader did not propose, nobody proposes in a term that it does not lead |
//! | [`ONLY_CHOSEN`] | what is answered was chosen |
//! | [`LINEAGE`] | each record that is chosen is built on the one chosen before it |
//! | [`NEVER`] | what a client was told did nothing, and never will, has no effect in what is chosen |
//! | [`BYTES`] | every body that is stored or answered has the hash and the size that its head names |
//!
//! They know nothing of the product's own rules for majorities, promises and histories: a mistake there is not repeated
//! here. They keep every proposal of a run, which is right for runs of minutes.

#[cfg(test)]
mod cluster;
mod key;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use holdfast_core::ids::{NodeId, ObjectName, OpId, Partition};
use holdfast_core::placement::Layout;
use holdfast_core::record::{Object, Record};
use holdfast_core::term::{Ballot, Term};
use node::env::witness::{Fact, Recovered, Witness};
use parking_lot::Mutex;

use key::Key;
use terms::{Configs, Terms};

/// What a replica has acknowledged, it still has.
pub const KEPT: &str = "kept";
/// One ballot, one record.
pub const ONE_RECORD: &str = "one-record";
/// Majorities are what they are said to be, and meet.
pub const MAJORITIES: &str = "majorities";
/// Layouts follow one another.
pub const LAYOUTS: &str = "layouts";
/// Promises bind.
pub const PROMISES: &str = "promises";
/// Nothing comes from nowhere.
pub const NO_INVENTION: &str = "no-invention";
/// Only what is chosen is shown.
pub const ONLY_CHOSEN: &str = "only-chosen";
/// Records are built on one another.
pub const LINEAGE: &str = "lineage";
/// What a client was told did not happen never does.
pub const NEVER: &str = "never";
/// Bodies have their hashes.
pub const BYTES: &str = "bytes";

/// Something that must not be, in the words of one who has to find out why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which oracle found it.
    pub oracle: &'static str,
    /// One English sentence.
    pub sentence: String,
    /// The host whose fact it was.
    pub node: String,
    /// The key that it is about, as `bucket/key`; `None`: a whole partition.
    pub key: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oracle {}: {}", self.oracle, self.sentence)
    }
}

/// What a check finds, before it is known whose fact it was.
struct Wrong {
    oracle: &'static str,
    sentence: String,
}

fn wrong(oracle: &'static str, sentence: impl Into<String>) -> Wrong {
    Wrong { oracle, sentence: sentence.into() }
}

/// The oracles of one world. Clones are the same oracles.
#[derive(Clone, Default)]
pub struct Oracles(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    facts: u64,
    hosts: BTreeMap<String, Host>,
    replicas: BTreeMap<NodeId, Replica>,
    configs: Configs,
    terms: BTreeMap<Partition, Terms>,
    keys: BTreeMap<ObjectName, Key>,
    violation: Option<Violation>,
}

/// A machine. Its disk may be emptied: then another node lives there.
#[derive(Default)]
struct Host {
    node: Option<NodeId>,
    /// How often a store was opened here.
    lives: u64,
    /// The layout that its node has counted by in this life.
    layout: u64,
    /// Its disk has not kept what it said it would.
    excused: bool,
    /// And the node came back without some of it, or so that nobody can tell.
    has_forgotten: bool,
}

/// What one node has acknowledged.
#[derive(Default)]
struct Replica {
    /// Each promise that was given.
    promised: BTreeMap<Partition, BTreeSet<Term>>,
    /// When it last answered a leader's question about a key, in which term; as a number of facts.
    stood_by: BTreeMap<ObjectName, (Term, u64)>,
    /// The keys of which it has said that it holds nothing.
    told_nothing: BTreeSet<ObjectName>,
    holds: BTreeMap<ObjectName, Ballot>,
    /// Whether all that it holds is known: not when its store could not be read through.
    known: bool,
}

impl Oracles {
    /// Oracles that have seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whom the node on `host` is to tell: for its environment, one for each of its processes or one for all.
    pub fn for_node(&self, host: &str) -> Arc<dyn Witness> {
        Arc::new(OfNode { host: host.to_owned(), oracles: self.clone() })
    }

    /// `client` was told that an operation on a key had no effect and never will.
    pub fn never(&self, client: &str, name: &ObjectName, op: OpId) {
        let state = &mut *self.0.lock();
        let key = state.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
        if let (Err(Wrong { oracle, sentence }), None) = (key.on_never(op), &state.violation) {
            let sentence = state.with_names(&format!("{name}: the cluster {sentence}"));
            let (node, key) = (client.to_owned(), Some(name.to_string()));
            state.violation = Some(Violation { oracle, sentence, node, key });
        }
    }

    /// The disk of `host` lies, or loses what it had synced: that its node knows less when it is opened next is not the
    /// node's fault. Such a node must not take part any more ([`Self::has_forgotten`]).
    pub fn excuse_disk(&self, host: &str) {
        self.0.lock().hosts.entry(host.to_owned()).or_default().excused = true;
    }

    /// Whether a node with an excused disk was opened and knew less than it had acknowledged, or could not be read
    /// through. Whoever runs it must end it before it speaks: a voter without memory is beyond what any protocol of this
    /// sort promises to survive. What it says all the same is held against what it had acknowledged.
    pub fn has_forgotten(&self, host: &str) -> bool {
        self.0.lock().hosts.get(host).is_some_and(|host| host.has_forgotten)
    }

    /// The first thing that must not be. Later ones are not looked for: they follow from it, as a rule.
    pub fn violation(&self) -> Option<Violation> {
        self.0.lock().violation.clone()
    }

    /// How many facts were checked.
    pub fn facts(&self) -> u64 {
        self.0.lock().facts
    }
}

/// The ear on one host.
struct OfNode {
    host: String,
    oracles: Oracles,
}

impl Witness for OfNode {
    fn is_watching(&self) -> bool {
        true
    }

    fn sees(&self, fact: Fact<'_>) {
        let state = &mut *self.oracles.0.lock();
        if state.violation.is_some() {
            return;
        }
        state.facts += 1;
        if let Err(Wrong { oracle, sentence }) = state.check(&self.host, fact) {
            let key = key_of(&fact).map(ToString::to_string);
            let node = self.host.clone();
            let about = key.as_deref().map(|key| format!("{key}: ")).unwrap_or_default();
            let sentence = format!("{about}{}", state.with_names(&format!("{node} {sentence}")));
            state.violation = Some(Violation { oracle, sentence, node, key });
        }
    }
}

fn key_of<'a>(fact: &Fact<'a>) -> Option<&'a ObjectName> {
    match fact {
        Fact::Accepted { name, .. }
        | Fact::Told { name, .. }
        | Fact::StoodBy { name, .. }
        | Fact::Asks { name, .. }
        | Fact::Confirmed { name, .. }
        | Fact::FoundNothing { name, .. }
        | Fact::Proposed { name, .. }
        | Fact::Chosen { name, .. }
        | Fact::Served { name, .. }
        | Fact::Acknowledged { name, .. } => Some(name),
        Fact::Opened { .. } | Fact::Promised { .. } | Fact::Configured(_) | Fact::Led { .. } => None,
    }
}

impl State {
    fn check(&mut self, host: &str, fact: Fact<'_>) -> Result<(), Wrong> {
        match fact {
            Fact::Opened { node, promised, holds } => return self.on_opened(host, node, promised, holds),
            Fact::Configured(layout) => {
                let host = self.hosts.entry(host.to_owned()).or_default();
                if host.layout == 0
                    && !host.excused
                    && let Some(replica) = host.node.and_then(|node| self.replicas.get(&node))
                {
                    replica.check_comes_back_with(layout)?;
                }
                if layout.version < host.layout {
                    let sentence =
                        format!("counts by layout {} after layout {}", layout.version, host.layout);
                    return Err(wrong(LAYOUTS, sentence));
                }
                host.layout = layout.version;
                return self.configs.on_layout(layout);
            }
            _ => {}
        }
        let Some(Host { node: Some(me), lives, layout, .. }) = self.hosts.get(host) else {
            return Err(wrong(NO_INVENTION, "acts before its store was opened"));
        };
        let (me, life, layout) = (*me, *lives, *layout);
        match fact {
            Fact::Opened { .. } | Fact::Configured(_) => Ok(()),
            Fact::Promised { partition, term } => {
                self.configs.check_known(layout, partition, term)?;
                self.replicas.entry(me).or_default().promise(partition, term);
                Ok(())
            }
            Fact::Accepted { name, ballot, record, installed } => {
                record.object().map_or(Ok(()), check_bytes)?;
                if !installed {
                    self.configs.check_known(layout, name.partition(), ballot.term)?;
                }
                let key = self.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
                let replica = self.replicas.entry(me).or_default();
                replica.on_accepted(name, key.partition(), ballot, installed)?;
                key.on_held(me, ballot, record)
            }
            Fact::Told { name, ballot } => self.replicas.entry(me).or_default().on_told(name, ballot),
            Fact::StoodBy { name, term } => {
                let replica = self.replicas.entry(me).or_default();
                replica.on_stood_by(name, term, self.facts)
            }
            Fact::Asks { name, term, question } => {
                let key = self.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
                key.on_asks(term, question, self.facts);
                Ok(())
            }
            Fact::Confirmed { name, term, question, by } => self.check_confirmed(name, term, question, by),
            Fact::FoundNothing { name, config, by } => {
                let told = |node: &&NodeId| {
                    self.replicas.get(node).is_some_and(|replica| replica.told_nothing.contains(name))
                };
                if let Some(node) = by.iter().find(|node| !told(node)) {
                    let sentence = format!("finds nothing and counts {node}, which has not said so");
                    return Err(wrong(MAJORITIES, sentence));
                }
                self.configs
                    .check_majority(name.partition(), config, by)
                    .map_err(|why| wrong(MAJORITIES, format!("finds nothing: {why}")))
            }
            Fact::Led { partition, term, promised_by } => {
                for node in promised_by {
                    if !self.replicas.get(node).is_some_and(|replica| replica.has_promised(partition, term)) {
                        return Err(wrong(
                            MAJORITIES,
                            format!(
                                "leads partition {partition} in term {term:?} and counts {node}, which has not promised it"
                            ),
                        ));
                    }
                }
                self.configs.check_majority(partition, term.config, promised_by).map_err(|why| {
                    wrong(MAJORITIES, format!("leads partition {partition} in term {term:?} by promises of {promised_by:?}: {why}"))
                })?;
                self.terms.entry(partition).or_default().on_led(me, life, term, promised_by)
            }
            Fact::Proposed { name, ballot, record } => {
                let key = self.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
                self.terms.entry(key.partition()).or_default().check_leads(me, life, ballot.term)?;
                key.on_proposed(ballot, record)
            }
            Fact::Chosen { name, ballot, record, config, by } => {
                let key = self.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
                let partition = key.partition();
                key.check_holders(ballot, by, |nodes| self.configs.check_majority(partition, config, nodes))?;
                if !by.is_empty() {
                    self.terms.entry(partition).or_default().on_chosen(ballot.term, by)?;
                }
                key.on_chosen(ballot, record)
            }
            Fact::Served { name, version, object } => {
                check_bytes(object)?;
                let none =
                    || wrong(ONLY_CHOSEN, format!("shows {version:?} of a key that was never written"));
                let key = self.keys.get(name).ok_or_else(none)?;
                let partition = key.partition();
                key.check_shown(version, object, |config, nodes| {
                    self.configs.check_majority(partition, config, nodes).is_ok()
                })
            }
            Fact::Acknowledged { name, version } => {
                let chosen = self.keys.get(name).is_some_and(|key| key.has_in_lineage(version));
                let sentence = || format!("acknowledges {version:?}, which no chosen record has or follows");
                if chosen { Ok(()) } else { Err(wrong(ONLY_CHOSEN, sentence())) }
            }
        }
    }

    /// Whether everybody that was counted has answered this very question.
    fn check_confirmed(
        &self,
        name: &ObjectName,
        term: Term,
        question: u64,
        by: &[NodeId],
    ) -> Result<(), Wrong> {
        let Some(asked) = self.keys.get(name).and_then(|key| key.asked(term, question)) else {
            let sentence =
                format!("counts answers to question {question} of term {term:?}, which it does not ask");
            return Err(wrong(MAJORITIES, sentence));
        };
        let answered = |node: &NodeId| {
            let stood_by = self.replicas.get(node).and_then(|replica| replica.stood_by.get(name));
            stood_by.is_some_and(|(of, at)| *of >= term && *at > asked)
        };
        match by.iter().find(|node| !answered(node)) {
            None => Ok(()),
            Some(node) => Err(wrong(
                MAJORITIES,
                format!("counts {node} for question {question} of term {term:?}, which it has not answered"),
            )),
        }
    }

    fn on_opened(
        &mut self,
        name: &str,
        node: NodeId,
        promised: &[Term],
        holds: Option<&[Recovered]>,
    ) -> Result<(), Wrong> {
        let host = self.hosts.entry(name.to_owned()).or_default();
        host.node = Some(node);
        // It may come back with an older one, but not with one that is older than its promises.
        host.layout = 0;
        host.lives += 1;
        let replica = self.replicas.entry(node).or_default();
        let missing = replica.missing(promised, holds);
        if host.excused && (missing.is_some() || holds.is_none()) {
            host.has_forgotten = true;
            return Ok(());
        }
        if let Some(missing) = missing {
            return Err(wrong(KEPT, missing));
        }
        for (partition, term) in Partition::all().zip(promised).filter(|(_, term)| **term != Term::ZERO) {
            replica.promise(partition, *term);
        }
        replica.known = holds.is_some();
        let Some(holds) = holds else { return Ok(()) };
        let found = by_name(holds);
        replica.holds.retain(|name, _| matches!(found.get(name), Some(None)));
        for Recovered { name, held } in holds {
            let Some((ballot, record)) = held else { continue };
            let key = self.keys.entry(name.clone()).or_insert_with(|| Key::new(name));
            replica.holds.insert(name.clone(), *ballot);
            key.on_held(node, *ballot, record).map_err(|Wrong { oracle, sentence }| {
                wrong(oracle, format!("comes back with {name} and {sentence}"))
            })?;
        }
        Ok(())
    }

    /// Hosts where the sentence has node ids.
    fn with_names(&self, sentence: &str) -> String {
        self.hosts.iter().fold(sentence.to_owned(), |sentence, (name, host)| match host.node {
            Some(node) => sentence
                .replace(&format!("{node:?}"), name)
                .replace(&node.to_string(), name)
                .replace(&format!("@{:x}", node.0), &format!("@{name}")),
            None => sentence,
        })
    }
}

impl Replica {
    fn promised(&self, partition: Partition) -> Term {
        self.promised.get(&partition).and_then(BTreeSet::last).copied().unwrap_or(Term::ZERO)
    }

    fn has_promised(&self, partition: Partition, term: Term) -> bool {
        self.promised.get(&partition).is_some_and(|promised| promised.contains(&term))
    }

    fn promise(&mut self, partition: Partition, term: Term) {
        self.promised.entry(partition).or_default().insert(term);
    }

    fn check_comes_back_with(&self, layout: &Layout) -> Result<(), Wrong> {
        for (partition, promised) in &self.promised {
            let (config, last) = (layout.partition(*partition).config, promised.last());
            if let Some(term) = last.filter(|term| term.config > config) {
                let version = layout.version;
                let what =
                    format!("comes back with layout {version}, which has not the config of its promise");
                return Err(wrong(LAYOUTS, format!("{what}, term {term:?} of partition {partition}")));
            }
        }
        Ok(())
    }

    fn on_stood_by(&mut self, name: &ObjectName, term: Term, now: u64) -> Result<(), Wrong> {
        let partition = name.partition();
        let promised = self.promised(partition);
        if promised != term {
            let what =
                if promised > term { "although it has promised" } else { "and has promised no more than" };
            let sentence = format!("answers the leader of term {term:?}, {what} term {promised:?}");
            return Err(wrong(PROMISES, sentence));
        }
        self.stood_by.insert(name.clone(), (term, now));
        Ok(())
    }

    /// What it has acknowledged and a start did not find; what is damaged, and known to be, counts as found: no answer
    /// rests on it.
    fn missing(&self, promised: &[Term], holds: Option<&[Recovered]>) -> Option<String> {
        for (partition, term) in Partition::all().zip(promised) {
            let before = self.promised(partition);
            if *term < before {
                return Some(format!(
                    "had promised term {before:?} of partition {partition} and comes back with {term:?}"
                ));
            }
        }
        let found = by_name(holds?);
        self.holds.iter().find_map(|(name, before)| {
            let now = match found.get(name) {
                Some(None) => return None,
                Some(Some((ballot, _))) => *ballot,
                None => Ballot::ZERO,
            };
            let missing =
                || format!("had stored {name} under {before:?} and comes back with {}", or_nothing(now));
            (now < *before).then(missing)
        })
    }

    fn held(&self, name: &ObjectName) -> Ballot {
        self.holds.get(name).copied().unwrap_or(Ballot::ZERO)
    }

    fn on_accepted(
        &mut self,
        name: &ObjectName,
        partition: Partition,
        ballot: Ballot,
        installed: bool,
    ) -> Result<(), Wrong> {
        let (promised, held) = (self.promised(partition), self.held(name));
        if !installed && promised > ballot.term {
            return Err(wrong(
                PROMISES,
                format!("accepts {ballot:?} although it has promised term {promised:?}"),
            ));
        }
        if held >= ballot {
            return Err(wrong(KEPT, format!("stores {ballot:?} over {held:?}")));
        }
        if !installed {
            self.promise(partition, ballot.term);
        }
        self.holds.insert(name.clone(), ballot);
        Ok(())
    }

    fn on_told(&mut self, name: &ObjectName, ballot: Ballot) -> Result<(), Wrong> {
        let held = self.held(name);
        if ballot == Ballot::ZERO && !self.told_nothing.contains(name) {
            self.told_nothing.insert(name.clone());
        }
        match ballot.cmp(&held) {
            std::cmp::Ordering::Less => Err(wrong(
                KEPT,
                format!("says that it holds {}, but it has stored {held:?}", or_nothing(ballot)),
            )),
            std::cmp::Ordering::Greater if self.known => Err(wrong(
                NO_INVENTION,
                format!("says that it holds {ballot:?}, but it has stored {}", or_nothing(held)),
            )),
            _ => Ok(()),
        }
    }
}

fn by_name(holds: &[Recovered]) -> BTreeMap<&ObjectName, &Option<(Ballot, Record)>> {
    holds.iter().map(|recovered| (&recovered.name, &recovered.held)).collect()
}

fn or_nothing(ballot: Ballot) -> String {
    if ballot == Ballot::ZERO { "nothing".to_owned() } else { format!("{ballot:?}") }
}

/// A body, where there is one, is what its head says.
fn check_bytes(object: &Object) -> Result<(), Wrong> {
    let Some(body) = &object.body else { return Ok(()) };
    if body.len() as u64 != object.size {
        return Err(wrong(
            BYTES,
            format!("has a body of {} bytes whose head says {}", body.len(), object.size),
        ));
    }
    if *blake3::hash(body).as_bytes() != object.hash {
        return Err(wrong(BYTES, "has a body that does not have the hash that its head names"));
    }
    Ok(())
}
