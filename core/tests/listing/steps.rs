//! One happening, the exact effects.

use holdfast_core::ids::{BucketName, NodeId, ObjectName, Partition};
use holdfast_core::listing::{Effect, Entry, ListMerge, Listing, Query};
use holdfast_core::term::Version;

use super::{ballot, entry, key, layout, object, record};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// What a node that holds everything is asked for when a page of ten is wanted: 11, a quarter more, and 8.
const LIMIT: usize = 21;

fn query(prefix: &str, delimiter: Option<&str>, after: Option<&str>, limit: usize) -> Query {
    Query::new(BucketName::new("photos").unwrap(), prefix, delimiter, after, limit).unwrap()
}

/// A listing of up to ten keys on three replicas, which has asked A and B.
fn begun() -> ListMerge {
    let (merge, effects) = ListMerge::begin(query("", None, None, 10), &layout(&[vec![C, B, A]]), &[A, B, C]);
    assert_eq!(effects, [ask(A, b"", LIMIT), ask(B, b"", LIMIT)]);
    merge
}

fn ask(node: NodeId, from: &[u8], limit: usize) -> Effect {
    Effect::AskPage { node, from: from.to_vec(), limit }
}

fn resolve(text: &str) -> Effect {
    Effect::Resolve(ObjectName::new("photos", text).unwrap())
}

fn done(objects: &[(&str, u64)], prefixes: &[&str], next_after: Option<&str>) -> Effect {
    Effect::Done(Listing {
        objects: objects.iter().map(|&(text, seq)| (key(text), Version(ballot(seq)), object())).collect(),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        next_after: next_after.map(ToString::to_string),
    })
}

fn live(keys: &[&str]) -> Vec<Entry> {
    keys.iter().map(|text| entry(text, 1, true)).collect()
}

#[test]
fn a_majority_is_asked_and_what_it_agrees_on_is_listed() {
    let mut merge = begun();
    let copies = vec![entry("a", 1, true), entry("b", 2, false), entry("c", 3, true)];
    assert_eq!(merge.on_page(A, copies.clone(), true), []);
    assert_eq!(merge.on_page(B, copies, true), [done(&[("a", 1), ("c", 3)], &[], None)]);
    assert_eq!(merge.on_page(B, live(&["late"]), true), []);
}

#[test]
fn an_empty_bucket_is_an_empty_page() {
    let mut merge = begun();
    assert_eq!(merge.on_page(B, vec![], true), []);
    assert_eq!(merge.on_page(A, vec![], true), [done(&[], &[], None)]);
}

#[test]
fn a_key_that_one_of_two_has_is_read() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, live(&["a", "b", "c"]), true), []);
    assert_eq!(merge.on_page(B, live(&["b"]), true), [resolve("a"), resolve("c")]);
    assert_eq!(merge.on_resolved(&key("c"), None), []);
    assert_eq!(merge.on_resolved(&key("a"), Some(record(9, true))), [done(&[("a", 9), ("b", 1)], &[], None)]);
}

#[test]
fn copies_of_different_ballots_are_read_and_a_tombstone_is_not_listed() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, vec![entry("a", 1, true)], true), []);
    assert_eq!(merge.on_page(B, vec![entry("a", 2, false)], true), [resolve("a")]);
    assert_eq!(merge.on_resolved(&key("a"), Some(record(2, false))), [done(&[], &[], None)]);
}

#[test]
fn a_key_beyond_what_a_replica_has_told_is_not_taken_for_absent() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, live(&["a", "b"]), false), []);
    // B tells of "c"; A has not told that far yet, so only "a" and "b" are decided.
    assert_eq!(merge.on_page(B, live(&["a", "b", "c"]), true), [ask(A, b"b\0", 9 + 9 / 4 + 8)]);
    assert_eq!(merge.on_page(A, live(&["c"]), true), [done(&[("a", 1), ("b", 1), ("c", 1)], &[], None)]);
}

#[test]
fn a_full_page_says_where_the_next_one_starts() {
    let layout = layout(&[vec![A, B, C]]);
    let (mut merge, _) = ListMerge::begin(query("", None, None, 2), &layout, &[A, B, C]);
    merge.on_page(A, live(&["a", "b", "c"]), true);
    assert_eq!(merge.on_page(B, live(&["a", "b", "c"]), true), [done(&[("a", 1), ("b", 1)], &[], Some("b"))]);

    let (mut merge, effects) = ListMerge::begin(query("", None, Some("b"), 2), &layout, &[A, B, C]);
    assert_eq!(effects, [ask(A, b"b\0", 11), ask(B, b"b\0", 11)]);
    merge.on_page(A, live(&["c"]), true);
    assert_eq!(merge.on_page(B, live(&["c"]), true), [done(&[("c", 1)], &[], None)]);
}

