//! One case for each kind of violation with its sentence, and the cases that must pass.

use std::time::Duration;

use holdfast::Condition;
use holdfast::Condition::{Always, IfAbsent, IfPresent, IfVersion};

use super::made::version;
use super::{GUILTY_MAX, Kind, check};
use crate::history::Held::{self, Object};
use crate::history::{Action, Op, Seen};

fn op(action: Action, began: u64, ended: u64, seen: Seen) -> Op {
    let (client, key) = ("c".to_owned(), "k".to_owned());
    let (began, ended) = (Duration::from_millis(began), Some(Duration::from_millis(ended)));
    Op { client, key, action, began, ended, seen }
}

fn put(text: &str, condition: Condition, began: u64, seen: Seen) -> Op {
    op(Action::Put(text.to_owned(), condition), began, began + 10, seen)
}

/// An unconditional put at `began`, which wrote the version of this height.
fn wrote(text: &str, began: u64, height: u64) -> Op {
    put(text, Always, began, Seen::Wrote(version(height)))
}

fn delete(condition: Condition, began: u64, seen: Seen) -> Op {
    op(Action::Delete(condition), began, began + 10, seen)
}

fn read(began: u64, seen: Seen) -> Op {
    op(Action::Read, began, began + 10, seen)
}

fn found(height: u64, text: &str) -> Seen {
    Seen::Found(version(height), Some(text.to_owned()))
}

fn absent(height: u64) -> Seen {
    Seen::Absent(Some(version(height)))
}

#[track_caller]
fn refused(ops: &[Op], kind: Kind, guilty: &[usize], sentence: &str) {
    let violation = check(ops).expect_err("it cannot be");
    assert_eq!((violation.kind, violation.sentence.as_str()), (kind, sentence));
    assert_eq!(violation.guilty, guilty);
    assert!(violation.guilty.len() <= GUILTY_MAX && violation.key == "k");
}

#[test]
fn overlapping_operations_may_be_in_any_order() {
    let ops = [
        op(Action::Put("a".to_owned(), Always), 0, 10, Seen::Wrote(version(1))),
        op(Action::Put("b".to_owned(), Always), 5, 15, Seen::Wrote(version(2))),
        op(Action::Read, 6, 12, found(1, "a")),
        op(Action::Read, 13, 14, found(2, "b")),
    ];
    check(&ops).unwrap();
}

#[test]
fn a_stale_read_goes_back() {
    let ops = [wrote("a", 0, 1), wrote("b", 20, 2), read(40, found(1, "a"))];
    refused(
        &ops,
        Kind::WentBack,
        &[0, 1, 2],
        "operation 2 (a read of c) knows version 1-1-1-a, although operation 1 (a put of c) had ended with version \
         1-1-2-a before it began",
    );
}

#[test]
fn a_lost_write_goes_back() {
    refused(
        &[wrote("a", 0, 1), read(40, Seen::Absent(None))],
        Kind::WentBack,
        &[0, 1],
        "operation 1 (a read of c) knows that nothing was ever written, although operation 0 (a put of c) had ended \
         with version 1-1-1-a before it began",
    );
}

#[test]
fn a_deleted_object_that_comes_back_goes_back() {
    let ops = [wrote("a", 0, 1), delete(Always, 20, Seen::Deleted(version(2))), read(40, found(1, "a"))];
    refused(
        &ops,
        Kind::WentBack,
        &[0, 1, 2],
        "operation 2 (a read of c) knows version 1-1-1-a, although operation 1 (a delete of c) had ended with the \
         deletion 1-1-2-a before it began",
    );
}

#[test]
fn versions_that_fall_are_a_violation_of_their_own() {
    // Without versions: b, then a, and nobody has seen anything else.
    refused(
        &[wrote("b", 0, 2), wrote("a", 20, 1), read(40, found(1, "a"))],
        Kind::VersionsFall,
        &[0, 1, 2],
        "operation 2 (a read of c) knows version 1-1-1-a, and began after operation 0 (a put of c) had ended with the \
         higher version 1-1-2-a: the versions fall",
    );
}

#[test]
fn a_swap_that_wrote_a_lower_version_is_found() {
    refused(
        &[wrote("a", 0, 2), put("b", IfVersion(version(2)), 0, Seen::Wrote(version(1)))],
        Kind::VersionsFall,
        &[0, 1],
        "operation 1 (a put of c) replaced version 1-1-2-a and wrote version 1-1-1-a, which is lower",
    );
}

#[test]
fn a_read_before_its_write_is_too_early() {
    refused(
        &[read(0, found(1, "a")), wrote("a", 20, 1)],
        Kind::SeenTooEarly,
        &[0, 1],
        "operation 0 (a read of c) saw version 1-1-1-a, and ended before operation 1 (a put of c) began",
    );
}

