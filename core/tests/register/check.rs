//! What must hold of one key in every state: of what was proposed, chosen and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::error::Code;
use holdfast_core::history::{Effect, Seen};
use holdfast_core::ids::{NodeId, OpId};
use holdfast_core::record::Record;
use holdfast_core::register::{Answer, Attempt, Quorum, Request};
use holdfast_core::term::{Ballot, Version};

/// Everything that was ever proposed for a key, and who ever acknowledged it. Nothing is taken out.
#[derive(Clone, Default)]
pub struct Proposals {
    records: BTreeMap<Ballot, Arc<Record>>,
    votes: BTreeMap<Ballot, BTreeSet<NodeId>>,
}

/// One call of a client: to a leader, or a quorum read.
#[derive(Clone, Debug)]
pub struct Call {
    /// `None`: a quorum read.
    pub request: Option<Request>,
    pub begun: bool,
    /// `None`: none yet, or one that says nothing.
    pub end: Option<End>,
    /// The calls (by position) that had ended when this one began.
    pub after: BTreeSet<usize>,
}

/// What a call ended with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// A leader's answer that says something.
    Answer(Answer),
    /// A quorum read found this ballot.
    Read(Ballot),
    /// It ended without saying anything: it may have happened, now or later.
    Unknown,
}

impl End {
    pub fn of(answer: Answer) -> Self {
        match answer {
            Answer::NotLeader(_) | Answer::OutcomeUnknown | Answer::Refused(Code::Overloaded) => {
                Self::Unknown
            }
            answer => Self::Answer(answer),
        }
    }
}

impl Proposals {
    pub fn on_accept(&mut self, ballot: Ballot, record: &Arc<Record>) {
        let known = self.records.entry(ballot).or_insert_with(|| record.clone());
        assert_eq!(known, record, "two records under ballot {ballot:?}");
    }

    pub fn on_vote(&mut self, ballot: Ballot, from: NodeId) {
        self.votes.entry(ballot).or_default().insert(from);
    }

    pub fn record(&self, ballot: Ballot) -> Option<&Arc<Record>> {
        self.records.get(&ballot)
    }

    /// Every ballot that a majority ever accepted, lowest first.
    pub fn chosen(&self, quorum: &Quorum) -> Vec<(Ballot, Arc<Record>)> {
        let chosen = self.votes.iter().filter(|(_, votes)| quorum.is_majority(|node| votes.contains(&node)));
        chosen.map(|(ballot, _)| (*ballot, self.records[ballot].clone())).collect()
    }

    /// The Paxos invariant, for lineages: what is proposed above a chosen ballot was built on it. Returns the current
    /// record.
    pub fn check(&self, quorum: &Quorum) -> Option<Arc<Record>> {
        let chosen = self.chosen(quorum);
        for (ballot, record) in &chosen {
            for (higher, later) in self.records.range(ballot..) {
                assert!(
                    is_successor(record, later),
                    "{record:?} was chosen at {ballot:?} and is not in the lineage of {higher:?}: {later:?}"
                );
            }
        }
        chosen.last().map(|(_, record)| record.clone())
    }
}

/// Whether `later` is `earlier` itself or was built on it. Each mutation leaves its op id in the history, so the
/// history is the lineage as long as nothing is forgotten.
fn is_successor(earlier: &Record, later: &Record) -> bool {
    let kept = earlier.history.entries().iter().all(|(op, effect)| match later.history.seen(*op) {
        Seen::Known(now) => now == *effect,
        Seen::Forgotten(_) => true,
        Seen::Never => false,
    });
    let same_state = if earlier.version == later.version {
        earlier.state == later.state
    } else {
        earlier.version < later.version
    };
    kept && same_state && earlier.history.floor() <= later.history.floor()
}