#[test]
fn a_full_page_with_only_tombstones_behind_it_is_the_last() {
    let (mut merge, _) = ListMerge::begin(query("", None, None, 1), &layout(&[vec![A, B, C]]), &[A, B, C]);
    let copies = vec![entry("a", 1, true), entry("b", 2, false)];
    merge.on_page(A, copies.clone(), true);
    assert_eq!(merge.on_page(B, copies, true), [done(&[("a", 1)], &[], None)]);
}

#[test]
fn a_common_prefix_is_listed_once_and_the_rest_of_it_is_skipped() {
    let layout = layout(&[vec![A, B, C]]);
    let (mut merge, effects) = ListMerge::begin(query("", Some("/"), None, 10), &layout, &[A, B, C]);
    assert_eq!(effects, [ask(A, b"", 1000), ask(B, b"", 1000)]);
    assert_eq!(merge.on_page(A, live(&["a", "b/1", "b/2"]), false), []);
    assert_eq!(merge.on_page(B, live(&["a", "b/1"]), false), [ask(A, b"b0", 1000), ask(B, b"b0", 1000)]);
    assert_eq!(merge.on_page(A, live(&["c"]), true), []);
    assert_eq!(merge.on_page(B, live(&["c"]), true), [done(&[("a", 1), ("c", 1)], &["b/"], None)]);
}

#[test]
fn a_common_prefix_with_nothing_alive_under_it_is_not_listed() {
    let (mut merge, _) =
        ListMerge::begin(query("", Some("/"), None, 10), &layout(&[vec![A, B, C]]), &[A, B, C]);
    merge.on_page(A, vec![entry("b/1", 1, false), entry("b/2", 2, true), entry("c/1", 3, false)], true);
    // Only the first doubtful key of a prefix is read at first, "b/2"; "c/1" is a tombstone that A alone has.
    assert_eq!(merge.on_page(B, vec![entry("b/1", 1, false)], true), [resolve("b/2"), resolve("c/1")]);
    assert_eq!(merge.on_resolved(&key("b/2"), None), []);
    assert_eq!(merge.on_resolved(&key("c/1"), Some(record(3, false))), [done(&[], &[], None)]);
}

#[test]
fn the_page_after_a_common_prefix_starts_behind_all_of_it() {
    let layout = layout(&[vec![A, B, C]]);
    let (_, effects) = ListMerge::begin(query("", Some("/"), Some("b/"), 10), &layout, &[A, B, C]);
    assert_eq!(effects, [ask(A, b"b0", 1000), ask(B, b"b0", 1000)]);
}

#[test]
fn a_start_behind_the_prefix_ends_at_once() {
    let layout = layout(&[vec![A, B, C]]);
    let (_, effects) = ListMerge::begin(query("a", None, Some("b"), 10), &layout, &[A, B, C]);
    assert_eq!(effects, [done(&[], &[], None)]);
}

#[test]
fn a_node_that_fails_is_replaced_from_the_cursor_on_and_what_it_told_still_counts() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, live(&["a", "c"]), false), []);
    assert_eq!(merge.on_page(B, live(&["a", "b"]), false), [resolve("b")]);
    assert_eq!(merge.on_resolved(&key("b"), Some(record(5, true))), [ask(B, b"b\0", 9 + 2 + 8)]);
    // "a" and "b" are decided; A told up to "c" before it failed.
    assert_eq!(merge.on_node_failed(A), [ask(C, b"b\0", 9 + 2 + 8)]);
    // So "c" is decided by A's copy and B's; "d" has to wait for C.
    assert_eq!(merge.on_page(B, live(&["c", "d"]), true), []);
    assert_eq!(
        merge.on_page(C, live(&["c", "d"]), true),
        [done(&[("a", 1), ("b", 5), ("c", 1), ("d", 1)], &[], None)]
    );
}

#[test]
fn without_a_majority_the_listing_is_unavailable() {
    let mut merge = begun();
    assert_eq!(merge.on_node_failed(B), [ask(C, b"", LIMIT)]);
    assert_eq!(merge.on_node_failed(C), [Effect::Unavailable(Partition::new(0).unwrap())]);
    assert_eq!(merge.on_page(A, live(&["a"]), true), []);

    let (_, effects) = ListMerge::begin(query("", None, None, 10), &layout(&[vec![A, B, C]]), &[B]);
    assert_eq!(effects, [Effect::Unavailable(Partition::new(0).unwrap())]);
}

