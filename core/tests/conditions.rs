//! Conditions hold exactly when their sentence is true.

use holdfast_core::condition::Condition;
use holdfast_core::term::{Ballot, Term, Version};

#[test]
fn every_condition_on_every_state_of_a_key() {
    let version = |seq| Version(Ballot { term: Term::ZERO, seq });
    let (absent, one, two) = (None, Some(version(1)), Some(version(2)));
    let table = [
        (Condition::Always, [true, true, true]),
        (Condition::IfAbsent, [true, false, false]),
        (Condition::IfPresent, [false, true, true]),
        (Condition::IfVersion(version(1)), [false, true, false]),
        (Condition::IfVersion(version(2)), [false, false, true]),
        (Condition::IfVersion(version(3)), [false, false, false]),
    ];
    for (condition, expected) in table {
        assert_eq!([absent, one, two].map(|current| condition.holds(current)), expected, "{condition:?}");
    }
    assert_eq!(Condition::default(), Condition::Always);
}

#[test]
fn a_version_is_compared_in_all_its_parts() {
    let ballot = Ballot { term: Term { round: 1, ..Term::ZERO }, seq: 1 };
    let other_round = Ballot { term: Term { round: 2, ..Term::ZERO }, ..ballot };
    assert!(!Condition::IfVersion(Version(ballot)).holds(Some(Version(other_round))));
}
