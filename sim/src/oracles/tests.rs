//! Each oracle sees its own mistake, and none in a life without mistakes.

use bytes::Bytes;
use holdfast_core::history::{Effect, History};
use holdfast_core::record::State as RecordState;
use holdfast_core::term::{ConfigVersion, Version};

use super::cluster::{Cluster, NODES, ballot, layout, put, term, with_one};
use super::*;

#[test]
fn a_life_without_mistakes() {
    let (cluster, b1, one) = with_one();
    cluster.serve(0, &one);
    cluster.sees(0, Fact::Acknowledged { name: &cluster.name, version: one.version });
    // Another leader completes the record, same version, and writes the next one; the first leader's node restarts.
    cluster.lead(term(2, 1), &[1, 2]);
    cluster.write(1, ballot(2, 1, 1), &one, &[1, 2]);
    let two = ballot(2, 1, 2);
    let history = [(1, Effect::Put(one.version)), (2, Effect::Put(Version(two)))];
    let record = put(two, "two", &history);
    cluster.propose(1, two, &record);
    cluster.accept(1, two, &record);
    cluster.open(0, &[term(1, 0)], &[(b1, one.clone())]);
    cluster.accept(2, two, &record);
    cluster.choose(1, two, &record, &[1, 2]);
    cluster.choose(2, two, &record, &[]);
    cluster.sees(0, Fact::Told { name: &cluster.name, ballot: b1 });
    cluster.sees(0, Fact::Accepted { name: &cluster.name, ballot: two, record: &record, installed: true });
    cluster.serve(2, &record.head());
    cluster.sees(1, Fact::Acknowledged { name: &cluster.name, version: one.version });
    cluster.finds_nothing();
    assert!(cluster.oracles.facts() > 20);
}

#[test]
fn a_promise_that_a_restart_forgets() {
    let (cluster, b1, one) = with_one();
    cluster.open(1, &[], &[(b1, one)]);
    cluster.finds(KEPT, "n1 had promised term 1.1@n0");
}

#[test]
fn a_record_that_a_restart_forgets() {
    let (cluster, _, _) = with_one();
    cluster.open(1, &[term(1, 0)], &[]);
    cluster.finds(KEPT, "comes back with nothing");
}

#[test]
fn a_node_may_forget_what_an_excused_disk_has_lost_and_must_not_speak_then() {
    let (cluster, b1, one) = with_one();
    cluster.oracles.excuse_disk("n1");
    cluster.open(1, &[term(1, 0)], &[(b1, one.clone())]);
    assert!(!cluster.oracles.has_forgotten("n1"), "it has lost nothing");
    cluster.open(1, &[term(1, 0)], &[]);
    assert!(cluster.oracles.has_forgotten("n1"));
    cluster.finds_nothing();
    cluster.sees(1, Fact::Told { name: &cluster.name, ballot: Ballot::ZERO });
    cluster.finds(KEPT, "says that it holds nothing");
}

#[test]
fn what_an_excused_disk_cannot_show_counts_as_forgotten() {
    let (cluster, _, _) = with_one();
    cluster.oracles.excuse_disk("n1");
    let mut terms = vec![Term::ZERO; usize::from(Partition::COUNT)];
    terms[cluster.name.partition().index()] = term(1, 0);
    cluster.sees(1, Fact::Opened { node: NODES[1], promised: &terms, holds: None });
    assert!(cluster.oracles.has_forgotten("n1"));
    cluster.finds_nothing();
}

#[test]
fn another_disk_is_not_excused() {
    let (cluster, b1, one) = with_one();
    cluster.oracles.excuse_disk("n1");
    cluster.open(0, &[], &[(b1, one)]);
    cluster.finds(KEPT, "n0 had promised");
}