#[test]
fn nodes_that_fail_after_they_have_told_everything_are_not_missed() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, live(&["a"]), true), []);
    assert_eq!(merge.on_node_failed(A), []);
    assert_eq!(merge.on_page(B, live(&["a"]), true), [done(&[("a", 1)], &[], None)]);
}

#[test]
fn a_slow_node_is_asked_around_and_not_given_up() {
    let mut merge = begun();
    assert_eq!(merge.on_page(A, live(&["a"]), true), []);
    assert_eq!(merge.on_node_slow(B), [ask(C, b"", LIMIT)]);
    assert_eq!(merge.on_node_slow(C), []);
    assert_eq!(merge.on_page(B, live(&["a"]), true), [done(&[("a", 1)], &[], None)]);
}

#[test]
fn with_three_copies_two_that_agree_are_enough() {
    let mut merge = begun();
    merge.on_node_slow(B);
    // Above the frontier until two have told; then A's lone copy is one against two that do not have it.
    assert_eq!(merge.on_page(A, vec![entry("a", 2, true), entry("z", 3, true)], false), []);
    assert_eq!(merge.on_page(B, vec![entry("z", 3, true)], true), [resolve("a")]);
    assert_eq!(merge.on_page(C, vec![entry("z", 3, true)], true), [done(&[("z", 3)], &[], None)]);
}

#[test]
fn a_page_that_is_not_what_was_asked_for_fails_its_node() {
    let unsound = [live(&["b", "a"]), live(&["a", "a"]), live(&[])];
    for entries in unsound {
        let mut merge = begun();
        assert_eq!(merge.on_page(A, entries, false), [ask(C, b"", LIMIT)]);
    }
    let layout = layout(&[vec![A, B, C]]);
    let (mut merge, _) = ListMerge::begin(query("a", None, Some("ab"), 10), &layout, &[A, B, C]);
    assert_eq!(merge.on_page(A, live(&["ab"]), true), [ask(C, b"ab\0", LIMIT)], "below the start");
    let (mut merge, _) = ListMerge::begin(query("a", None, None, 10), &layout, &[A, B, C]);
    assert_eq!(merge.on_page(B, live(&["b"]), true), [ask(C, b"a", LIMIT)], "without the prefix");
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut merge = begun();
    assert_eq!(merge.on_page(C, live(&["a"]), true), []);
    assert_eq!(merge.on_page(NodeId(99), live(&["a"]), true), []);
    assert_eq!(merge.on_node_failed(NodeId(99)), []);
    assert_eq!(merge.on_resolved(&key("a"), Some(record(1, true))), []);
    assert_eq!(merge.on_page(A, vec![], true), []);
    assert_eq!(merge.on_page(A, live(&["a"]), true), []);
    assert_eq!(merge.on_page(B, vec![], true), [done(&[], &[], None)]);
}

#[test]
fn doubtful_keys_are_read_a_few_at_a_time_and_no_more_than_the_page_needs() {
    let layout = layout(&[vec![A, B, C]]);
    let names: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();

    let (mut merge, _) = ListMerge::begin(query("", None, None, 100), &layout, &[A, B]);
    merge.on_page(A, live(&names), true);
    let first: Vec<Effect> = names[..16].iter().map(|name| resolve(name)).collect();
    assert_eq!(merge.on_page(B, vec![], true), first);
    assert_eq!(merge.on_resolved(&key(names[3]), None), [resolve(names[16])]);

    let (mut merge, _) = ListMerge::begin(query("", None, None, 2), &layout, &[A, B, C]);
    merge.on_page(A, live(&names), true);
    assert_eq!(merge.on_page(B, vec![], true), [resolve("10"), resolve("11")]);
    assert_eq!(merge.on_resolved(&key("11"), Some(record(1, true))), []);
    assert_eq!(merge.on_resolved(&key("10"), None), [resolve("12")]);
    // The page is full: that there is a thirteenth key, if it lives, is for the next page to find out.
    assert_eq!(
        merge.on_resolved(&key("12"), Some(record(1, true))),
        [done(&[("11", 1), ("12", 1)], &[], Some("12"))]
    );
}

