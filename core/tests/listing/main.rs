//! The listing merge: step tests that compare exact effects, and any cluster against a brute-force model.

#![allow(clippy::unwrap_used, reason = "a test stops where its own set-up is wrong")]

mod model;
mod steps;

use holdfast_core::history::History;
use holdfast_core::ids::{NodeId, ObjectKey, Partition};
use holdfast_core::listing::Entry;
use holdfast_core::placement::{Layout, PartitionLayout};
use holdfast_core::record::{CONTENT_TYPE_DEFAULT, Object, Record, State};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

/// A layout whose partition `n` has the replicas `replicas[n % replicas.len()]`.
fn layout(replicas: &[Vec<NodeId>]) -> Layout {
    let partitions = Partition::all()
        .map(|partition| PartitionLayout {
            config: ConfigVersion(1),
            replicas: replicas[partition.index() % replicas.len()].clone(),
            next: None,
        })
        .collect();
    Layout { version: 1, replication: 3, nodes: Default::default(), partitions }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn ballot(seq: u64) -> Ballot {
    Ballot { term: Term::ZERO.next(ConfigVersion(1), NodeId(1)), seq }
}

fn object() -> Object {
    Object {
        size: 3,
        content_type: CONTENT_TYPE_DEFAULT.to_string(),
        metadata: Default::default(),
        hash: [7; 32],
        modified_unix_ms: 0,
        body: None,
    }
}

fn record(seq: u64, live: bool) -> Record {
    let state = if live { State::Object(object()) } else { State::Tombstone { deleted_unix_ms: 0 } };
    Record { version: Version(ballot(seq)), state, history: History::default() }
}

fn entry(text: &str, seq: u64, live: bool) -> Entry {
    Entry { key: key(text), ballot: ballot(seq), record: record(seq, live) }
}
