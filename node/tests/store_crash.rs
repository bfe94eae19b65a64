//! After a crash at any moment everything that was answered is there, and promises never regress.
//!
//! Source: DESIGN's "durable before it is spoken of". Each seed is a sequence of lives on one disk, each ended by a
//! power loss at a random call to the disk, in which any part of what was not synced survives.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash_disk;
mod store_fixture;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crash_disk::{Random, env, new_disk};
use holdfast_core::ids::Partition;
use holdfast_core::term::{Ballot, Term};
use node::env::Blocking;
use node::store::{ReplicaAnswer, ReplicaOp, ScanStart, Store, StoreError, StoreOptions};
use parking_lot::Mutex;
use store_fixture::{accept, digest, install, name, options, record, term};

const SEEDS: u64 = 40;
const LIVES: u64 = 8;
const KEYS: u64 = 12;

/// What was answered: the disk must never say less.
#[derive(Default)]
struct Answered {
    accepted: BTreeMap<String, Ballot>,
    promised: BTreeMap<Partition, Term>,
}

impl Answered {
    fn on_promise(&mut self, partition: Partition, term: Term) {
        let known = self.promised.entry(partition).or_default();
        *known = term.max(*known);
    }

    fn on_answer(&mut self, asked: &ReplicaOp, answer: &ReplicaAnswer) {
        match (asked, answer) {
            (ReplicaOp::Prepare { partition, .. }, ReplicaAnswer::Promised { term, .. }) => {
                self.on_promise(*partition, *term);
            }
            (ReplicaOp::Learn { name, term, .. }, ReplicaAnswer::Learned(found)) => {
                self.on_promise(name.partition(), *term);
                let known = self.accepted.get(name.key.as_str()).copied();
                assert!(found.as_ref().map(|found| found.0) >= known, "a learn says less than was answered");
                if let Some((ballot, _)) = found {
                    self.accepted.insert(name.key.as_str().to_owned(), *ballot);
                }
            }
            (ReplicaOp::Accept { name, ballot, .. }, ReplicaAnswer::Stored) => {
                self.on_promise(name.partition(), ballot.term);
                self.accepted.insert(name.key.as_str().to_owned(), *ballot);
            }
            (ReplicaOp::Install { name, ballot, .. }, ReplicaAnswer::Stored) => {
                let known = self.accepted.entry(name.key.as_str().to_owned()).or_default();
                *known = (*ballot).max(*known);
            }
            (
                ReplicaOp::Learn { name, .. } | ReplicaOp::Accept { name, .. },
                ReplicaAnswer::Refused(term),
            ) => {
                self.on_promise(name.partition(), *term);
            }
            (ReplicaOp::Accept { name, .. }, ReplicaAnswer::Superseded(ballot)) => {
                self.accepted.insert(name.key.as_str().to_owned(), *ballot);
            }
            other => panic!("an answer that does not fit: {other:?}"),
        }
    }

    /// Checks, and remembers what it was shown: that counts as spoken of, too.
    fn check(&mut self, store: &Store) {
        for partition in Partition::all() {
            let (promised, known) = (store.promised(partition), self.promised.entry(partition).or_default());
            assert!(promised >= *known, "the promise of {partition} regressed");
            *known = promised;
        }
        for key in (0..KEYS).map(|key| format!("k{key}")) {
            let name = name(&key);
            let found = store.read(&name, true).unwrap();
            if let Some((ballot, read)) = &found {
                assert_eq!(*read, record(&name, *ballot), "{key} holds something that nobody wrote");
            }
            let found = found.map(|found| found.0);
            assert!(found >= self.accepted.get(&key).copied(), "{key}: {found:?} is less than was answered");
            self.accepted.extend(found.map(|found| (key, found)));
        }
        for partition in Partition::all() {
            let held = self.accepted.iter().filter(|(key, _)| name(key).partition() == partition);
            let held = digest(held.map(|(key, ballot)| (key.as_str(), *ballot)));
            assert_eq!(store.digest(partition), held, "the digest of {partition} is not what is held");
        }
    }
}