#[test]
fn where_a_replica_lacks_much_another_is_asked_instead_of_reading_key_by_key() {
    let layout = layout(&[vec![A, B, C]]);
    let names: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut merge, _) = ListMerge::begin(query("", None, None, 100), &layout, &[A, B, C]);
    merge.on_page(A, live(&names), true);
    let effects = merge.on_page(B, vec![], true);
    assert_eq!(effects.len(), 17);
    assert_eq!(effects[16], ask(C, b"", 101 + 26 + 8 - 1));
    let objects: Vec<(&str, u64)> = names.iter().map(|name| (*name, 1)).collect();
    assert_eq!(merge.on_page(C, live(&names), true), [done(&objects, &[], None)]);
    assert_eq!(merge.on_resolved(&key(names[0]), None), [], "settled without it");
}

#[test]
fn in_a_moving_partition_a_key_is_read_that_the_next_replicas_do_not_hold_yet() {
    let d = NodeId(4);
    let mut layout = layout(&[vec![A, B, C]]);
    for partition in &mut layout.partitions {
        partition.next = Some(vec![B, C, d]);
    }
    let begin = || ListMerge::begin(query("", None, None, 10), &layout, &[A, B, C, d]);

    // B and C are a majority of both.
    let (mut merge, effects) = begin();
    assert_eq!(effects, [ask(B, b"", 21), ask(C, b"", 21)]);
    merge.on_page(B, live(&["a", "b"]), true);
    assert_eq!(merge.on_page(C, live(&["a"]), true), [resolve("b")]);
    assert_eq!(merge.on_resolved(&key("b"), None), [done(&[("a", 1)], &[], None)]);

    // Without B: a majority of the replicas holds all, one of the next replicas lacks "b", and "c" was left behind on D.
    let (mut merge, _) = begin();
    assert_eq!(merge.on_node_failed(B), [ask(A, b"", 21), ask(d, b"", 21)]);
    merge.on_page(A, live(&["a", "b"]), true);
    merge.on_page(C, live(&["a", "b"]), true);
    assert_eq!(merge.on_page(d, live(&["a", "c"]), true), [resolve("b")]);
    assert_eq!(merge.on_resolved(&key("b"), Some(record(1, true))), [done(&[("a", 1), ("b", 1)], &[], None)]);
}

#[test]
fn copies_of_nodes_that_are_not_replicas_any_more_say_nothing() {
    let d = NodeId(4);
    // Every other partition is on D alone, which also has a left-over copy of a key of the others.
    let layout = layout(&[vec![A, B, C], vec![d]]);
    let on = |replicas: &[NodeId]| {
        let wanted = |text: &String| {
            let partition = ObjectName::new("photos", text).unwrap().partition();
            layout.partition(partition).replicas == replicas
        };
        (0..).map(|number| format!("k{number}")).find(wanted).unwrap()
    };
    let (theirs, own) = (on(&[A, B, C]), on(&[d]));
    let (mut merge, effects) = ListMerge::begin(query("", None, None, 10), &layout, &[A, B, C, d]);
    assert_eq!(effects, [ask(A, b"", 15), ask(B, b"", 15), ask(d, b"", 15)]);
    let mut left_over = live(&[&theirs, &own]);
    left_over.sort_by(|a, b| a.key.cmp(&b.key));
    merge.on_page(A, vec![], true);
    merge.on_page(d, left_over, true);
    assert_eq!(merge.on_page(B, vec![], true), [done(&[(&own, 1)], &[], None)]);
}

#[test]
fn few_nodes_are_asked_and_the_preferred_first() {
    let nodes: Vec<NodeId> = (1..=6).map(NodeId).collect();
    // Six nodes in a ring, each partition on three neighbours: four nodes hold two of every three.
    let replicas: Vec<Vec<NodeId>> =
        (0..6).map(|at| (0..3).map(|next| nodes[(at + next) % 6]).collect()).collect();
    let preferred = [4, 5, 6, 1, 2, 3].map(NodeId);
    let (_, effects) = ListMerge::begin(query("", None, None, 10), &layout(&replicas), &preferred);
    let asked: Vec<NodeId> = effects
        .iter()
        .map(|effect| match effect {
            Effect::AskPage { node, .. } => *node,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(asked.contains(&NodeId(4)));
    for replicas in &replicas {
        assert!(replicas.iter().filter(|node| asked.contains(node)).count() >= 2, "{asked:?}");
    }
    assert!(asked.len() <= 5, "{asked:?}");
}
