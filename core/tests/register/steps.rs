//! Step tests of the leader: one event, its exact effects.

mod caught_up;
mod limits;

use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::error::Code;
use holdfast_core::history::{Effect as OpEffect, HISTORY_ENTRIES_MAX, History, Seen};
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::record::{Record, State};
use holdfast_core::register::Attempt::{Again, Only};
use holdfast_core::register::leader::{
    AcceptReply, LearnReply, ORPHANS_MAX, QUEUE_MAX, SLOTS_MAX, SLOTS_REMEMBERED_MAX,
};
use holdfast_core::register::{Answer, Digest, Effect, Leader, Request, Token};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

use crate::world::{delete, node, object, outcome, put, quorum};

type Held = Option<(Ballot, Arc<Record>)>;

/// The leader of node 0 among three, on one key.
struct Bench {
    leader: Leader,
    name: ObjectName,
    tokens: u64,
}

fn term(round: u64, leader: usize) -> Term {
    Term { config: ConfigVersion(1), round, node: node(leader) }
}

fn ballot(round: u64, leader: usize, seq: u64) -> Ballot {
    Ballot { term: term(round, leader), seq }
}

/// What `op`'s put wrote under `at`, on an empty key.
fn written(op: u128, at: Ballot) -> Arc<Record> {
    let version = Version(at);
    let history = History::from_parts([(OpId(op), OpEffect::Put(version))], OpId(0));
    Arc::new(Record { version, state: State::Object((*object(op)).clone()), history })
}

/// What node 1 left behind: op 7, under the second ballot of its term 1.
fn left_behind() -> (Ballot, Arc<Record>) {
    (ballot(1, 1, 2), written(7, ballot(1, 1, 2)))
}

fn head((ballot, record): &(Ballot, Arc<Record>)) -> Held {
    Some((*ballot, Arc::new(record.head())))
}

fn answer(token: u64, answer: Answer) -> Vec<Effect> {
    vec![Effect::Answer { token: Token(token), answer }]
}

impl Bench {
    fn standby() -> Self {
        let leader = Leader::new(node(0), quorum(1, &[0, 1, 2], None), term(1, 1));
        Self { leader, name: ObjectName::new("b", "k").expect("a name"), tokens: 0 }
    }

    /// Leads in term 2.
    fn leading() -> Self {
        let mut bench = Self::standby();
        bench.leader.campaign(&mut Vec::new());
        bench.promised(0, term(2, 0));
        bench.promised(1, term(2, 0));
        assert_eq!(bench.leader.leading(), Some(term(2, 0)));
        bench
    }

    /// Leads, and `op`'s put was chosen under the second ballot of its term.
    fn warm(op: u128) -> Self {
        let mut bench = Self::leading();
        bench.begin(put(op, Only, Condition::Always));
        bench.learned(0, 1, None);
        bench.learned(1, 1, None);
        bench.accepted(0, 2);
        let version = Version(ballot(2, 0, 2));
        let modified_unix_ms = Some(op as u64);
        assert_eq!(bench.accepted(1, 2), answer(1, Answer::Put { version, modified_unix_ms }));
        bench
    }

    /// Leads, asked by `request` about a key of which replica 0 holds what node 1 left behind, and replica 2 nothing.
    fn proposed(request: Request) -> (Self, Vec<Effect>) {
        let mut bench = Self::leading();
        bench.begin(request);
        bench.learned(2, 1, None);
        let effects = bench.learned(0, 1, head(&left_behind()));
        (bench, effects)
    }

    fn of(&mut self, step: impl FnOnce(&mut Leader, &ObjectName, &mut Vec<Effect>)) -> Vec<Effect> {
        let mut effects = Vec::new();
        step(&mut self.leader, &self.name, &mut effects);
        effects
    }

