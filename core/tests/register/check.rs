//! What must hold of one key in every state: of what was proposed, chosen and answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::error::Code;
use holdfast_core::history::{Effect, History, Seen};
use holdfast_core::ids::{NodeId, OpId};
use holdfast_core::record::Record;
use holdfast_core::register::{Answer, Attempt, Quorum, Request};
use holdfast_core::term::{Ballot, ConfigVersion, Version};

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
    /// A quorum read found this ballot, and under it an object of this version.
    Read(Ballot, Option<Version>),
    /// It may have happened, or happen yet.
    Unknown,
}

impl End {
    /// Whether it says anything of the key or the operation.
    pub fn says(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Answer(Answer::Unavailable))
    }

    pub fn of(answer: Answer) -> Self {
        match answer {
            Answer::OutcomeUnknown => Self::Unknown,
            // They say the same: this attempt proposed nothing.
            Answer::NotLeader(_) | Answer::Refused(Code::Overloaded) => Self::Answer(Answer::Unavailable),
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

    /// Every ballot that a majority of its own config ever accepted, lowest first.
    pub fn chosen<'q>(&self, quorum: impl Fn(ConfigVersion) -> &'q Quorum) -> Vec<(Ballot, Arc<Record>)> {
        let chosen = self
            .votes
            .iter()
            .filter(|(ballot, votes)| quorum(ballot.term.config).is_majority(|node| votes.contains(&node)));
        chosen.map(|(ballot, _)| (*ballot, self.records[ballot].clone())).collect()
    }

    /// Checks every chosen record against every proposal. Returns the current record.
    pub fn check<'q>(&self, quorum: impl Fn(ConfigVersion) -> &'q Quorum) -> Option<Arc<Record>> {
        let chosen = self.chosen(quorum);
        for (ballot, record) in &chosen {
            for (higher, later) in self.records.range(ballot..) {
                check_lineage((*ballot, record), (*higher, later));
            }
        }
        chosen.last().map(|(_, record)| record.clone())
    }
}

/// The Paxos invariant, for lineages: what is proposed above a chosen ballot was built on the chosen record.
pub fn check_lineage(chosen: (Ballot, &Record), proposed: (Ballot, &Record)) {
    assert!(
        chosen.0 > proposed.0 || is_successor(chosen.1, proposed.1),
        "{chosen:?} was chosen and is not in the lineage of {proposed:?}"
    );
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

/// An operation that took effect: its version, its id, and whether it left an object.
type Taken = (Version, OpId, bool);

/// What an answer says of the order of effects.
enum Said {
    Nothing,
    /// This operation took effect.
    Took(OpId),
    /// The object had this version at some moment of the call; `None`: there was none, whatever the tombstone.
    Saw(Option<Version>),
    /// There was no object at some moment of the call, but this tombstone; `None`: nothing was ever written.
    Missed(Option<Version>),
}

/// Whether what the clients were told is what one copy, used by one client at a time, could have told them. The order of
/// the effects is known: it is that of their versions in the current record's history.
pub fn check_answers(current: Option<&Record>, calls: &[Call]) {
    let history = current.map(|record| record.history.clone()).unwrap_or_default();
    let effects = effects_of(&history, calls);
    // How many effects had taken place when a call did, as few as possible.
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    let mut order: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].end.is_some()).collect();
    order.sort_by_key(|at| calls[*at].after.len());
    for at in order {
        let call = &calls[at];
        let lowest = call.after.iter().filter_map(|before| places.get(before)).copied().max().unwrap_or(0);
        let version_at = |place: usize| match place.checked_sub(1).map(|at| effects[at]) {
            Some((version, _, true)) => Some(version),
            Some((_, _, false)) | None => None,
        };
        let place = match said(calls, at, &history) {
            Said::Nothing => continue,
            // An earlier attempt may have brought it about: what came before all attempts is checked below.
            Said::Took(op) => effects.iter().position(|(_, of, _)| *of == op).map(|at| at + 1),
            Said::Saw(version) => (lowest..=effects.len()).find(|place| version_at(*place) == version),
            Said::Missed(tombstone) => (lowest..=effects.len()).find(|place| match place.checked_sub(1) {
                Some(at) => !effects[at].2 && Some(effects[at].0) == tombstone,
                // A fence on a key that was never written leaves a tombstone of its own.
                None => !effects.iter().any(|(version, ..)| Some(*version) == tombstone),
            }),
        };
        let Some(place) = place else {
            panic!("{call:?} saw what was over before it began; effects {effects:?}, calls {calls:#?}")
        };
        places.insert(at, place);
    }
    check_order(&effects, calls, &places);
    check_reads(calls);
}