#[test]
fn another_node_on_an_emptied_disk_owes_nothing() {
    let (cluster, _, _) = with_one();
    let terms = vec![Term::ZERO; usize::from(Partition::COUNT)];
    cluster.sees(1, Fact::Opened { node: NodeId(0xb1), promised: &terms, holds: Some(&[]) });
    cluster.finds_nothing();
}

#[test]
fn a_layout_that_goes_back() {
    let (cluster, ..) = with_one();
    let count_by = |version| cluster.sees(1, Fact::Configured(&layout(version, 1, &NODES[..3], None)));
    count_by(2);
    count_by(2);
    cluster.finds_nothing();
    count_by(1);
    cluster.finds(LAYOUTS, "layout 1 after layout 2");
}

#[test]
fn what_a_store_cannot_read_is_not_what_it_forgot() {
    let (cluster, b1, one) = with_one();
    let mut terms = vec![Term::ZERO; usize::from(Partition::COUNT)];
    terms[cluster.name.partition().index()] = term(1, 0);
    let damaged = [Recovered { name: cluster.name.clone(), held: None }];
    cluster.sees(1, Fact::Opened { node: NODES[1], promised: &terms, holds: Some(&damaged) });
    cluster.finds_nothing();
    // But it knows more than nothing.
    cluster.open(1, &[term(1, 0)], &[(b1, one)]);
    cluster.open(1, &[term(1, 0)], &[]);
    cluster.finds(KEPT, "comes back with nothing");
}

#[test]
fn a_replica_that_says_less_than_it_stored() {
    let (cluster, _, _) = with_one();
    cluster.sees(1, Fact::Told { name: &cluster.name, ballot: Ballot::ZERO });
    cluster.finds(KEPT, "says that it holds nothing");
}

#[test]
fn a_replica_that_says_more_than_it_stored() {
    let (cluster, b1, _) = with_one();
    cluster.sees(2, Fact::Told { name: &cluster.name, ballot: b1 });
    cluster.finds(NO_INVENTION, "but it has stored nothing");
}

#[test]
fn two_records_under_one_ballot() {
    let (cluster, b1, _) = with_one();
    cluster.propose(0, b1, &put(b1, "other", &[]));
    cluster.finds(ONE_RECORD, "another record");
}

#[test]
fn a_record_that_is_not_what_was_proposed() {
    let (cluster, b1, one) = with_one();
    let mut altered = one;
    altered.history = History::default();
    cluster.accept(2, b1, &altered);
    cluster.finds(ONE_RECORD, "bucket/key: n2 has");
}

#[test]
fn a_minority_that_is_taken_for_a_majority() {
    let (cluster, _, one) = with_one();
    let two = ballot(1, 0, 2);
    cluster.propose(0, two, &put(two, "two", &[]));
    cluster.accept(0, two, &put(two, "two", &[]));
    cluster.choose(0, two, &put(two, "two", &[]), &[0]);
    cluster.finds(MAJORITIES, "no majority");
    drop(one);
}

#[test]
fn a_vote_that_was_never_given() {
    let (cluster, _, _) = with_one();
    let two = ballot(1, 0, 2);
    let record = put(two, "two", &[]);
    cluster.propose(0, two, &record);
    cluster.accept(0, two, &record);
    cluster.choose(0, two, &record, &[0, 2]);
    cluster.finds(MAJORITIES, "counts n2, which never held it");
}

#[test]
fn the_own_word_of_a_leader_that_is_not_caught_up() {
    let (cluster, _, _) = with_one();
    let two = ballot(1, 0, 2);
    let record = put(two, "two", &[]);
    cluster.propose(0, two, &record);
    cluster.accept(0, two, &record);
    cluster.choose(0, two, &record, &[]);
    cluster.finds(MAJORITIES, "no majority");
}

#[test]
fn a_leader_without_a_majority_of_promises() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0]);
    cluster.finds(MAJORITIES, "no majority");
}