    fn begin(&mut self, request: Request) -> Vec<Effect> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.of(|leader, name, effects| leader.begin(token, name, request, effects))
    }

    /// Every replica holds something else: the leader must learn.
    fn promised(&mut self, from: usize, promised: Term) -> Vec<Effect> {
        self.promised_holding(from, promised, from)
    }

    fn promised_holding(&mut self, from: usize, promised: Term, holds: usize) -> Vec<Effect> {
        let holds = Digest(holds as u128);
        self.of(|leader, _, effects| leader.on_promised(node(from), promised, holds, effects))
    }

    fn learned(&mut self, from: usize, question: u64, held: Held) -> Vec<Effect> {
        self.reply(from, question, LearnReply::Holds(held))
    }

    fn reply(&mut self, from: usize, question: u64, reply: LearnReply) -> Vec<Effect> {
        self.of(|leader, name, effects| {
            leader.on_learned(node(from), name, term(2, 0), question, reply, effects);
        })
    }

    fn accepted(&mut self, from: usize, seq: u64) -> Vec<Effect> {
        self.voted(from, seq, AcceptReply::Accepted)
    }

    fn voted(&mut self, from: usize, seq: u64, reply: AcceptReply) -> Vec<Effect> {
        self.of(|leader, name, effects| {
            leader.on_accepted(node(from), name, ballot(2, 0, seq), reply, effects);
        })
    }

    fn expired(&mut self, token: u64) -> Vec<Effect> {
        self.of(|leader, _, effects| leader.on_expired(Token(token), effects))
    }

    /// Two ticks: when it is quiet, the second sends again.
    fn ticks(&mut self) -> Vec<Effect> {
        self.of(|leader, _, effects| {
            leader.on_tick(effects);
            assert_eq!(effects, &[], "too early");
            leader.on_tick(effects);
        })
    }

    fn learns(&self, to: &[usize], question: u64, with_body: bool) -> Vec<Effect> {
        let learn = |to: &usize| {
            let (to, name) = (node(*to), self.name.clone());
            Effect::Learn { to, name, term: term(2, 0), question, with_body }
        };
        to.iter().map(learn).collect()
    }

    fn accepts(&self, to: &[usize], seq: u64, record: &Arc<Record>) -> Vec<Effect> {
        let accept = |to: &usize| Effect::Accept {
            to: node(*to),
            name: self.name.clone(),
            ballot: ballot(2, 0, seq),
            record: record.clone(),
        };
        to.iter().map(accept).collect()
    }
}

fn prepares(to: &[usize], term: Term) -> Vec<Effect> {
    to.iter().map(|to| Effect::Prepare { to: node(*to), term }).collect()
}

fn failed(version: Option<Version>) -> Answer {
    Answer::ConditionFailed { object: version, tombstone: None }
}

#[test]
fn the_first_request_takes_over_above_every_term_heard_of() {
    let mut bench = Bench::standby();
    assert_eq!(bench.begin(Request::Resolve), prepares(&[0, 1, 2], term(2, 0)));
    assert_eq!(bench.begin(Request::Resolve), [], "it is on its way");
    assert_eq!(bench.promised(1, term(2, 0)), []);
    assert_eq!(bench.ticks(), prepares(&[0, 2], term(2, 0)));
    assert_eq!(bench.promised(2, term(2, 0)), [], "its own disk could still forget the term");
    assert_eq!(bench.promised(0, term(2, 0)), bench.learns(&[0, 1, 2], 1, false));
}

#[test]
fn no_voter_and_no_outdated_config_takes_over() {
    let mut outsider = Bench::standby();
    outsider.leader = Leader::new(node(3), quorum(1, &[0, 1, 2], None), term(4, 2));
    assert_eq!(outsider.begin(Request::Resolve), answer(1, Answer::NotLeader(term(4, 2))));

    // It was told of config 2, and knows only the voters of config 1: its majorities would be the wrong ones.
    let mut outdated = Bench::leading();
    let newer = Term { config: ConfigVersion(2), round: 1, node: node(3) };
    assert_eq!(outdated.promised(1, newer), []);
    assert_eq!(outdated.begin(Request::Resolve), answer(1, Answer::NotLeader(newer)));
}

#[test]
fn a_moving_partition_needs_both_majorities() {
    let mut bench = Bench::standby();
    bench.leader = Leader::new(node(0), quorum(1, &[0, 1, 2], Some(&[2, 3, 4])), term(1, 1));
    assert_eq!(bench.begin(Request::Resolve), prepares(&[0, 1, 2, 3, 4], term(2, 0)));
    for from in [0, 1, 3] {
        assert_eq!(bench.promised(from, term(2, 0)), []);
    }
    assert_eq!(bench.promised(4, term(2, 0)), bench.learns(&[0, 1, 2, 3, 4], 1, false));
}

