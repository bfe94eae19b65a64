//! What is bounded, and what is forgotten for it.

use super::*;

/// Each orphan keeps its body: without a bound, an outage would fill the memory.
#[test]
fn too_many_orphans_end_the_term() {
    let mut leader = Bench::leading().leader;
    for number in 0..=ORPHANS_MAX {
        let name = ObjectName::new("b", &format!("k{number}")).expect("a name");
        let token = Token(number as u64);
        let mut effects = Vec::new();
        leader.begin(token, &name, put(1, Only, Condition::Always), &mut effects);
        let Effect::Learn { question, .. } = effects[0] else { panic!("{effects:?}") };
        for from in [0, 1] {
            leader.on_learned(node(from), &name, term(2, 0), question, LearnReply::Holds(None), &mut effects);
        }
        assert_eq!(leader.leading(), Some(term(2, 0)));
        leader.on_expired(token, &mut effects);
    }
    assert_eq!(leader.leading(), None);
    assert!(!leader.is_waiting());
}

#[test]
fn too_many_requests_on_a_key_are_refused() {
    let mut bench = Bench::leading();
    for _ in 0..QUEUE_MAX {
        bench.begin(Request::Resolve);
    }
    let refused = Answer::Refused(Code::Overloaded);
    assert_eq!(bench.begin(Request::Resolve), answer(QUEUE_MAX as u64 + 1, refused));
}

/// After an outage the questions of requests that had expired held their places for ever. Found in review.
#[test]
fn too_many_keys_are_refused_until_some_expire() {
    let mut leader = Bench::leading().leader;
    let name = |number: usize| ObjectName::new("b", &format!("k{number}")).expect("a name");
    let begin = |leader: &mut Leader, number: usize| {
        let mut effects = Vec::new();
        leader.begin(Token(number as u64), &name(number), Request::Resolve, &mut effects);
        effects
    };
    for number in 0..SLOTS_MAX {
        assert_eq!(begin(&mut leader, number).len(), 3);
    }
    assert_eq!(begin(&mut leader, SLOTS_MAX), answer(SLOTS_MAX as u64, Answer::Refused(Code::Overloaded)));
    for number in 0..SLOTS_MAX {
        leader.on_expired(Token(number as u64), &mut Vec::new());
    }
    assert!(!leader.is_waiting());
    assert_eq!(begin(&mut leader, SLOTS_MAX).len(), 3);
}

#[test]
fn idle_keys_are_forgotten_and_learnt_again() {
    let mut bench = Bench::warm(1);
    for number in 0..SLOTS_REMEMBERED_MAX {
        let name = ObjectName::new("b", &format!("other{number}")).expect("a name");
        let token = Token(1000 + number as u64);
        bench.leader.begin(token, &name, Request::Resolve, &mut Vec::new());
    }
    let question = 3 + SLOTS_REMEMBERED_MAX as u64;
    assert_eq!(bench.begin(put(2, Only, Condition::Always)), bench.learns(&[0, 1, 2], question, false));
}

#[test]
fn a_proposal_of_which_only_the_head_is_known_is_not_completed_for_nobody() {
    let mut bench = Bench::warm(1);
    let chosen = (ballot(2, 0, 2), written(1, ballot(2, 0, 2)));
    for number in 0..SLOTS_REMEMBERED_MAX {
        let name = ObjectName::new("b", &format!("other{number}")).expect("a name");
        bench.leader.begin(Token(1000 + number as u64), &name, Request::Resolve, &mut Vec::new());
    }
    bench.begin(Request::Resolve);
    let question = 3 + SLOTS_REMEMBERED_MAX as u64;
    // Replica 2 has it still in its queue.
    bench.learned(0, question, head(&chosen));
    assert_eq!(bench.learned(2, question, None), bench.learns(&[0, 1, 2], question + 1, true));
    assert_eq!(bench.expired(2), answer(2, Answer::Unavailable));
    let proposed = bench.ticks().into_iter().any(|effect| matches!(effect, Effect::Accept { .. }));
    assert!(!proposed, "a head without its body is proposed");
}
