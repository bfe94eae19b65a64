//! Each oracle sees its own mistake, and none in a life without mistakes.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::history::{Effect, History};
use holdfast_core::ids::OpId;
use holdfast_core::placement::{Layout, Member, PartitionLayout};
use holdfast_core::record::{Record, State as RecordState};
use holdfast_core::term::{ConfigVersion, Version};

use super::*;

const NODES: [NodeId; 4] = [NodeId(0xa0), NodeId(0xa1), NodeId(0xa2), NodeId(0xa3)];

/// Three replicas and a spare node, all opened and configured; the partition is the key's.
struct Cluster {
    oracles: Oracles,
    ears: Vec<Arc<dyn Witness>>,
    name: ObjectName,
}

fn term(round: u64, node: usize) -> Term {
    Term { config: ConfigVersion(1), round, node: NODES[node] }
}

fn ballot(round: u64, node: usize, seq: u64) -> Ballot {
    Ballot { term: term(round, node), seq }
}

fn layout(version: u64, config: u64, replicas: &[NodeId], next: Option<&[NodeId]>) -> Layout {
    let member = || Member { zone: String::new(), capacity: 1 };
    let place = PartitionLayout {
        config: ConfigVersion(config),
        replicas: replicas.to_vec(),
        next: next.map(<[_]>::to_vec),
    };
    Layout {
        version,
        replication: 3,
        nodes: NODES.iter().map(|node| (*node, member())).collect(),
        partitions: vec![place; usize::from(Partition::COUNT)],
    }
}

fn put(version: Ballot, body: &str, history: &[(u128, Effect)]) -> Record {
    let object = Object {
        size: body.len() as u64,
        content_type: "text/plain".to_owned(),
        metadata: BTreeMap::new(),
        hash: *blake3::hash(body.as_bytes()).as_bytes(),
        modified_unix_ms: 1,
        body: Some(Bytes::copy_from_slice(body.as_bytes())),
    };
    let history =
        History::from_parts(history.iter().map(|(op, effect)| (OpId(*op), *effect)), OpId::default());
    Record { version: Version(version), state: RecordState::Object(object), history }
}

impl Cluster {
    fn new() -> Self {
        let oracles = Oracles::new();
        let ears = (0..NODES.len()).map(|node| oracles.for_node(&format!("n{node}"))).collect();
        let cluster = Self { oracles, ears, name: ObjectName::new("bucket", "key").unwrap() };
        for node in 0..NODES.len() {
            cluster.open(node, &[], &[]);
            cluster.ears[node].sees(Fact::Configured(&layout(1, 1, &NODES[..3], None)));
        }
        cluster
    }

    /// A node's store is opened with these promises of the key's partition, and these records of the key.
    fn open(&self, node: usize, promised: &[Term], held: &[(Ballot, Record)]) {
        let mut terms = vec![Term::ZERO; usize::from(Partition::COUNT)];
        for term in promised {
            terms[self.name.partition().index()] = *term;
        }
        let recovered =
            held.iter().map(|held| Recovered { name: self.name.clone(), held: Some(held.clone()) });
        let holds: Vec<_> = recovered.collect();
        self.sees(node, Fact::Opened { node: NODES[node], promised: &terms, holds: Some(&holds) });
    }

    fn sees(&self, node: usize, fact: Fact<'_>) {
        self.ears[node].sees(fact);
    }

    fn promise(&self, node: usize, term: Term) {
        self.sees(node, Fact::Promised { partition: self.name.partition(), term });
    }

    fn lead(&self, term: Term, by: &[usize]) {
        for node in by {
            self.promise(*node, term);
        }
        self.claim_to_lead(term, by);
    }

    fn claim_to_lead(&self, term: Term, by: &[usize]) {
        let promised_by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        let leader = NODES.iter().position(|node| *node == term.node).unwrap();
        self.sees(leader, Fact::Led { partition: self.name.partition(), term, promised_by: &promised_by });
    }

    fn propose(&self, node: usize, ballot: Ballot, record: &Record) {
        self.sees(node, Fact::Proposed { name: &self.name, ballot, record });
    }

    fn accept(&self, node: usize, ballot: Ballot, record: &Record) {
        self.sees(node, Fact::Accepted { name: &self.name, ballot, record, installed: false });
    }

    fn choose(&self, node: usize, ballot: Ballot, record: &Record, by: &[usize]) {
        let by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        let config = ballot.term.config;
        self.sees(node, Fact::Chosen { name: &self.name, ballot, record, config, by: &by });
    }

    fn serve(&self, node: usize, record: &Record) {
        let object = record.object().unwrap();
        self.sees(node, Fact::Served { name: &self.name, version: record.version, object });
    }

    /// Proposed and accepted by `on`, and found to be chosen.
    fn write(&self, leader: usize, ballot: Ballot, record: &Record, on: &[usize]) {
        self.propose(leader, ballot, record);
        for node in on {
            self.accept(*node, ballot, record);
        }
        self.choose(leader, ballot, record, on);
    }

    #[track_caller]
    fn finds(&self, oracle: &str, words: &str) {
        let violation = self.oracles.violation().expect("a violation");
        assert_eq!(violation.oracle, oracle, "{violation}");
        assert!(violation.sentence.contains(words), "{violation}");
    }

    #[track_caller]
    fn finds_nothing(&self) {
        if let Some(violation) = self.oracles.violation() {
            panic!("{violation}");
        }
    }
}

/// Node 0 leads in round 1 and writes "one" on nodes 0 and 1.
fn with_one() -> (Cluster, Ballot, Record) {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 1]);
    let one = put(ballot(1, 0, 1), "one", &[(1, Effect::Put(Version(ballot(1, 0, 1))))]);
    cluster.write(0, ballot(1, 0, 1), &one, &[0, 1]);
    (cluster, ballot(1, 0, 1), one)
}

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
    cluster.sees(0, Fact::Configured(&moving));
    let moving_term = Term { config: ConfigVersion(2), round: 1, node: NODES[0] };
    cluster.lead(moving_term, &[0, 1]);
    cluster.finds(MAJORITIES, "no majority of [n1, n2, n3]");
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
    cluster.sees(0, Fact::Configured(&layout(2, 2, &NODES[2..], None)));
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