#[test]
fn an_unknown_write_may_come_late_or_never_but_not_twice() {
    let ops = [
        put("a", Always, 0, Seen::Unknown),
        read(20, Seen::Absent(None)),
        read(40, found(1, "a")),
        delete(Always, 60, Seen::Deleted(version(2))),
        read(80, found(3, "a")),
    ];
    check(&ops[..4]).unwrap();
    check(&ops[..2]).unwrap();
    refused(
        &ops,
        Kind::VersionReused,
        &[0, 4],
        "operation 0 (a put of c) has two versions, 1-1-1-a and 1-1-3-a",
    );
}

#[test]
fn two_writes_never_have_one_version() {
    refused(
        &[wrote("a", 0, 1), wrote("b", 20, 1)],
        Kind::VersionReused,
        &[0, 1],
        "operation 0 (a put of c) and operation 1 (a put of c) both wrote version 1-1-1-a",
    );
    refused(
        &[wrote("a", 0, 1), read(20, absent(1))],
        Kind::VersionReused,
        &[0, 1],
        "version 1-1-1-a was an object to one and none to another",
    );
}

#[test]
fn one_of_two_swaps_wins() {
    let swap = |text: &str, seen| put(text, IfVersion(version(1)), 20, seen);
    let (first, won) = (wrote("a", 0, 1), swap("b", Seen::Wrote(version(2))));
    let lost = |held| swap("c", Seen::ConditionFailed(held));
    check(&[first.clone(), won.clone(), lost(Object(version(2)))]).unwrap();
    refused(
        &[first.clone(), won.clone(), swap("c", Seen::Wrote(version(3)))],
        Kind::LostUpdate,
        &[0, 1, 2],
        "operation 1 (a put of c) and operation 2 (a put of c) both replaced version 1-1-1-a",
    );
    refused(
        &[first.clone(), wrote("x", 5, 2), swap("c", Seen::Wrote(version(3)))],
        Kind::LostUpdate,
        &[0, 1, 2],
        "operation 2 (a put of c) swapped version 1-1-1-a for version 1-1-3-a, although version 1-1-2-a was written in \
         between",
    );
    refused(
        &[first, won, lost(Object(version(1)))],
        Kind::Contradiction,
        &[2],
        "operation 2 (a put of c) was given an answer that contradicts its own question",
    );
}

#[test]
fn answers_fit_their_questions() {
    let fail = |held| Seen::ConditionFailed(held);
    let nonsense = [
        put("b", Always, 20, fail(Object(version(1)))),
        put("b", IfAbsent, 20, fail(Held::Absent(None))),
        put("b", IfPresent, 20, fail(Object(version(1)))),
        put("b", IfVersion(version(1)), 20, Seen::Wrote(version(1))),
        delete(IfPresent, 20, Seen::NothingToDelete(None)),
        delete(IfAbsent, 20, Seen::Deleted(version(2))),
        delete(IfAbsent, 20, fail(Held::Absent(None))),
        read(20, Seen::Wrote(version(1))),
    ];
    for op in nonsense {
        assert_eq!(check(std::slice::from_ref(&op)).unwrap_err().kind, Kind::Contradiction, "{op}");
    }
}

#[test]
fn what_did_not_happen_is_never_read() {
    refused(
        &[put("a", Always, 0, Seen::Nothing), read(40, found(1, "a"))],
        Kind::DidNotHappen,
        &[0, 1],
        "operation 1 (a read of c) read what operation 0 (a put of c) wrote, which was told that it did not happen",
    );
    let refusal = Seen::ConditionFailed(Held::Absent(None));
    let ops = [put("a", IfPresent, 0, refusal), read(40, found(1, "a"))];
    assert_eq!(check(&ops).unwrap_err().kind, Kind::DidNotHappen);
}

#[test]
fn nothing_comes_from_nowhere() {
    refused(
        &[read(0, found(1, "a"))],
        Kind::NeverWritten,
        &[0],
        "operation 0 (a read of c) read the text \"a\", which nobody ever wrote",
    );
    let head = |began, height| read(began, Seen::Found(version(height), None));
    check(&[put("a", Always, 0, Seen::Unknown), head(20, 1)]).unwrap();
    // One put without an answer cannot have written two versions.
    refused(
        &[put("a", Always, 0, Seen::Unknown), head(20, 1), head(40, 2)],
        Kind::NeverWritten,
        &[2],
        "operation 2 (a read of c) saw version 1-1-2-a, and no operation is left that can have written it by then",
    );
    // Nor one that began later, nor a delete, nor one whose condition does not hold.
    let ops = [head(20, 1), put("a", Always, 40, Seen::Unknown)];
    assert_eq!(check(&ops).unwrap_err().kind, Kind::NeverWritten);
    let ops = [head(20, 1), delete(Always, 0, Seen::Unknown)];
    assert_eq!(check(&ops).unwrap_err().kind, Kind::NeverWritten);
    let ops = [head(20, 1), put("a", IfPresent, 0, Seen::Unknown)];
    assert_eq!(check(&ops).unwrap_err().kind, Kind::NeverWritten);
}