#[test]
fn a_leader_that_counts_a_promise_that_was_not_given() {
    let cluster = Cluster::new();
    cluster.promise(0, term(1, 0));
    cluster.claim_to_lead(term(1, 0), &[0, 1]);
    cluster.finds(MAJORITIES, "counts n1, which has not promised it");
}

#[test]
fn voters_of_another_config_are_no_majority() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 3]);
    cluster.finds(MAJORITIES, "no majority");
}

#[test]
fn while_a_partition_moves_both_majorities_are_needed() {
    let cluster = Cluster::new();
    let moving = layout(2, 2, &NODES[..3], Some(&NODES[1..]));
    cluster.configure(&[0, 1], &moving);
    let moving_term = Term { config: ConfigVersion(2), round: 1, node: NODES[0] };
    cluster.lead(moving_term, &[0, 1]);
    cluster.finds(MAJORITIES, "no majority of [n1, n2, n3]");
}

#[test]
fn a_promise_under_a_config_that_is_not_known() {
    let cluster = Cluster::new();
    cluster.configure(&[0], &layout(2, 2, &NODES[..3], None));
    let later = Term { config: ConfigVersion(2), round: 1, node: NODES[0] };
    cluster.promise(0, later);
    cluster.finds_nothing();
    cluster.promise(1, later);
    cluster.finds(LAYOUTS, "whose config its layout 1 has not");
}

#[test]
fn one_config_with_two_lists_of_replicas() {
    let cluster = Cluster::new();
    cluster.sees(0, Fact::Configured(&layout(2, 1, &NODES[1..], None)));
    cluster.finds(MAJORITIES, "counts by [n1, n2, n3] in config 1");
}

#[test]
fn majorities_of_two_configs_that_do_not_meet() {
    let cluster = Cluster::new();
    // A move that ended before it began: no leader ever asked both.
    cluster.configure(&[2, 3], &layout(2, 2, &NODES[2..], None));
    cluster.lead(term(1, 0), &[0, 1]);
    let one = put(ballot(1, 0, 1), "one", &[]);
    cluster.write(0, ballot(1, 0, 1), &one, &[0, 1]);
    cluster.finds_nothing();
    cluster.lead(Term { config: ConfigVersion(2), round: 1, node: NODES[2] }, &[2, 3]);
    cluster.finds(MAJORITIES, "none of the promises");
}

#[test]
fn an_acceptor_that_ignores_its_promise() {
    let (cluster, _, _) = with_one();
    cluster.promise(1, term(2, 2));
    let late = ballot(1, 0, 2);
    let record = put(late, "late", &[]);
    cluster.propose(0, late, &record);
    cluster.accept(1, late, &record);
    cluster.finds(PROMISES, "although it has promised term 1.2@n2");
}

#[test]
fn what_is_known_to_be_chosen_needs_no_promise() {
    let (cluster, b1, one) = with_one();
    cluster.promise(2, term(2, 2));
    cluster.sees(2, Fact::Accepted { name: &cluster.name, ballot: b1, record: &one, installed: true });
    cluster.finds_nothing();
}

#[test]
fn a_term_that_is_used_again_after_a_restart() {
    let (cluster, b1, one) = with_one();
    cluster.open(0, &[term(1, 0)], &[(b1, one)]);
    let two = ballot(1, 0, 2);
    cluster.propose(0, two, &put(two, "two", &[]));
    cluster.finds(PROMISES, "before it was restarted");
}

#[test]
fn a_term_that_is_led_twice() {
    let (cluster, ..) = with_one();
    cluster.claim_to_lead(term(1, 0), &[0, 1]);
    cluster.finds(PROMISES, "a second time");
}

#[test]
fn a_leader_whose_own_disk_has_not_promised() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[1, 2]);
    cluster.finds(PROMISES, "without a promise of its own");
}

