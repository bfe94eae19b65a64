//! A map in place of the cluster: enough of the engine's behaviour to test what lies in front of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::error::{Code, Error};
use holdfast_core::history::History;
use holdfast_core::ids::{NodeId, ObjectName, OpId};
use holdfast_core::listing::{Listing, Query};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};
use holdfast_proto::v1;
use node::engine::{Deleted, Mutation, NewObject, OutcomeAnswer};
use node::service::Operations;
use tokio::time::Instant;

/// A key of this name makes a get answer with the error of the name's rest.
pub(crate) const ERROR_PREFIX: &str = "error/";
/// Puts and deletes of this key are stale unless their op id lies after [`STALE_FLOOR_MS`].
pub(crate) const STALE_KEY: &str = "stale";
pub(crate) const STALE_FLOOR_MS: u64 = 5_000_000_000_000;
/// A get of this key takes its time.
pub(crate) const SLOW_KEY: &str = "slow";
pub(crate) const SLOW: Duration = Duration::from_millis(300);

#[derive(Clone, Default)]
pub(crate) struct Memory {
    objects: Arc<Mutex<(u64, BTreeMap<ObjectName, Record>)>>,
}

impl Memory {
    pub(crate) fn len(&self) -> usize {
        self.objects.lock().unwrap().1.len()
    }
}

fn version(seq: u64) -> Version {
    let term = Term { config: ConfigVersion(1), round: 1, node: NodeId(0xabc) };
    Version(Ballot { term, seq })
}

pub(crate) fn errors() -> Vec<Code> {
    vec![
        Code::NotFound,
        Code::ConditionFailed(None),
        Code::ConditionFailed(Some(version(7))),
        Code::Invalid,
        Code::TooLarge(99),
        Code::ChecksumMismatch,
        Code::Range(12),
        Code::Unavailable,
        Code::Timeout,
        Code::OutcomeUnknown,
        Code::StaleOpId(OpId(77)),
        Code::Fenced,
        Code::Overloaded,
        Code::DiskFull,
        Code::Integrity,
        Code::Internal,
    ]
}

fn check_stale(name: &ObjectName, op: OpId) -> Result<(), Error> {
    if name.key.as_str() == STALE_KEY && op.unix_ms() <= STALE_FLOOR_MS {
        let floor = OpId::from_parts(STALE_FLOOR_MS, [0xff; 10]);
        return Err(Error::new(Code::StaleOpId(floor), "stale"));
    }
    Ok(())
}

/// Its process, to those who ask.
pub(crate) const LIFE: u64 = 7;

impl Operations for Memory {
    async fn put(
        &self,
        name: ObjectName,
        Mutation { op, condition, .. }: Mutation,
        object: NewObject,
        _deadline: Instant,
    ) -> Result<Record, Error> {
        check_stale(&name, op)?;
        let (seq, objects) = &mut *self.objects.lock().unwrap();
        let current = objects.get(&name).map(|record| record.version);
        if !condition.holds(current) {
            return Err(Error::new(Code::ConditionFailed(current), "the condition does not hold"));
        }
        *seq += 1;
        let record = Record {
            version: version(*seq),
            state: State::Object(Object {
                size: object.body.len() as u64,
                content_type: object.content_type,
                metadata: object.metadata,
                hash: object.hash,
                modified_unix_ms: 1_700_000_000_000,
                body: Some(object.body),
            }),
            history: History::default(),
        };
        let head = record.head();
        objects.insert(name, record);
        Ok(head)
    }

    async fn delete(
        &self,
        name: ObjectName,
        Mutation { op, condition, .. }: Mutation,
        _deadline: Instant,
    ) -> Result<Deleted, Error> {
        check_stale(&name, op)?;
        let objects = &mut self.objects.lock().unwrap().1;
        let current = objects.get(&name).map(|record| record.version);
        if !condition.holds(current) {
            return Err(Error::new(Code::ConditionFailed(current), "the condition does not hold"));
        }
        Ok(Deleted { found: objects.remove(&name).is_some(), version: None })
    }

    async fn get(&self, name: ObjectName, _deadline: Instant) -> Result<Record, Error> {
        if let Some(which) = name.key.as_str().strip_prefix(ERROR_PREFIX) {
            let code = errors()[which.parse::<usize>().unwrap()].clone();
            return Err(Error::new(code, "as asked: é"));
        }
        if name.key.as_str() == SLOW_KEY {
            tokio::time::sleep(SLOW).await;
        }
        let objects = self.objects.lock().unwrap();
        objects.1.get(&name).cloned().ok_or(Error::new(Code::NotFound, "there is no such object"))
    }

    async fn head(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        self.get(name, deadline).await.map(|record| record.head())
    }

    async fn list(&self, query: Query, _deadline: Instant) -> Result<Listing, Error> {
        let objects = self.objects.lock().unwrap();
        let mut page = Listing::default();
        let matching = objects.1.iter().filter(|(name, _)| {
            name.bucket == *query.bucket()
                && name.key.as_str().starts_with(query.prefix())
                && query.after().is_none_or(|after| name.key.as_str() > after)
        });
        for (name, record) in matching {
            if page.objects.len() == query.limit() {
                page.next_after = page.objects.last().map(|(key, _, _)| key.as_str().to_owned());
                break;
            }
            page.objects.push((name.key.clone(), record.version, record.object().unwrap().clone()));
        }
        Ok(page)
    }

    async fn outcome(&self, _: ObjectName, op: OpId, _: Instant) -> Result<OutcomeAnswer, Error> {
        Ok(if op == OpId(1) { OutcomeAnswer::Committed(version(1)) } else { OutcomeAnswer::Fenced })
    }

    fn replicas(&self, _name: &ObjectName) -> Vec<NodeId> {
        vec![NodeId(0xabc), NodeId(0xdef)]
    }

    fn topology(&self) -> Option<v1::TopologyResponse> {
        None
    }

    async fn status(&self) -> v1::StatusResponse {
        v1::StatusResponse { cluster: "memory".to_owned(), ..v1::StatusResponse::default() }
    }

    fn ready(&self) -> Result<(), Error> {
        Err(Error::new(Code::Unavailable, "no layout yet"))
    }

    fn life(&self) -> u64 {
        LIFE
    }
}
