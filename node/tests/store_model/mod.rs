//! Short workloads of a store, and what must be there after each of their steps.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::ids::Partition;
use holdfast_core::record::Record;
use holdfast_core::term::{Ballot, Term};
use node::env::Blocking;
use node::store::{OpenError, ReplicaAnswer, ReplicaOp, ScanStart, Store, StoreError, StoreOptions};

use crate::crash_disk::{SimDisk, env};
use crate::store_fixture::{ballot, digest, name, object, term, tombstone};

/// One key with bodies inside the head and tombstones, one with bodies beside it. Different partitions.
pub const KEYS: [&str; 2] = ["small", "large"];

/// What a workload is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// A promise in the small key's partition.
    Promise,
    /// An object of some hundred bytes; the second time it overwrites the first.
    Small,
    /// An object of some thousand bytes.
    Large,
    /// A tombstone over the small key.
    Delete,
    /// All that is in the log goes to redb.
    Checkpoint,
    /// The store is closed and opened.
    Reopen,
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::Promise, Self::Small, Self::Large, Self::Delete, Self::Checkpoint, Self::Reopen];

    /// The operation, when it is the `nth` step of its workload.
    fn operation(self, nth: usize) -> Option<ReplicaOp> {
        let ballot = step_ballot(nth);
        let accept = |key: &str, record: Record| {
            Some(ReplicaOp::Accept { name: name(key), ballot, record: Arc::new(record) })
        };
        let body = |bytes: usize| {
            format!("body of step {nth}, ").into_bytes().into_iter().cycle().take(bytes).collect()
        };
        match self {
            Self::Promise => {
                Some(ReplicaOp::Prepare { partition: name(KEYS[0]).partition(), term: ballot.term })
            }
            Self::Small => accept(KEYS[0], object(ballot, body(300 + 20 * nth))),
            Self::Large => accept(KEYS[1], object(ballot, body(1400 + 100 * nth))),
            Self::Delete => accept(KEYS[0], tombstone(ballot)),
            Self::Checkpoint | Self::Reopen => None,
        }
    }
}

fn step_ballot(nth: usize) -> Ballot {
    ballot(nth as u64 + 1, 1)
}

/// All that a store says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    pub records: BTreeMap<&'static str, (Ballot, Arc<Record>)>,
    pub promised: BTreeMap<Partition, Term>,
}

impl Model {
    /// What it is after the step was answered.
    pub fn after(&self, step: Step, nth: usize) -> Self {
        let mut after = self.clone();
        match step.operation(nth) {
            Some(ReplicaOp::Prepare { partition, term }) => {
                after.promised.insert(partition, term);
            }
            Some(ReplicaOp::Accept { name, ballot, record }) => {
                let key = KEYS.into_iter().find(|key| *key == name.key.as_str()).unwrap();
                after.promised.insert(name.partition(), ballot.term);
                after.records.insert(key, (ballot, record));
            }
            _ => {}
        }
        after
    }

    /// After each number of steps, from none.
    pub fn all(steps: &[Step]) -> Vec<Self> {
        let mut models = vec![Self::default()];
        for (nth, step) in steps.iter().enumerate() {
            models.push(models[nth].after(*step, nth));
        }
        models
    }
}

/// What is wrong with what a store says.
#[derive(PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It says so itself.
    Named(String),
    /// It says something else, and does not know it.
    Silent(String),
}

/// Compares all that a store says, except the digests, with a model.
pub fn compare(store: &Store, model: &Model) -> Result<(), Wrong> {
    let mut named = None;
    for key in KEYS {
        let want = model.records.get(key).map(|(ballot, record)| (*ballot, Record::clone(record)));
        match store.read(&name(key), true) {
            Ok(found) if found == want => {}
            Ok(found) => {
                let says = |found: &Option<(Ballot, Record)>| found.as_ref().map(|found| found.0.term.round);
                let (found, want) = (says(&found), says(&want));
                return Err(Wrong::Silent(format!("{key} is of step {found:?}, not {want:?} (from 1)")));
            }
            Err(error) => named = Some(error.to_string()),
        }
    }
    for key in KEYS {
        let partition = name(key).partition();
        let want = model.promised.get(&partition).copied().unwrap_or_default();
        let found = store.promised(partition);
        if found != want {
            return Err(Wrong::Silent(format!("{partition} has promised {found:?}, not {want:?}")));
        }
    }
    match store.scan(&name("x").bucket, "", ScanStart::First, 10) {
        Ok(page) => {
            let found: Vec<_> =
                page.entries.iter().map(|entry| (entry.key.as_str(), entry.ballot, &entry.record)).collect();
            let heads: Vec<_> =
                model.records.iter().map(|(key, (ballot, record))| (*key, *ballot, record.head())).collect();
            let same = found.len() == heads.len()
                && found
                    .iter()
                    .zip(&heads)
                    .all(|(found, head)| (found.0, found.1, found.2) == (head.0, head.1, &head.2));
            if !(same && page.complete) {
                return Err(Wrong::Silent("the listing is another".to_owned()));
            }
        }
        Err(error) => named = Some(error.to_string()),
    }
    named.map_or(Ok(()), |what| Err(Wrong::Named(what)))
}

/// Compares the digests, which must be right where nothing is damaged.
pub fn compare_digests(store: &Store, model: &Model) -> Result<(), Wrong> {
    for partition in Partition::all() {
        let held = model.records.iter().filter(|(key, _)| name(key).partition() == partition);
        if store.digest(partition) != digest(held.map(|(key, (ballot, _))| (*key, *ballot))) {
            return Err(Wrong::Silent(format!("the digest of {partition} is not of what is held")));
        }
    }
    Ok(())
}

pub fn options() -> StoreOptions {
    StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::new("test") }
}

pub async fn open(disk: &SimDisk) -> Result<Store, OpenError> {
    Store::open(&env(disk, 1, Blocking::InPlace), options()).await
}

/// A store that is being worked with.
pub struct Working {
    pub disk: SimDisk,
    pub store: Store,
}

impl Working {
    pub async fn new(disk: SimDisk) -> Result<Self, OpenError> {
        let store = open(&disk).await?;
        Ok(Self { disk, store })
    }

    /// One step. Errors with what the store names.
    pub async fn step(&mut self, step: Step, nth: usize) -> Result<(), String> {
        match (step, step.operation(nth)) {
            (_, Some(operation)) => match self.store.apply(operation).await {
                Ok(ReplicaAnswer::Stored) => Ok(()),
                Ok(ReplicaAnswer::Promised { term: promised, .. }) if promised == term(nth as u64 + 1) => {
                    Ok(())
                }
                Ok(other) => panic!("step {nth}, {step:?}: {other:?}"),
                Err(error) => Err(error.to_string()),
            },
            (Step::Reopen, None) => {
                self.store.close().await.map_err(|error: StoreError| error.to_string())?;
                self.store = open(&self.disk).await.map_err(|error| error.to_string())?;
                Ok(())
            }
            (_, None) => {
                // As after some seconds without a write.
                tokio::time::sleep(Duration::from_secs(8)).await;
                self.store.failed().map_or(Ok(()), |why| Err(why.to_owned()))
            }
        }
    }
}