/// Whether what the clients were told is what one copy, used by one client at a time, could have told them. The order of
/// the effects is known: it is that of their versions in the current record's history.
pub fn check_answers(proposals: &Proposals, quorum: &Quorum, calls: &[Call]) {
    let current = proposals.check(quorum);
    let history = current.map(|record| record.history.clone()).unwrap_or_default();
    let mut effects: Vec<(Version, OpId, bool)> = Vec::new();
    for (op, effect) in history.entries() {
        let begun = calls
            .iter()
            .any(|call| call.begun && call.request.as_ref().is_some_and(|r| op_of(r) == Some(*op)));
        assert!(begun, "{op:?} was never asked for");
        match effect {
            Effect::Put(version) => effects.push((*version, *op, true)),
            Effect::Deleted(version) => effects.push((*version, *op, false)),
            Effect::Fenced => {}
        }
    }
    effects.sort();
    assert!(
        effects.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "two effects under one version: {effects:?}"
    );
    let seen = |op| history.seen(op);
    let effect_index = |op: OpId| effects.iter().position(|(_, of, _)| *of == op).map(|at| at + 1);

    // Where in the order of effects each call that ended took place, as early as possible; `None`: anywhere.
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    let mut order: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].end.is_some()).collect();
    order.sort_by_key(|at| calls[*at].after.len());
    for at in order {
        let call = &calls[at];
        let op = call.request.as_ref().and_then(op_of);
        let lowest = call.after.iter().filter_map(|before| places.get(before)).copied().max().unwrap_or(0);
        let wanted: Option<Option<Version>> = match call.end.as_ref().expect("only ended calls are in order")
        {
            End::Unknown => continue,
            End::Read(ballot) if *ballot == Ballot::ZERO => Some(None),
            End::Read(ballot) => Some(proposals.record(*ballot).expect("it was read").object_version()),
            End::Answer(answer) => match answer {
                Answer::Put { version, .. } => {
                    let op = op.expect("a put has an op id");
                    assert_eq!(seen(op), Seen::Known(Effect::Put(*version)), "the answer of {call:?}");
                    None
                }
                Answer::Deleted(true) => {
                    let effect = seen(op.expect("a delete has an op id"));
                    assert!(matches!(effect, Seen::Known(Effect::Deleted(_))), "{effect:?} for {call:?}");
                    None
                }
                Answer::Committed(version) => {
                    let effect = seen(op.expect("it was asked about an op id"));
                    let same = matches!(effect, Seen::Known(Effect::Put(of) | Effect::Deleted(of)) if of == *version);
                    assert!(same, "{effect:?} for {call:?}");
                    None
                }
                Answer::Fenced => {
                    assert_eq!(
                        seen(op.expect("an op id")),
                        Seen::Known(Effect::Fenced),
                        "the answer of {call:?}"
                    );
                    continue;
                }
                Answer::Deleted(false) => {
                    check_refused(calls, at, &history);
                    Some(None)
                }
                Answer::Refused(Code::ConditionFailed(version)) => {
                    let holds = call.request.as_ref().is_some_and(|r| condition_of(r).holds(*version));
                    assert!(!holds, "refused though the condition holds: {call:?}");
                    check_refused(calls, at, &history);
                    Some(*version)
                }
                Answer::Refused(Code::StaleOpId(op)) => {
                    assert!(
                        !matches!(seen(*op), Seen::Known(Effect::Put(_) | Effect::Deleted(_))),
                        "{call:?}"
                    );
                    continue;
                }
                Answer::Unavailable => {
                    let op = op.filter(|op| only_attempt(calls, at, *op));
                    assert!(op.is_none_or(|op| seen(op) == Seen::Never), "it happened: {call:?}");
                    continue;
                }
                Answer::Chosen(found) => Some(found.as_ref().and_then(|(_, record)| record.object_version())),
                other => panic!("no leader answers {other:?} here"),
            },
        };
        let version_at = |place: usize| match place.checked_sub(1).map(|at| effects[at]) {
            Some((version, _, true)) => Some(version),
            Some((_, _, false)) | None => None,
        };
        let place = match wanted {
            // An earlier attempt may have brought it about: what came before all attempts is checked below.
            None => effect_index(op.expect("it has an effect")),
            Some(version) => (lowest..=effects.len()).find(|place| version_at(*place) == version),
        };
        let Some(place) = place else {
            panic!("{call:?} saw what was over before it began; effects {effects:?}, calls {calls:#?}")
        };
        places.insert(at, place);
    }
    // No effect before its operation was first asked for.
    for (index, (_, op, _)) in effects.iter().enumerate() {
        let mut attempts = calls
            .iter()
            .filter(|call| call.begun && call.request.as_ref().is_some_and(|r| writes(r) == Some(*op)));
        let first = attempts.next().expect("it was asked for").after.clone();
        let before_all = attempts.fold(first, |all, call| all.intersection(&call.after).copied().collect());
        for before in before_all {
            let early = places.get(&before).is_none_or(|place| *place < index + 1);
            assert!(
                early,
                "{op:?} came into effect before it was asked for, seen by {:?}: {calls:#?}",
                calls[before]
            );
        }
    }
    check_reads(calls);
}

/// Quorum reads, one after the other, never go back, also where the object is the same.
fn check_reads(calls: &[Call]) {
    for call in calls {
        let Some(End::Read(ballot)) = &call.end else { continue };
        for before in &call.after {
            if let Some(End::Read(earlier)) = &calls[*before].end {
                assert!(earlier <= ballot, "a read went back from {earlier:?} to {ballot:?}");
            }
        }
    }
}

/// A refusal stays true: the operation has no effect, now or later.
fn check_refused(calls: &[Call], at: usize, history: &holdfast_core::history::History) {
    let (op, attempt) = match calls[at].request.as_ref() {
        Some(Request::Put { op, attempt, .. } | Request::Delete { op, attempt, .. }) => (*op, *attempt),
        other => panic!("{other:?} cannot be refused"),
    };
    if attempt == Attempt::Again || only_attempt(calls, at, op) {
        let effect = history.seen(op);
        let without = matches!(effect, Seen::Never | Seen::Known(Effect::Fenced));
        assert!(without, "refused, and it took effect: {effect:?}, {:?}", calls[at]);
    }
}

fn only_attempt(calls: &[Call], at: usize, op: OpId) -> bool {
    calls
        .iter()
        .enumerate()
        .all(|(other, call)| other == at || !call.begun || call.request.as_ref().and_then(writes) != Some(op))
}

/// The operation that a request may carry out.
pub fn writes(request: &Request) -> Option<OpId> {
    match request {
        Request::Put { op, .. } | Request::Delete { op, .. } => Some(*op),
        Request::Outcome { .. } | Request::Resolve => None,
    }
}

fn op_of(request: &Request) -> Option<OpId> {
    match request {
        Request::Put { op, .. } | Request::Delete { op, .. } | Request::Outcome { op, .. } => Some(*op),
        Request::Resolve => None,
    }
}

fn condition_of(request: &Request) -> Condition {
    match request {
        Request::Put { condition, .. } | Request::Delete { condition, .. } => *condition,
        Request::Outcome { .. } | Request::Resolve => Condition::Always,
    }
}
