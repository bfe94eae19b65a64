//! A cluster that tells the oracles what a test says.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::history::{Effect, History};
use holdfast_core::ids::OpId;
use holdfast_core::placement::{Layout, Member, PartitionLayout};
use holdfast_core::record::{Record, State as RecordState};
use holdfast_core::term::{ConfigVersion, Version};

use super::*;

pub(super) const NODES: [NodeId; 4] = [NodeId(0xa0), NodeId(0xa1), NodeId(0xa2), NodeId(0xa3)];

/// Three replicas and a spare node, all opened and configured; the partition is the key's.
pub(super) struct Cluster {
    pub(super) oracles: Oracles,
    ears: Vec<Arc<dyn Witness>>,
    pub(super) name: ObjectName,
}

pub(super) fn term(round: u64, node: usize) -> Term {
    Term { config: ConfigVersion(1), round, node: NODES[node] }
}

pub(super) fn ballot(round: u64, node: usize, seq: u64) -> Ballot {
    Ballot { term: term(round, node), seq }
}

pub(super) fn layout(version: u64, config: u64, replicas: &[NodeId], next: Option<&[NodeId]>) -> Layout {
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

pub(super) fn put(version: Ballot, body: &str, history: &[(u128, Effect)]) -> Record {
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
    pub(super) fn new() -> Self {
        let oracles = Oracles::new();
        let ears = (0..NODES.len()).map(|node| oracles.for_node(&format!("n{node}"))).collect();
        let cluster = Self { oracles, ears, name: ObjectName::new("bucket", "key").unwrap() };
        for node in 0..NODES.len() {
            cluster.open(node, &[], &[]);
        }
        cluster.configure(&[0, 1, 2, 3], &layout(1, 1, &NODES[..3], None));
        cluster
    }

    /// A node's store is opened with these promises of the key's partition, and these records of the key.
    pub(super) fn open(&self, node: usize, promised: &[Term], held: &[(Ballot, Record)]) {
        let mut terms = vec![Term::ZERO; usize::from(Partition::COUNT)];
        for term in promised {
            terms[self.name.partition().index()] = *term;
        }
        let recovered =
            held.iter().map(|held| Recovered { name: self.name.clone(), held: Some(held.clone()) });
        let holds: Vec<_> = recovered.collect();
        self.sees(node, Fact::Opened { node: NODES[node], promised: &terms, holds: Some(&holds) });
    }

    pub(super) fn sees(&self, node: usize, fact: Fact<'_>) {
        self.ears[node].sees(fact);
    }

    pub(super) fn configure(&self, nodes: &[usize], layout: &Layout) {
        for node in nodes {
            self.sees(*node, Fact::Configured(layout));
        }
    }

    pub(super) fn promise(&self, node: usize, term: Term) {
        self.sees(node, Fact::Promised { partition: self.name.partition(), term });
    }

    pub(super) fn lead(&self, term: Term, by: &[usize]) {
        for node in by {
            self.promise(*node, term);
        }
        self.claim_to_lead(term, by);
    }

    pub(super) fn claim_to_lead(&self, term: Term, by: &[usize]) {
        let promised_by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        let leader = NODES.iter().position(|node| *node == term.node).unwrap();
        self.sees(leader, Fact::Led { partition: self.name.partition(), term, promised_by: &promised_by });
    }

    pub(super) fn propose(&self, node: usize, ballot: Ballot, record: &Record) {
        self.sees(node, Fact::Proposed { name: &self.name, ballot, record });
    }

    pub(super) fn accept(&self, node: usize, ballot: Ballot, record: &Record) {
        self.sees(node, Fact::Accepted { name: &self.name, ballot, record, installed: false });
    }

    pub(super) fn choose(&self, node: usize, ballot: Ballot, record: &Record, by: &[usize]) {
        let by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        let config = ballot.term.config;
        self.sees(node, Fact::Chosen { name: &self.name, ballot, record, config, by: &by });
    }

    pub(super) fn ask(&self, term: Term, question: u64) {
        let leader = NODES.iter().position(|node| *node == term.node).unwrap();
        self.sees(leader, Fact::Asks { name: &self.name, term, question });
    }

    pub(super) fn stand_by(&self, node: usize, term: Term) {
        self.sees(node, Fact::StoodBy { name: &self.name, term });
    }

    pub(super) fn confirm(&self, term: Term, question: u64, by: &[usize]) {
        let leader = NODES.iter().position(|node| *node == term.node).unwrap();
        let by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        self.sees(leader, Fact::Confirmed { name: &self.name, term, question, by: &by });
    }

    pub(super) fn find_nothing(&self, node: usize, by: &[usize]) {
        let by: Vec<_> = by.iter().map(|node| NODES[*node]).collect();
        self.sees(node, Fact::FoundNothing { name: &self.name, config: ConfigVersion(1), by: &by });
    }

    pub(super) fn serve(&self, node: usize, record: &Record) {
        let object = record.object().unwrap();
        self.sees(node, Fact::Served { name: &self.name, version: record.version, object });
    }

    /// Proposed and accepted by `on`, and found to be chosen.
    pub(super) fn write(&self, leader: usize, ballot: Ballot, record: &Record, on: &[usize]) {
        self.propose(leader, ballot, record);
        for node in on {
            self.accept(*node, ballot, record);
        }
        self.choose(leader, ballot, record, on);
    }

    #[track_caller]
    pub(super) fn finds(&self, oracle: &str, words: &str) {
        let violation = self.oracles.violation().expect("a violation");
        assert_eq!(violation.oracle, oracle, "{violation}");
        assert!(violation.sentence.contains(words), "{violation}");
    }

    #[track_caller]
    pub(super) fn finds_nothing(&self) {
        if let Some(violation) = self.oracles.violation() {
            panic!("{violation}");
        }
    }
}

/// Node 0 leads in round 1 and writes "one" on nodes 0 and 1.
pub(super) fn with_one() -> (Cluster, Ballot, Record) {
    let cluster = Cluster::new();
    cluster.lead(term(1, 0), &[0, 1]);
    let one = put(ballot(1, 0, 1), "one", &[(1, Effect::Put(Version(ballot(1, 0, 1))))]);
    cluster.write(0, ballot(1, 0, 1), &one, &[0, 1]);
    (cluster, ballot(1, 0, 1), one)
}