#[test]
fn a_cold_key_is_learnt_and_a_warm_one_is_not() {
    let mut bench = Bench::leading();
    assert_eq!(bench.begin(put(1, Only, Condition::Always)), bench.learns(&[0, 1, 2], 1, false));
    assert_eq!(bench.learned(2, 1, None), []);
    let record = written(1, ballot(2, 0, 2));
    assert_eq!(bench.learned(0, 1, None), bench.accepts(&[0, 1, 2], 2, &record));
    assert_eq!(bench.learned(1, 1, None), [], "too late to matter");
    assert_eq!(bench.accepted(0, 2), []);
    assert_eq!(bench.accepted(0, 2), [], "the same replica does not count twice");
    assert_eq!(bench.ticks(), bench.accepts(&[1, 2], 2, &record));
    let chosen = Answer::Put { version: record.version, modified_unix_ms: Some(1) };
    assert_eq!(bench.accepted(2, 2), answer(1, chosen));

    let effects = bench.begin(put(2, Only, Condition::IfVersion(record.version)));
    let Effect::Accept { record: next, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(effects, bench.accepts(&[0, 1, 2], 3, next));
    assert_eq!(next.history.seen(OpId(1)), Seen::Known(OpEffect::Put(record.version)));
}

#[test]
fn answers_to_an_older_question_do_not_count() {
    let mut bench = Bench::leading();
    bench.begin(Request::Resolve);
    assert_eq!(bench.expired(1), answer(1, Answer::Unavailable));
    assert_eq!(bench.begin(Request::Resolve), bench.learns(&[0, 1, 2], 2, false));
    assert_eq!(bench.learned(0, 1, None), []);
    assert_eq!(bench.learned(1, 1, None), []);
    assert_eq!(bench.learned(1, 2, None), []);
    assert_eq!(bench.ticks(), bench.learns(&[0, 2], 2, false));
    assert_eq!(bench.learned(0, 2, None), answer(2, Answer::Chosen(None)));
}

/// A leader that was deposed while it rested answered from memory: an object that was deleted since, an absence that
/// was written since. Found in review.
#[test]
fn what_it_remembers_is_confirmed_before_it_refuses() {
    let version = Version(ballot(2, 0, 2));
    for (request, expected) in [
        (put(2, Only, Condition::IfAbsent), failed(Some(version))),
        (delete(2, Only, Condition::IfVersion(Version(ballot(1, 1, 1)))), failed(Some(version))),
        (Request::Resolve, Answer::Chosen(head(&(ballot(2, 0, 2), written(1, ballot(2, 0, 2)))))),
    ] {
        let mut bench = Bench::warm(1);
        assert_eq!(bench.begin(request.clone()), bench.learns(&[0, 1, 2], 3, false));
        assert_eq!(bench.learned(2, 3, None), []);
        let held = head(&(ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
        assert_eq!(bench.learned(0, 3, held), answer(2, expected), "it is chosen, whoever else holds it");

        let mut deposed = Bench::warm(1);
        deposed.begin(request);
        let effects = deposed.reply(1, 3, LearnReply::Refused(term(3, 1)));
        assert_eq!(effects, answer(2, Answer::NotLeader(term(3, 1))));
    }
}

#[test]
fn requests_that_waited_share_one_confirmation() {
    let mut bench = Bench::warm(1);
    bench.begin(put(2, Only, Condition::IfAbsent));
    assert_eq!(bench.begin(put(3, Only, Condition::IfAbsent)), []);
    let held = || head(&(ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
    bench.learned(0, 3, held());
    let refused = failed(Some(Version(ballot(2, 0, 2))));
    let mut effects = answer(2, refused.clone());
    // The third came after the question was asked.
    effects.extend(bench.learns(&[0, 1, 2], 4, false));
    assert_eq!(bench.learned(1, 3, held()), effects);
    bench.learned(0, 4, held());
    assert_eq!(bench.learned(1, 4, held()), answer(3, refused));
}

#[test]
fn a_condition_that_fails_on_a_proposal_is_answered_once_that_is_chosen() {
    let left = left_behind();
    let (mut bench, effects) = Bench::proposed(put(1, Only, Condition::IfAbsent));
    assert_eq!(effects, bench.learns(&[0, 1, 2], 2, true), "only its head is known");
    assert_eq!(bench.learned(0, 2, Some(left.clone())), bench.accepts(&[0, 1, 2], 3, &left.1));
    assert_eq!(bench.accepted(0, 3), []);
    assert_eq!(bench.accepted(1, 3), answer(1, failed(Some(left.1.version))));
}

#[test]
fn a_put_is_built_on_a_proposal_without_its_body() {
    let (bench, effects) = Bench::proposed(put(9, Only, Condition::IfPresent));
    let version = Version(ballot(2, 0, 2));
    let mut record = Record::clone(&written(9, ballot(2, 0, 2)));
    record.history = left_behind().1.history.clone();
    record.history.push(OpId(9), OpEffect::Put(version));
    assert_eq!(effects, bench.accepts(&[0, 1, 2], 2, &Arc::new(record)));
}

/// The only holder of a half-written record died: the key was stuck for as long as the leader led. Found in review.
#[test]
fn a_proposal_whose_holder_is_gone_is_given_up_when_a_majority_lacks_it() {
    let (mut bench, effects) = Bench::proposed(Request::Resolve);
    assert_eq!(effects, bench.learns(&[0, 1, 2], 2, true));
    assert_eq!(bench.learned(1, 2, None), []);
    assert_eq!(bench.ticks(), bench.learns(&[0, 2], 2, true));
    assert_eq!(bench.learned(2, 2, None), answer(1, Answer::Chosen(None)));
}

#[test]
fn an_op_id_that_took_effect_is_answered_again() {
    let mut bench = Bench::warm(1);
    bench.begin(put(1, Again, Condition::IfAbsent));
    let held = || head(&(ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
    bench.learned(0, 3, held());
    let again = Answer::Put { version: Version(ballot(2, 0, 2)), modified_unix_ms: Some(1) };
    assert_eq!(bench.learned(1, 3, held()), answer(2, again));

    // Half written by node 1: completed under its first version.
    let left = left_behind();
    let (mut bench, _) = Bench::proposed(put(7, Again, Condition::IfAbsent));
    bench.learned(0, 2, Some(left.clone()));
    bench.accepted(0, 3);
    let again = Answer::Put { version: left.1.version, modified_unix_ms: Some(7) };
    assert_eq!(bench.accepted(2, 3), answer(1, again));
}

#[test]
fn a_forgotten_op_id_is_refused_at_once() {
    let at = ballot(1, 1, 40);
    let mut record = Record::clone(&written(100, at));
    for op in 101..100 + HISTORY_ENTRIES_MAX as u128 + 1 {
        record.history.push(OpId(op), OpEffect::Fenced);
    }
    let held = Some((at, Arc::new(record)));
    for (request, expected) in [
        (put(100, Again, Condition::Always), Answer::Refused(Code::StaleOpId(OpId(100)))),
        (put(3, Only, Condition::Always), Answer::Refused(Code::StaleOpId(OpId(100)))),
        (outcome(100), Answer::Forgotten),
    ] {
        let mut bench = Bench::leading();
        bench.begin(request);
        bench.learned(0, 1, held.clone());
        assert_eq!(
            bench.learned(1, 1, None),
            answer(1, expected),
            "true whether that record is chosen or not"
        );
    }
}

/// An earlier attempt, half written at a minority, was completed after its retry had been refused. Found in review.
#[test]
fn a_refused_retry_is_fenced_before_it_is_answered() {
    let mut bench = Bench::leading();
    bench.begin(put(1, Again, Condition::IfPresent));
    bench.learned(0, 1, None);
    let history = History::from_parts([(OpId(1), OpEffect::Fenced)], OpId(0));
    let (version, state) = (Version(ballot(2, 0, 2)), State::Tombstone { deleted_unix_ms: 1 });
    let fence = Arc::new(Record { version, state, history });
    assert_eq!(bench.learned(1, 1, None), bench.accepts(&[0, 1, 2], 2, &fence));
    bench.accepted(0, 2);
    assert_eq!(bench.accepted(2, 2), answer(1, failed(None)));
}

#[test]
fn deleting_nothing_says_so() {
    let mut only = Bench::leading();
    only.begin(delete(1, Only, Condition::Always));
    only.learned(0, 1, None);
    assert_eq!(only.learned(1, 1, None), answer(1, Answer::Deleted { found: false, version: None }));

    let mut again = Bench::leading();
    again.begin(delete(1, Again, Condition::Always));
    again.learned(0, 1, None);
    assert_eq!(again.learned(1, 1, None).len(), 3, "the fence goes to every voter");
    again.accepted(0, 2);
    assert_eq!(again.accepted(1, 2), answer(1, Answer::Deleted { found: false, version: None }));
}

#[test]
fn an_outcome_is_committed_or_fenced_for_good() {
    let mut bench = Bench::warm(1);
    let held = || head(&(ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
    bench.begin(outcome(1));
    bench.learned(0, 3, held());
    assert_eq!(bench.learned(1, 3, held()), answer(2, Answer::Committed(Version(ballot(2, 0, 2)))));

    // Op 2 never came. The object is known as a head only: its body comes first.
    assert_eq!(bench.begin(outcome(2)), bench.learns(&[0, 1, 2], 4, true));
    let mut fenced = Record::clone(&written(1, ballot(2, 0, 2)));
    fenced.history.push(OpId(2), OpEffect::Fenced);
    let whole = Some((ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
    assert_eq!(bench.learned(1, 4, held()), [], "a copy without the body does not help");
    assert_eq!(bench.learned(2, 4, whole), bench.accepts(&[0, 1, 2], 5, &Arc::new(fenced)));
    bench.accepted(0, 5);
    assert_eq!(bench.accepted(1, 5), answer(3, Answer::Fenced));

    // Its put comes late.
    bench.begin(put(2, Only, Condition::Always));
    let held = || {
        let mut record = Record::clone(&written(1, ballot(2, 0, 2)));
        record.history.push(OpId(2), OpEffect::Fenced);
        head(&(ballot(2, 0, 5), Arc::new(record)))
    };
    bench.learned(0, 6, held());
    assert_eq!(bench.learned(1, 6, held()), answer(4, Answer::Refused(Code::Fenced)));
}

#[test]
fn a_higher_term_ends_it_in_each_phase() {
    let over = |token| answer(token, Answer::NotLeader(term(3, 2)));

    let mut preparing = Bench::standby();
    preparing.begin(Request::Resolve);
    assert_eq!(preparing.promised(1, term(3, 2)), over(1));

    let mut learning = Bench::leading();
    learning.begin(Request::Resolve);
    assert_eq!(learning.reply(1, 1, LearnReply::Refused(term(3, 2))), over(1));

    let mut installed = Bench::leading();
    installed.begin(Request::Resolve);
    let newer = (ballot(3, 2, 1), written(5, ballot(3, 2, 1)));
    assert_eq!(installed.learned(1, 1, head(&newer)), over(1), "a chosen record came before its promise");

    let (mut fetching, _) = Bench::proposed(Request::Resolve);
    assert_eq!(fetching.reply(0, 2, LearnReply::Refused(term(3, 2))), over(1));

    for reply in [AcceptReply::Refused(term(3, 2)), AcceptReply::Superseded(ballot(3, 2, 1))] {
        let mut accepting = Bench::leading();
        accepting.begin(put(1, Only, Condition::Always));
        accepting.learned(0, 1, None);
        accepting.learned(1, 1, None);
        accepting.begin(Request::Resolve);
        let mut effects = answer(1, Answer::OutcomeUnknown);
        effects.extend(over(2));
        assert_eq!(accepting.voted(1, 2, reply), effects, "what was proposed may yet be completed");
        assert_eq!(accepting.leader.leading(), None);
        assert_eq!(
            accepting.begin(Request::Resolve),
            prepares(&[0, 1, 2], term(4, 0)),
            "above what it heard of"
        );
    }
}

#[test]
fn replies_from_the_past_do_not_end_it() {
    let mut bench = Bench::leading();
    bench.begin(put(1, Only, Condition::Always));
    bench.learned(0, 1, None);
    bench.learned(1, 1, None);
    assert_eq!(bench.voted(1, 2, AcceptReply::Refused(term(1, 1))), []);
    assert_eq!(bench.voted(1, 1, AcceptReply::Superseded(ballot(2, 0, 2))), []);
    assert_eq!(bench.promised(1, term(1, 0)), []);
    assert_eq!(bench.leader.leading(), Some(term(2, 0)));
}

#[test]
fn what_expires_before_it_was_proposed_did_not_happen() {
    let unavailable = |token| answer(token, Answer::Unavailable);
    let mut preparing = Bench::standby();
    preparing.begin(Request::Resolve);
    assert_eq!(preparing.expired(1), unavailable(1));

    let mut learning = Bench::leading();
    learning.begin(Request::Resolve);
    assert_eq!(learning.expired(1), unavailable(1));
    assert!(!learning.leader.is_waiting());

    let (mut fetching, _) = Bench::proposed(Request::Resolve);
    assert_eq!(fetching.expired(1), unavailable(1));
    assert!(!fetching.leader.is_waiting());
    assert_eq!(fetching.expired(1), [], "it has ended");
}

#[test]
fn what_expires_after_it_was_proposed_is_pursued_and_built_on() {
    let mut bench = Bench::leading();
    bench.begin(put(1, Only, Condition::Always));
    bench.learned(0, 1, None);
    bench.learned(1, 1, None);
    bench.accepted(0, 2);
    assert_eq!(bench.expired(1), answer(1, Answer::OutcomeUnknown));
    let record = written(1, ballot(2, 0, 2));
    assert_eq!(bench.ticks(), bench.accepts(&[1, 2], 2, &record), "so that the key is not left half written");

    let effects = bench.begin(put(2, Only, Condition::IfPresent));
    let Effect::Accept { record: next, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(effects, bench.accepts(&[0, 1, 2], 3, next));
    assert_eq!(next.history.seen(OpId(1)), Seen::Known(OpEffect::Put(record.version)));
    assert_eq!(bench.accepted(1, 2), [], "the older one does not count for the newer");
    bench.accepted(0, 3);
    let version = Version(ballot(2, 0, 3));
    assert_eq!(bench.accepted(1, 3), answer(2, Answer::Put { version, modified_unix_ms: Some(2) }));
    assert!(!bench.leader.is_waiting());
}

/// Readers in a hurry, one after the other, had a large record sent anew under a new ballot each time, and none of them was
/// ever chosen.
#[test]
fn who_only_wants_to_know_waits_for_what_was_proposed() {
    let mut bench = Bench::leading();
    bench.begin(put(1, Only, Condition::Always));
    bench.learned(0, 1, None);
    bench.learned(1, 1, None);
    bench.accepted(0, 2);
    bench.begin(Request::Resolve);
    assert_eq!(bench.expired(1), answer(1, Answer::OutcomeUnknown));
    assert_eq!(bench.expired(2), answer(2, Answer::Unavailable));
    assert_eq!(bench.begin(Request::Resolve), []);
    // It was proposed before that asked: the term is confirmed first.
    let effects = bench.accepted(1, 2);
    assert!(matches!(effects[..], [Effect::Learn { question: 3, .. }, ..]), "{effects:?}");
    let held = Some((ballot(2, 0, 2), written(1, ballot(2, 0, 2))));
    bench.learned(0, 3, held.clone());
    let effects = bench.learned(1, 3, held);
    assert!(matches!(effects[..], [Effect::Answer { token: Token(3), .. }]), "{effects:?}");
}

#[test]
fn an_orphan_that_is_chosen_late_is_known_to_be() {
    let mut bench = Bench::leading();
    bench.begin(put(1, Only, Condition::Always));
    bench.learned(0, 1, None);
    bench.learned(1, 1, None);
    bench.expired(1);
    assert_eq!(bench.accepted(0, 2), []);
    assert!(bench.leader.is_waiting());
    assert_eq!(bench.accepted(1, 2), []);
    assert!(!bench.leader.is_waiting());
}

#[test]
fn a_completion_that_nobody_waits_for_goes_on() {
    let left = left_behind();
    let (mut bench, _) = Bench::proposed(Request::Resolve);
    bench.learned(0, 2, Some(left.clone()));
    assert_eq!(bench.expired(1), answer(1, Answer::Unavailable));
    assert_eq!(bench.ticks(), bench.accepts(&[0, 1, 2], 3, &left.1));
}

#[test]
fn a_new_config_ends_the_term_and_outranks_it() {
    let mut bench = Bench::warm(1);
    bench.begin(Request::Resolve);
    let next = quorum(2, &[0, 1, 2], Some(&[2, 3, 4]));
    let effects = bench.of(|leader, _, effects| leader.reconfigure(next, effects));
    assert_eq!(effects, answer(2, Answer::NotLeader(term(2, 0))));
    let first = Term { config: ConfigVersion(2), round: 1, node: node(0) };
    assert_eq!(bench.begin(Request::Resolve), prepares(&[0, 1, 2, 3, 4], first));
}