#[test]
fn what_took_effect_met_its_condition() {
    let (first, second) = (wrote("a", 0, 1), put("b", IfAbsent, 20, Seen::Wrote(version(2))));
    refused(
        &[first.clone(), second.clone()],
        Kind::ConditionIgnored,
        &[0, 1],
        "operation 1 (a put of c) took effect as version 1-1-2-a on an object, where its condition needs none: before it \
         came version 1-1-1-a",
    );
    // A delete without an answer may have come in between; one that deletes another version only cannot.
    check(&[first.clone(), second.clone(), delete(Always, 5, Seen::Unknown)]).unwrap();
    check(&[first.clone(), second.clone(), delete(IfVersion(version(1)), 5, Seen::Unknown)]).unwrap();
    let other = delete(IfVersion(version(2)), 5, Seen::Unknown);
    assert_eq!(check(&[first, second, other]).unwrap_err().kind, Kind::ConditionIgnored);
    refused(
        &[delete(Always, 0, Seen::Deleted(version(1)))],
        Kind::ConditionIgnored,
        &[0],
        "operation 0 (a delete of c) took effect as the deletion 1-1-1-a on none, where its condition needs an object: \
         nothing was written before",
    );
}

#[test]
fn a_listing_shows_what_is_there_all_the_time() {
    let listing = |began| op(Action::Read, began, began + 50, Seen::Unlisted);
    let (first, second) = (wrote("a", 0, 1), wrote("b", 40, 2));
    refused(
        &[first.clone(), listing(20), second.clone()],
        Kind::LeftOut,
        &[0, 1, 2],
        "operation 1 (a listing of c) did not show the key, which had an object at every moment of it, at the end \
         version 1-1-2-a",
    );
    check(&[first.clone(), listing(5), second.clone(), delete(Always, 0, Seen::Unknown)]).unwrap();
    check(&[first.clone(), listing(20), delete(Always, 60, Seen::Deleted(version(2)))]).unwrap();
    // Deleted before the listing began, and there again.
    let deleted = delete(Always, 20, Seen::Deleted(version(2)));
    let ops = [first, deleted, wrote("c", 40, 3), listing(60)];
    assert_eq!(check(&ops).unwrap_err().kind, Kind::LeftOut);
}

#[test]
fn a_fence_may_leave_a_tombstone_where_nothing_was() {
    let refused_put = put("a", IfPresent, 0, Seen::ConditionFailed(Held::Absent(None)));
    check(&[refused_put.clone(), read(20, absent(1)), wrote("b", 40, 2)]).unwrap();
    // But only there, and only after somebody wanted to change something.
    let ops = [wrote("b", 0, 1), refused_put, read(20, absent(2))];
    assert!(check(&ops).is_err());
    assert_eq!(check(&[read(0, absent(1)), wrote("b", 40, 2)]).unwrap_err().kind, Kind::NeverWritten);
}

#[test]
fn a_version_that_only_an_unknown_operation_names_may_have_been() {
    let ops = [
        put("a", Always, 0, Seen::Unknown),
        delete(IfVersion(version(1)), 20, Seen::Unknown),
        read(40, absent(2)),
        wrote("b", 60, 4),
        read(80, found(4, "b")),
    ];
    // The fence explains it too, so the key must have had something before.
    let mut before = vec![wrote("z", 0, 0)];
    before.extend(ops.clone());
    check(&before).unwrap();
    // Without the put nobody can have written version 1.
    before.remove(1);
    assert_eq!(check(&before).unwrap_err().kind, Kind::NeverWritten);
}

#[test]
fn keys_are_checked_one_by_one() {
    let elsewhere = |mut op: Op| {
        op.key = "other".to_owned();
        op
    };
    let ops = [wrote("a", 0, 1), elsewhere(wrote("b", 20, 2)), read(40, found(1, "a"))];
    check(&ops).unwrap();
    let stale = [wrote("a", 0, 1), elsewhere(wrote("b", 20, 2)), elsewhere(read(40, Seen::Absent(None)))];
    let violation = check(&stale).unwrap_err();
    assert_eq!((violation.key.as_str(), violation.guilty.as_slice()), ("other", [1, 2].as_slice()));
    let report = violation.report(&stale);
    assert!(report.contains("-> 2: c [40.000, 50.000] other Read") && !report.contains(" k "), "{report}");
}