fn operation(random: &mut Random) -> ReplicaOp {
    let key = format!("k{}", random.below(KEYS));
    let ballot = store_fixture::ballot(1 + random.below(4), 1 + random.below(1 << 20));
    match random.below(10) {
        0 => ReplicaOp::Prepare { partition: name(&key).partition(), term: term(1 + random.below(5)) },
        1 => ReplicaOp::Learn {
            name: name(&key),
            term: term(1 + random.below(5)),
            with_body: random.one_in(2),
        },
        2 | 3 => install(&key, ballot),
        _ => accept(&key, ballot),
    }
}

/// One life: work until the power goes, some of it in flight together.
async fn live(store: &Store, random: &mut Random, answered: &Arc<Mutex<Answered>>) {
    for _ in 0..200 {
        if store.failed().is_some() {
            break;
        }
        let operations: Vec<_> = (0..=random.below(4)).map(|_| operation(random)).collect();
        let asked = operations.clone();
        let model = Arc::clone(answered);
        store
            .submit(operations, move |answers| {
                for (asked, answer) in asked.iter().zip(answers) {
                    match answer {
                        Ok(answer) => model.lock().on_answer(asked, &answer),
                        Err(StoreError::Failed(_) | StoreError::Closed) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
            .await;
        match random.below(12) {
            // Long enough for a checkpoint out of quiet.
            0 => tokio::time::sleep(Duration::from_secs(10)).await,
            1..6 => tokio::task::yield_now().await,
            _ => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn trial(seed: u64) {
    let mut random = Random::new(seed, "trial");
    let disk = new_disk(seed);
    let answered = Arc::new(Mutex::new(Answered::default()));
    for life in 0..LIVES {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // Often within the very start, also the first.
        let calls = if random.one_in(2) { random.below(60) } else { random.below(1500) };
        disk.power_off_in(calls + 1);
        let env = env(&disk, seed ^ (life << 32), Blocking::InPlace);
        runtime.block_on(async {
            match Store::open(&env, options()).await {
                Ok(store) => {
                    answered.lock().check(&store);
                    live(&store, &mut random, &answered).await;
                }
                Err(error) => assert!(
                    matches!(error, node::store::OpenError::Io(_)) || disk_is_off(&error),
                    "life {life}: {error}"
                ),
            }
        });
        if random.one_in(3) {
            disk.process_kill();
        } else {
            disk.power_loss();
        }
        drop(runtime);
    }
    // The last life: the power stays on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&env(&disk, seed, Blocking::InPlace), options()).await.unwrap();
        answered.lock().check(&store);
        let page = store.scan(&name("x").bucket, "", ScanStart::First, 1000).unwrap();
        let listed: Vec<_> = page.entries.iter().map(|entry| entry.key.as_str().to_owned()).collect();
        let mut sorted = listed.clone();
        sorted.sort();
        assert_eq!(listed, sorted);
        assert!(answered.lock().accepted.keys().all(|key| listed.contains(key)), "the listing lacks a key");
        store.close().await.unwrap();
    });
}

/// redb wraps the disk's error when it is opened.
fn disk_is_off(error: &node::store::OpenError) -> bool {
    error.to_string().contains("os error 5")
}

#[test]
fn what_was_answered_survives_a_crash_at_any_moment() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| trial(seed));
        assert!(outcome.is_ok(), "seed {seed} failed");
    }
}

/// A killed process loses nothing even without syncs.
#[test]
fn without_fsync_a_killed_process_loses_nothing() {
    let disk = new_disk(1);
    let options = || StoreOptions { fsync: false, ..options() };
    for life in 0..4 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = Store::open(&env(&disk, life, Blocking::InPlace), options()).await.unwrap();
            if life > 0 {
                (0..30).for_each(|key| {
                    store_fixture::assert_holds(&store, &format!("k{key}"), store_fixture::ballot(life, 1));
                });
            }
            for key in 0..30 {
                store_fixture::stored(&store, accept(&format!("k{key}"), store_fixture::ballot(life + 1, 1)))
                    .await;
            }
        });
        disk.process_kill();
        drop(runtime);
    }
}
