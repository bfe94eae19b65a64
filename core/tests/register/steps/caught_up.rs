//! A leader that holds what a majority does: whom it asks, and when it no longer may.

use super::*;

/// Leads in term 2, and all that answered hold the same.
fn caught_up() -> Bench {
    let mut bench = Bench::standby();
    bench.leader.campaign(&mut Vec::new());
    bench.promised_holding(2, term(2, 0), 7);
    bench.promised_holding(0, term(2, 0), 7);
    bench
}

#[test]
fn a_leader_that_holds_what_a_majority_does_asks_only_itself() {
    let mut bench = caught_up();
    assert_eq!(bench.begin(put(1, Only, Condition::Always)), bench.learns(&[0], 1, false));
    assert_eq!(bench.learned(2, 1, None), [], "nobody asked it");
    let record = written(1, ballot(2, 0, 2));
    assert_eq!(bench.learned(0, 1, None), bench.accepts(&[0, 1, 2], 2, &record));

    // A majority that does not have what the leader has is of no use.
    let mut bench = Bench::standby();
    bench.leader.campaign(&mut Vec::new());
    bench.promised_holding(0, term(2, 0), 8);
    bench.promised_holding(1, term(2, 0), 7);
    assert_eq!(bench.begin(put(1, Only, Condition::Always)), bench.learns(&[0, 1, 2], 1, false));
}

#[test]
fn its_own_word_alone_confirms_no_refusal() {
    let mut bench = caught_up();
    assert_eq!(bench.begin(put(1, Only, Condition::IfPresent)), bench.learns(&[0], 1, false));
    assert_eq!(bench.learned(0, 1, None), bench.learns(&[0, 1, 2], 2, false));
}

#[test]
fn the_others_are_asked_when_the_own_copy_cannot_be_read() {
    let mut bench = caught_up();
    bench.begin(put(1, Only, Condition::Always));
    assert_eq!(bench.ticks(), bench.learns(&[0, 1, 2], 1, false));
    bench.learned(1, 1, None);
    let record = written(1, ballot(2, 0, 2));
    assert_eq!(bench.learned(2, 1, None), bench.accepts(&[0, 1, 2], 2, &record));
}

#[test]
fn what_the_own_replica_missed_is_not_forgotten_unnoticed() {
    for own in [false, true] {
        let mut bench = caught_up();
        bench.begin(put(1, Only, Condition::Always));
        bench.learned(0, 1, None);
        bench.accepted(1, 2);
        bench.accepted(2, 2);
        if own {
            bench.accepted(0, 2);
        }
        for number in 0..SLOTS_REMEMBERED_MAX {
            let name = ObjectName::new("b", &format!("other{number}")).expect("a name");
            bench.leader.begin(Token(1000 + number as u64), &name, Request::Resolve, &mut Vec::new());
        }
        let asked: &[usize] = if own { &[0] } else { &[0, 1, 2] };
        let question = 3 + SLOTS_REMEMBERED_MAX as u64;
        assert_eq!(bench.begin(put(2, Only, Condition::Always)), bench.learns(asked, question, false));
    }
}