fn effects_of(history: &History, calls: &[Call]) -> Vec<Taken> {
    let mut effects = Vec::new();
    for (op, effect) in history.entries() {
        let asked = |call: &Call| call.begun && call.request.as_ref().and_then(op_of) == Some(*op);
        assert!(calls.iter().any(asked), "{op:?} was never asked for");
        match effect {
            Effect::Put(version) => effects.push((*version, *op, true)),
            Effect::Deleted(version) => effects.push((*version, *op, false)),
            Effect::Fenced => {}
        }
    }
    effects.sort_unstable();
    let rising = effects.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(rising, "two effects under one version: {effects:?}");
    effects
}

/// Checks what a call's end says of its operation, and returns what it says of the order.
fn said(calls: &[Call], at: usize, history: &History) -> Said {
    let call = &calls[at];
    let answer = match call.end.as_ref().expect("only ended calls are asked") {
        End::Unknown => return Said::Nothing,
        End::Read(_, version) => return Said::Saw(*version),
        End::Answer(answer) => answer,
    };
    let op = call.request.as_ref().and_then(op_of);
    let effect = op.map_or(Seen::Never, |op| history.seen(op));
    let took = |so: bool| {
        assert!(so, "{effect:?} is what became of {call:?}");
        Said::Took(op.expect("it has an effect"))
    };
    match answer {
        Answer::Put { version, .. } => took(effect == Seen::Known(Effect::Put(*version))),
        Answer::Deleted { found: true, version } => {
            took(matches!(effect, Seen::Known(Effect::Deleted(of)) if Some(of) == *version))
        }
        Answer::Committed(version) => {
            took(matches!(effect, Seen::Known(Effect::Put(of) | Effect::Deleted(of)) if of == *version))
        }
        Answer::Fenced | Answer::Refused(Code::Fenced) => {
            assert_eq!(effect, Seen::Known(Effect::Fenced), "{call:?}");
            Said::Nothing
        }
        Answer::Deleted { found: false, version } => {
            check_refused(calls, at, history);
            Said::Missed(*version)
        }
        Answer::ConditionFailed { object, tombstone } => {
            let holds = call.request.as_ref().is_some_and(|request| condition_of(request).holds(*object));
            assert!(!holds, "refused though the condition holds: {call:?}");
            assert!(object.is_none() || tombstone.is_none(), "an object and a tombstone: {call:?}");
            check_refused(calls, at, history);
            object.map_or(Said::Missed(*tombstone), |version| Said::Saw(Some(version)))
        }
        Answer::Unavailable => {
            check_refused(calls, at, history);
            Said::Nothing
        }
        Answer::Chosen(found) => Said::Saw(found.as_ref().and_then(|(_, record)| record.object_version())),
        other => panic!("nothing here is answered {other:?}"),
    }
}

/// No effect before its operation was first asked for.
fn check_order(effects: &[Taken], calls: &[Call], places: &BTreeMap<usize, usize>) {
    for (index, (_, op, _)) in effects.iter().enumerate() {
        let of_op = |call: &&Call| call.begun && call.request.as_ref().and_then(writes) == Some(*op);
        let mut attempts = calls.iter().filter(of_op);
        let first = attempts.next().expect("it was asked for").after.clone();
        let before_all = attempts.fold(first, |all, call| all.intersection(&call.after).copied().collect());
        for before in before_all {
            let early = places.get(&before).is_none_or(|place| *place < index + 1);
            assert!(early, "{op:?} had an effect before it was asked for: {:?} in {calls:#?}", calls[before]);
        }
    }
}

/// Quorum reads, one after the other, never go back, also where the object is the same.
fn check_reads(calls: &[Call]) {
    for call in calls {
        let Some(End::Read(ballot, _)) = &call.end else { continue };
        for before in &call.after {
            if let Some(End::Read(earlier, _)) = &calls[*before].end {
                assert!(earlier <= ballot, "a read went back from {earlier:?} to {ballot:?}");
            }
        }
    }
}

/// A refusal stays true: the operation has no effect, now or later. Nor has one that was unavailable at every attempt.
fn check_refused(calls: &[Call], at: usize, history: &History) {
    let (op, attempt) = match calls[at].request.as_ref() {
        Some(Request::Put { op, attempt, .. } | Request::Delete { op, attempt, .. }) => (*op, *attempt),
        _ => return,
    };
    let unavailable = |call: &Call| call.end == Some(End::Answer(Answer::Unavailable));
    let mut others = attempts_besides(calls, at, op);
    let holds = if unavailable(&calls[at]) {
        others.all(unavailable)
    } else {
        attempt == Attempt::Again || others.next().is_none()
    };
    let effect = history.seen(op);
    let without = matches!(effect, Seen::Never | Seen::Known(Effect::Fenced));
    assert!(!holds || without, "it took effect: {effect:?}, {:?}", calls[at]);
}

fn attempts_besides(calls: &[Call], at: usize, op: OpId) -> impl Iterator<Item = &Call> {
    let others = calls.iter().enumerate().filter(move |(other, call)| *other != at && call.begun);
    others.map(|(_, call)| call).filter(move |call| call.request.as_ref().and_then(writes) == Some(op))
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
