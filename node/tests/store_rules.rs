//! What the store answers, and that it shows only what is durable; on the real disk with threads, and in place.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash_disk;
mod store_fixture;

use std::sync::Arc;
use std::time::Duration;

use crash_disk::{SimDisk, env, new_disk};
use holdfast_core::ids::Partition;
use holdfast_core::record::State;
use holdfast_core::term::Term;
use node::env::{Blocking, real};
use node::store::{ReplicaAnswer, ReplicaOp, ScanStart, Store, StoreError, StoreOptions};
use store_fixture::{
    accept, assert_holds, ballot, digest, install, name, object, options, record, stored, term,
};

async fn in_memory(blocking: Blocking) -> (SimDisk, Store) {
    let disk = new_disk(1);
    let store = Store::open(&env(&disk, 1, blocking), options()).await.unwrap();
    (disk, store)
}

#[tokio::test]
async fn a_replica_keeps_the_rules() {
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let partition = name("k").partition();
    let prepare = |round| ReplicaOp::Prepare { partition, term: term(round) };
    let learn = |round| ReplicaOp::Learn { name: name("k"), term: term(round), with_body: true };
    let holds = |at| ReplicaAnswer::Learned(Some((at, Arc::new(record(&name("k"), at)))));
    let apply = async |operation| store.apply(operation).await.unwrap();

    let promised = |round| ReplicaAnswer::Promised { term: term(round), holds: store.digest(partition) };

    assert_eq!(store.promised(partition), Term::ZERO);
    assert_eq!(apply(prepare(2)).await, promised(2));
    assert_eq!(store.promised(partition), term(2));
    assert_eq!(apply(prepare(2)).await, promised(2));
    assert_eq!(apply(prepare(1)).await, promised(2));
    assert_eq!(apply(learn(1)).await, ReplicaAnswer::Refused(term(2)));
    assert_eq!(apply(learn(3)).await, ReplicaAnswer::Learned(None));
    assert_eq!(store.promised(partition), term(3));
    assert_eq!(apply(accept("k", ballot(2, 1))).await, ReplicaAnswer::Refused(term(3)));
    assert_eq!(apply(accept("k", ballot(4, 2))).await, ReplicaAnswer::Stored);
    assert_eq!(store.promised(partition), term(4));
    assert_eq!(apply(accept("k", ballot(4, 1))).await, ReplicaAnswer::Superseded(ballot(4, 2)));
    assert_eq!(apply(accept("k", ballot(4, 2))).await, ReplicaAnswer::Stored);
    assert_eq!(apply(learn(4)).await, holds(ballot(4, 2)));
    // Known to be chosen: stored whatever is promised, unless something newer is there.
    assert_eq!(apply(prepare(9)).await, promised(9));
    assert_eq!(apply(install("k", ballot(5, 1))).await, ReplicaAnswer::Stored);
    assert_eq!(store.promised(partition), term(9));
    assert_holds(&store, "k", ballot(5, 1));
    assert_eq!(apply(install("k", ballot(3, 1))).await, ReplicaAnswer::Stored);
    assert_holds(&store, "k", ballot(5, 1));
    // Other partitions know nothing of it.
    let other = Partition::all().find(|other| *other != partition).unwrap();
    assert_eq!(store.promised(other), Term::ZERO);
}

#[tokio::test]
async fn operations_of_one_batch_see_each_other() {
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let commits = store.stats().commits;
    let partition = name("k").partition();
    let answers = store
        .apply_all(vec![
            accept("k", ballot(2, 1)),
            ReplicaOp::Learn { name: name("k"), term: term(3), with_body: false },
            accept("k", ballot(2, 2)),
            ReplicaOp::Prepare { partition, term: term(4) },
            accept("k", ballot(4, 1)),
        ])
        .await;
    let head = record(&name("k"), ballot(2, 1)).head();
    let expected = [
        ReplicaAnswer::Stored,
        ReplicaAnswer::Learned(Some((ballot(2, 1), Arc::new(head)))),
        ReplicaAnswer::Refused(term(3)),
        // What was accepted before it in the same batch counts, what comes after it does not.
        ReplicaAnswer::Promised { term: term(4), holds: digest([("k", ballot(2, 1))]) },
        ReplicaAnswer::Stored,
    ];
    assert_eq!(answers.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), expected);
    assert_holds(&store, "k", ballot(4, 1));
    assert_eq!(store.digest(partition), digest([("k", ballot(4, 1))]));
    assert_eq!(store.stats().commits, commits + 1);
}

#[tokio::test]
async fn a_record_without_its_bytes_is_refused() {
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let whole = object(ballot(1, 1), vec![1; 10]);
    let mut short = whole.clone();
    if let State::Object(object) = &mut short.state {
        object.size = 11;
    }
    for wrong in [whole.head(), short] {
        let accept = ReplicaOp::Accept { name: name("k"), ballot: ballot(1, 1), record: wrong.into() };
        assert!(matches!(store.apply(accept).await, Err(StoreError::NotWhole(_))));
    }
    assert_eq!(store.read(&name("k"), true).unwrap(), None);
    assert_eq!(store.promised(name("k").partition()), Term::ZERO);
}