#[test]
fn a_promise_of_another_term_is_none_of_this() {
    let cluster = Cluster::new();
    cluster.promise(1, term(2, 2));
    cluster.promise(0, term(1, 0));
    cluster.claim_to_lead(term(1, 0), &[0, 1]);
    cluster.finds(MAJORITIES, "n1, which has not promised it");
}

#[test]
fn a_leader_that_asks_and_is_answered() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 1]);
    for question in 1..3 {
        cluster.ask(term(1, 0), question);
        cluster.stand_by(0, term(1, 0));
        cluster.stand_by(1, term(1, 0));
        // Asked a second time.
        cluster.ask(term(1, 0), question);
        cluster.confirm(term(1, 0), question, &[0, 1]);
    }
    cluster.finds_nothing();
}

#[test]
fn an_answer_to_an_older_question() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 1]);
    cluster.ask(term(1, 0), 1);
    cluster.stand_by(0, term(1, 0));
    cluster.stand_by(1, term(1, 0));
    cluster.ask(term(1, 0), 2);
    cluster.stand_by(0, term(1, 0));
    cluster.confirm(term(1, 0), 2, &[0, 1]);
    cluster.finds(MAJORITIES, "counts n1 for question 2");
}

#[test]
fn a_question_that_is_not_asked_any_more() {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 1]);
    cluster.ask(term(1, 0), 1);
    cluster.ask(term(1, 0), 2);
    cluster.confirm(term(1, 0), 1, &[]);
    cluster.finds(MAJORITIES, "which it does not ask");
}

#[test]
fn a_replica_that_answers_a_deposed_leader() {
    let cluster = Cluster::new();
    cluster.promise(1, term(1, 0));
    cluster.stand_by(1, term(1, 0));
    cluster.finds_nothing();
    cluster.promise(1, term(2, 2));
    cluster.stand_by(1, term(1, 0));
    cluster.finds(PROMISES, "although it has promised");
}

#[test]
fn a_replica_that_answers_a_leader_it_has_not_promised() {
    let cluster = Cluster::new();
    cluster.stand_by(1, term(1, 0));
    cluster.finds(PROMISES, "has promised no more than");
}

#[test]
fn a_reader_that_takes_silence_for_nothing() {
    let cluster = Cluster::new();
    let name = cluster.name.clone();
    for node in [0, 1] {
        cluster.sees(node, Fact::Told { name: &name, ballot: Ballot::ZERO });
    }
    cluster.find_nothing(0, &[0, 1]);
    cluster.finds_nothing();
    cluster.find_nothing(0, &[0, 2]);
    cluster.finds(MAJORITIES, "counts n2");
}

#[test]
fn a_proposal_of_one_who_does_not_lead() {
    let (cluster, ..) = with_one();
    let two = ballot(1, 1, 1);
    cluster.propose(1, two, &put(two, "two", &[]));
    cluster.finds(NO_INVENTION, "which it does not lead");
}

#[test]
fn a_record_that_nobody_proposed() {
    let (cluster, ..) = with_one();
    let two = ballot(1, 0, 2);
    cluster.accept(1, two, &put(two, "two", &[]));
    cluster.finds(NO_INVENTION, "which nobody proposed");
}

#[test]
fn a_record_that_is_shown_before_it_is_chosen() {
    let (cluster, ..) = with_one();
    let two = ballot(1, 0, 2);
    let record = put(two, "two", &[]);
    cluster.propose(0, two, &record);
    cluster.accept(0, two, &record);
    cluster.serve(0, &record);
    cluster.finds(ONLY_CHOSEN, "which no majority holds");
}

#[test]
fn a_record_that_nobody_has_counted_yet_may_be_shown() {
    let (cluster, ..) = with_one();
    let two = ballot(1, 0, 2);
    let record = put(two, "two", &[]);
    cluster.propose(0, two, &record);
    cluster.accept(0, two, &record);
    cluster.accept(1, two, &record);
    cluster.serve(0, &record);
    cluster.finds_nothing();
}

