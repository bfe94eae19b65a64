//! Names, ballots and records for the store's tests. A record's content follows from its key and ballot, so that a
//! check needs no memory of what was written.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_core::history::{Effect, History};
use holdfast_core::ids::{NodeId, ObjectName, OpId};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::register::Digest;
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};
use node::store::{ReplicaAnswer, ReplicaOp, Store, StoreOptions};

pub fn name(key: &str) -> ObjectName {
    ObjectName::new("bucket", key).unwrap()
}

pub fn term(round: u64) -> Term {
    Term { config: ConfigVersion(1), round, node: NodeId(7) }
}

pub fn ballot(round: u64, seq: u64) -> Ballot {
    Ballot { term: term(round), seq }
}

/// The record that this key has at this ballot: tombstones and bodies of all sizes, inside and beside the head.
pub fn record(name: &ObjectName, ballot: Ballot) -> Record {
    let text = format!("{name}@{ballot:?}");
    let hash = blake3::hash(text.as_bytes());
    let size = match hash.as_bytes()[0] % 8 {
        0 => return tombstone(ballot),
        1 => 0,
        2 => 5000,
        3 => 20_000,
        _ => usize::from(hash.as_bytes()[1]) * 4,
    };
    object(ballot, text.bytes().cycle().take(size).collect())
}

pub fn tombstone(ballot: Ballot) -> Record {
    let history = History::from_parts([(OpId(9), Effect::Deleted(Version(ballot)))], OpId(3));
    Record { version: Version(ballot), state: State::Tombstone { deleted_unix_ms: 4 }, history }
}

pub fn object(ballot: Ballot, body: Vec<u8>) -> Record {
    let history =
        History::from_parts([(OpId(8), Effect::Put(Version(ballot))), (OpId(9), Effect::Fenced)], OpId(0));
    let object = Object {
        size: body.len() as u64,
        content_type: "text/plain".to_owned(),
        metadata: [("colour".to_owned(), "red".to_owned())].into(),
        hash: *blake3::hash(&body).as_bytes(),
        modified_unix_ms: 1_700_000_000_000,
        body: Some(Bytes::from(body)),
    };
    Record { version: Version(ballot), state: State::Object(object), history }
}

pub fn accept(key: &str, ballot: Ballot) -> ReplicaOp {
    let name = name(key);
    let record = Arc::new(record(&name, ballot));
    ReplicaOp::Accept { name, ballot, record }
}

pub fn install(key: &str, ballot: Ballot) -> ReplicaOp {
    let name = name(key);
    let record = Arc::new(record(&name, ballot));
    ReplicaOp::Install { name, ballot, record }
}

/// Of a partition with these keys.
pub fn digest<'a>(held: impl IntoIterator<Item = (&'a str, Ballot)>) -> Digest {
    let mut digest = Digest::default();
    for (key, ballot) in held {
        digest.replace(format!("bucket\0{key}").as_bytes(), None, ballot);
    }
    digest
}

/// Small checkpoints, so that tests see many.
pub fn options() -> StoreOptions {
    StoreOptions {
        checkpoint_log_bytes: 8 << 10,
        cache_bytes: 1 << 20,
        checkpoint_quiet: Duration::from_secs(5),
        ..StoreOptions::new("test")
    }
}

pub async fn stored(store: &Store, operation: ReplicaOp) {
    assert_eq!(store.apply(operation).await.unwrap(), ReplicaAnswer::Stored);
}

/// Asserts that the key holds what belongs to this ballot.
pub fn assert_holds(store: &Store, key: &str, ballot: Ballot) {
    let name = name(key);
    let whole = record(&name, ballot);
    assert_eq!(store.read(&name, false).unwrap(), Some((ballot, whole.head())));
    assert_eq!(store.read(&name, true).unwrap(), Some((ballot, whole)));
}