#[tokio::test]
async fn nothing_is_visible_before_its_sync() {
    // In place, the writer is a task: until this one yields, nothing was synced.
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    store.submit(vec![accept("k", ballot(1, 1))], move |answers| sender.send(answers).unwrap()).await;
    assert_eq!(store.read(&name("k"), true).unwrap(), None);
    assert_eq!(store.promised(name("k").partition()), Term::ZERO);
    assert_eq!(receiver.await.unwrap(), [Ok(ReplicaAnswer::Stored)]);
    assert_holds(&store, "k", ballot(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_listing_merges_memory_and_disk() {
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let keys: Vec<String> =
        (0..30).flat_map(|n| [format!("a/{n:02}"), format!("b/{n:02}/x"), format!("b/{n:02}/y")]).collect();
    // Some checkpointed, some rewritten since, some only in memory.
    for (at, key) in keys.iter().enumerate().filter(|(at, _)| at % 3 != 0) {
        stored(&store, accept(key, ballot(1, at as u64 + 1))).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.stats().pending_log_bytes, 0);
    for (at, key) in keys.iter().enumerate().filter(|(at, _)| at % 3 != 1) {
        stored(&store, accept(key, ballot(2, at as u64 + 1))).await;
    }
    let mut expected: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| (key.clone(), ballot(if at % 3 == 1 { 1 } else { 2 }, at as u64 + 1)))
        .collect();
    expected.sort();
    let bucket = name("k").bucket;
    let scan = |prefix: &str, start: ScanStart<'_>, limit: usize| {
        let page = store.scan(&bucket, prefix, start, limit).unwrap();
        let entries: Vec<_> = page
            .entries
            .into_iter()
            .map(|entry| {
                assert_eq!(entry.record, record(&name(entry.key.as_str()), entry.ballot).head());
                (entry.key.as_str().to_owned(), entry.ballot)
            })
            .collect();
        (entries, page.complete)
    };
    assert_eq!(scan("", ScanStart::First, 1000), (expected.clone(), true));
    for limit in [1, 7, 89, 90] {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let (entries, complete) =
                scan("", after.as_deref().map_or(ScanStart::First, ScanStart::After), limit);
            assert!(entries.len() <= limit);
            after = entries.last().map(|entry| entry.0.clone());
            all.extend(entries);
            if complete {
                break;
            }
        }
        assert_eq!(all, expected, "limit {limit}");
    }
    let of = |prefix: &str| {
        expected.iter().filter(|entry| entry.0.starts_with(prefix)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(scan("b/1", ScanStart::First, 1000), (of("b/1"), true));
    assert_eq!(scan("b/", ScanStart::Past("b/07/"), 1).0[0].0, "b/08/x");
    assert_eq!(scan("b/", ScanStart::After("a/05"), 1).0[0].0, "b/00/x");
    assert_eq!(scan("a/", ScanStart::After("b/05/x"), 9), (Vec::new(), true));
    assert_eq!(scan("zz", ScanStart::First, 9), (Vec::new(), true));
    let other = holdfast_core::ids::BucketName::new("buckes").unwrap();
    assert!(store.scan(&other, "", ScanStart::First, 9).unwrap().entries.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_askers_on_the_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let env = real::env(folder.path().to_owned()).unwrap();
    let options = || StoreOptions { checkpoint_log_bytes: 64 << 10, ..options() };
    let store = Store::open(&env, options()).await.unwrap();
    let node = store.node_id();
    let askers: Vec<_> = (0..16)
        .map(|asker| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 1..=40 {
                    let key = format!("{asker}/{}", round % 5);
                    stored(&store, accept(&key, ballot(1, round))).await;
                    assert_holds(&store, &key, ballot(1, round));
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.operations, 640);
    assert!(stats.commits < 640, "operations share commits");
    assert!(stats.checkpoints > 0, "{stats:?}");
    store.close().await.unwrap();
    assert_eq!(store.apply(accept("k", ballot(1, 1))).await, Err(StoreError::Closed));
    assert_eq!(store.read(&name("k"), true), Err(StoreError::Closed));

    let store = Store::open(&env, options()).await.unwrap();
    assert_eq!(store.node_id(), node);
    assert_eq!(store.stats().pending_log_bytes, 0, "closing left a checkpoint");
    for asker in 0..16 {
        (36..=40).for_each(|round| assert_holds(&store, &format!("{asker}/{}", round % 5), ballot(1, round)));
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_who_does_not_wait() {
    let (_disk, store) = in_memory(Blocking::InPlace).await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut refused = 0;
    // Until this task yields, the writer does not run.
    for seq in 1..=64 {
        let sender = sender.clone();
        let record = object(ballot(1, seq), vec![1; 1 << 20]).into();
        let accept = ReplicaOp::Accept { name: name("k"), ballot: ballot(1, seq), record };
        store.try_submit(vec![accept], move |answers| sender.send(answers).unwrap());
    }
    while refused < 33 {
        let answers = receiver.recv().await.unwrap();
        refused += usize::from(answers == [Err(StoreError::Overloaded)]);
    }
    let answers = receiver.recv().await.unwrap();
    assert_eq!(answers, [Ok(ReplicaAnswer::Stored)]);
}