#[test]
fn an_object_that_is_shown_with_another_head() {
    let (cluster, _, one) = with_one();
    let mut altered = one;
    let RecordState::Object(object) = &mut altered.state else { unreachable!("it is an object") };
    object.content_type = "text/html".to_owned();
    cluster.serve(0, &altered);
    cluster.finds(ONLY_CHOSEN, "something else");
}

#[test]
fn a_write_that_is_acknowledged_too_early() {
    let (cluster, ..) = with_one();
    let two = ballot(1, 0, 2);
    cluster.propose(0, two, &put(two, "two", &[]));
    cluster.sees(0, Fact::Acknowledged { name: &cluster.name, version: Version(two) });
    cluster.finds(ONLY_CHOSEN, "acknowledges");
}

#[test]
fn completing_keeps_the_version() {
    let (cluster, _, one) = with_one();
    let again = ballot(1, 0, 2);
    let record = Record { version: Version(ballot(1, 0, 1)), ..put(again, "two", &[]) };
    cluster.write(0, again, &Record { history: one.history, ..record }, &[0, 1]);
    cluster.finds(LINEAGE, "another value");
}

#[test]
fn a_record_that_was_not_built_on_the_chosen_one() {
    let (cluster, ..) = with_one();
    cluster.lead(term(2, 1), &[1, 2]);
    let two = ballot(2, 1, 1);
    // It knows nothing of the operation that wrote "one".
    cluster.write(1, two, &put(two, "two", &[]), &[1, 2]);
    cluster.finds(LINEAGE, "operation");
}

#[test]
fn a_version_that_goes_back() {
    let (cluster, _, one) = with_one();
    let two = ballot(1, 0, 2);
    let history = [(1, Effect::Put(one.version)), (2, Effect::Put(Version(two)))];
    cluster.write(0, two, &put(two, "two", &history), &[0, 1]);
    cluster.write(0, ballot(1, 0, 3), &one, &[0, 1]);
    cluster.finds(LINEAGE, "went back");
}

#[test]
fn what_was_told_never_to_happen_happens() {
    let (cluster, one, _) = with_one();
    let first = (1, Effect::Put(Version(one)));
    cluster.oracles.never("c0", &cluster.name, OpId(7));
    cluster.oracles.never("c0", &cluster.name, OpId(8));
    let two = ballot(1, 0, 2);
    cluster.write(0, two, &put(two, "two", &[first, (7, Effect::Fenced)]), &[0, 1]);
    cluster.finds_nothing();
    let three = ballot(1, 0, 3);
    let history = [first, (7, Effect::Fenced), (8, Effect::Put(Version(three)))];
    cluster.write(0, three, &put(three, "three", &history), &[0, 1]);
    cluster.finds(NEVER, "took effect");
}

#[test]
fn what_has_happened_is_told_never_to_happen() {
    let (cluster, one, _) = with_one();
    let two = ballot(1, 0, 2);
    let history = [(1, Effect::Put(Version(one))), (7, Effect::Put(Version(two)))];
    cluster.write(0, two, &put(two, "two", &history), &[0, 1]);
    cluster.oracles.never("c0", &cluster.name, OpId(7));
    cluster.finds(NEVER, "took effect");
}

#[test]
fn a_body_without_its_hash() {
    let (cluster, b1, mut one) = with_one();
    let RecordState::Object(object) = &mut one.state else { unreachable!("it is an object") };
    object.body = Some(Bytes::from_static(b"two"));
    cluster.accept(2, b1, &one);
    cluster.finds(BYTES, "does not have the hash");
}

#[test]
fn a_body_of_another_length() {
    let (cluster, _, mut one) = with_one();
    let RecordState::Object(object) = &mut one.state else { unreachable!("it is an object") };
    object.body = Some(Bytes::from_static(b"longer"));
    cluster.serve(0, &one);
    cluster.finds(BYTES, "6 bytes whose head says 3");
}
