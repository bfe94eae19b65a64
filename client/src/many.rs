//! Many small puts or gets in few round trips. Each item is independent and has its own result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use holdfast_core::client::{Answer, Kind};
use holdfast_core::error::{Code, Error as CoreError};
use holdfast_core::ids::{ObjectName, OpId, Partition};
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, Driven, drive};
use crate::error::Error;
use crate::get::{self, GetOptions, Object};
use crate::object::ObjectInfo;
use crate::put::{self, PutOp, PutOptions};
use crate::wire;

/// Items of one request: enough to hide a round trip, few enough that a hedge repeats little.
const BATCH_ITEMS_MAX: usize = 100;
/// Body bytes of one request.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Requests (batches, then leftovers) under way at the same time.
const PARALLEL_MAX: usize = 16;

/// One of many puts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutItem {
    /// Where to.
    pub bucket: String,
    /// Where to.
    pub key: String,
    /// What.
    pub body: Bytes,
    /// How.
    pub options: PutOptions,
}

/// One of many gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GetItem {
    /// Where from.
    pub bucket: String,
    /// Where from.
    pub key: String,
    /// How.
    pub options: GetOptions,
}

/// What became of one item in its batch.
enum Step<T> {
    /// This is its result.
    Done(Result<T, Error>),
    /// It is to be asked by itself; for a put: its op id, and whether that may have been sent.
    Alone(OpId, bool),
}

impl Client {
    /// Puts each. Results in the order of the items; one that fails does not touch the others.
    pub async fn put_many(&self, items: Vec<PutItem>) -> Vec<Result<ObjectInfo, Error>> {
        let mut results: Vec<Option<Result<ObjectInfo, Error>>> = items.iter().map(|_| None).collect();
        let mut groups: BTreeMap<usize, Vec<(usize, Partition)>> = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            match ObjectName::new(&item.bucket, &item.key) {
                Ok(name) => {
                    let leader = self.state().router.leader(name.partition());
                    let group = leader.map_or(usize::MAX, |slot| slot.index());
                    groups.entry(group).or_default().push((at, name.partition()));
                }
                Err(invalid) => results[at] = Some(Err(invalid.into())),
            }
        }
        let sizes = |at: usize| items[at].body.len();
        let batches: Vec<_> = groups.into_values().flat_map(|group| batches(group, sizes)).collect();
        let items = &items;
        let done: Vec<_> = stream::iter(batches)
            .map(|batch| async move { self.put_batch(items, batch).await })
            .buffer_unordered(PARALLEL_MAX)
            .collect()
            .await;
        let done: Vec<_> = stream::iter(done.into_iter().flatten())
            .map(|(at, step)| async move {
                match step {
                    Step::Done(result) => (at, result),
                    Step::Alone(op_id, doubtful) => {
                        let PutItem { bucket, key, body, options } = items[at].clone();
                        let pinned = options.op_id.is_some();
                        let op = PutOp { op_id, doubtful: doubtful || pinned, pinned };
                        (at, self.put_op(&bucket, &key, body, options, op).await)
                    }
                }
            })
            .buffer_unordered(PARALLEL_MAX)
            .collect()
            .await;
        in_order(results, done)
    }

    /// Gets each. Results in the order of the items.
    pub async fn get_many(&self, items: Vec<GetItem>) -> Vec<Result<Object, Error>> {
        let mut results: Vec<Option<Result<Object, Error>>> = items.iter().map(|_| None).collect();
        let mut good = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match ObjectName::new(&item.bucket, &item.key) {
                Ok(name) => good.push((at, name.partition())),
                Err(invalid) => results[at] = Some(Err(invalid.into())),
            }
        }
        let items = &items;
        let done: Vec<_> = stream::iter(batches(good, |_| 0))
            .map(|batch| async move { self.get_batch(items, batch).await })
            .buffer_unordered(PARALLEL_MAX)
            .collect()
            .await;
        let done: Vec<_> = stream::iter(done.into_iter().flatten())
            .map(|(at, step)| async move {
                match step {
                    Step::Done(result) => (at, result),
                    Step::Alone(..) => {
                        let GetItem { bucket, key, options } = &items[at];
                        (at, self.get(bucket, key, *options).await)
                    }
                }
            })
            .buffer_unordered(PARALLEL_MAX)
            .collect()
            .await;
        in_order(results, done)
    }

    async fn put_batch(
        &self,
        items: &[PutItem],
        batch: Vec<(usize, Partition)>,
    ) -> Vec<(usize, Step<ObjectInfo>)> {
        let op_ids: Vec<OpId> = batch
            .iter()
            .map(|(at, _)| items[*at].options.op_id.unwrap_or_else(|| self.fresh_op_id()))
            .collect();
        let puts = batch.iter().zip(&op_ids).map(|((at, _), op_id)| {
            let PutItem { bucket, key, body, options } = items[*at].clone();
            let given = options.op_id.is_some();
            let name = ObjectName::new(&bucket, &key).expect("only items with good names are in a batch");
            let message = put::to_wire(&name, body, options);
            v1::PutRequest { op_id: Bytes::copy_from_slice(&op_id.to_bytes()), retry: given, ..message }
        });
        let message = Arc::new(v1::PutManyRequest { puts: puts.collect() });
        let timeout = longest(batch.iter().map(|(at, _)| self.timeout_or(items[*at].options.timeout)));
        let call = Call {
            kind: Kind::Mutation,
            partition: batch.first().map(|(_, partition)| *partition),
            body_bytes: message.puts.iter().map(|put| put.body.len()).sum(),
            timeout,
            op_id: Some(OpId::default()),
            doubtful: false,
            pinned: false,
        };
        let Driven { result, attempts, .. } =
            drive(self, call, |attempt| send_puts(attempt, message.clone())).await;
        let results = match result {
            Ok(results) => results,
            Err(error) => {
                let failed = op_ids.iter().map(|op_id| error.clone().with_op_id(Some(*op_id)));
                return batch.iter().map(|(at, _)| *at).zip(failed.map(|e| Step::Done(Err(e)))).collect();
            }
        };
        let steps = results.into_iter().zip(&op_ids).map(|(result, op_id)| match result {
            Ok(info) => Step::Done(Ok(info)),
            Err(error) => judge_put(error, *op_id, attempts > 1),
        });
        batch.iter().map(|(at, _)| *at).zip(steps).collect()
    }

    async fn get_batch(
        &self,
        items: &[GetItem],
        batch: Vec<(usize, Partition)>,
    ) -> Vec<(usize, Step<Object>)> {
        let gets = batch.iter().map(|(at, _)| {
            let GetItem { bucket, key, options } = &items[*at];
            get::to_wire(bucket, key, options)
        });
        let message = v1::GetManyRequest { gets: gets.collect() };
        let call = Call {
            kind: Kind::Read,
            partition: None,
            body_bytes: 0,
            timeout: longest(batch.iter().map(|(at, _)| self.timeout_or(items[*at].options.timeout))),
            op_id: None,
            doubtful: false,
            pinned: false,
        };
        let driven = drive(self, call, |attempt| send_gets(attempt, message.clone())).await;
        match driven.result {
            Ok(steps) => batch.iter().map(|(at, _)| *at).zip(steps).collect(),
            Err(error) => batch.iter().map(|(at, _)| (*at, Step::Done(Err(error.clone())))).collect(),
        }
    }
}

/// An item of a batch was refused. What other attempts of the batch did is not known here, so only a refusal that
/// holds for all of them is its result; anything else is asked alone.
fn judge_put(error: Error, op_id: OpId, sent_twice: bool) -> Step<ObjectInfo> {
    match error.code() {
        Code::Invalid | Code::TooLarge(_) | Code::Range(_) => Step::Done(Err(error)),
        Code::ConditionFailed(_) if !sent_twice => Step::Done(Err(error)),
        Code::Timeout | Code::OutcomeUnknown | Code::Internal => Step::Alone(op_id, true),
        _ => Step::Alone(op_id, sent_twice),
    }
}

async fn send_puts(
    mut attempt: Attempt,
    message: Arc<v1::PutManyRequest>,
) -> Attempted<Vec<Result<ObjectInfo, Error>>> {
    let mut message = Arc::unwrap_or_clone(message);
    for put in &mut message.puts {
        put.retry |= attempt.retry;
    }
    let asked = message.puts.len();
    let answer = match attempt.node.objects.put_many(wire::request(message, attempt.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wire::failed(&status),
    };
    let results: Vec<_> = answer.results.into_iter().map(|result| put_result(result.result)).collect();
    if results.len() != asked {
        return wire::senseless(Answer::Lost, "it has another number of results than were asked for");
    }
    wire::answered(Answer::Ok, results)
}

fn put_result(result: Option<v1::put_many_response::result::Result>) -> Result<ObjectInfo, Error> {
    use v1::put_many_response::result::Result as Kind;
    // Without a readable answer it may have happened.
    let unreadable = || Error::from(CoreError::new(Code::OutcomeUnknown, "a result that cannot be read"));
    match result {
        Some(Kind::Info(info)) => ObjectInfo::from_wire(Some(info)).map_err(|_| unreadable()),
        Some(Kind::Error(detail)) => {
            Err(CoreError::try_from(detail).map_or_else(|_| unreadable(), Error::from))
        }
        None => Err(unreadable()),
    }
}

async fn send_gets(mut attempt: Attempt, message: v1::GetManyRequest) -> Attempted<Vec<Step<Object>>> {
    use v1::get_many_response::result::Result as Kind;
    let whole: Vec<bool> = message.gets.iter().map(|get| get.range.is_none()).collect();
    let answer = match attempt.node.objects.get_many(wire::request(message, attempt.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wire::failed(&status),
    };
    if answer.results.len() != whole.len() {
        return wire::senseless(Answer::Damaged, "it has another number of results than were asked for");
    }
    let steps = answer.results.into_iter().zip(whole).map(|(result, whole)| match result.result {
        Some(Kind::Object(object)) => match get::from_wire(object, whole).result {
            Ok(object) => Step::Done(Ok(object)),
            Err(_) => Step::Alone(OpId::default(), false),
        },
        Some(Kind::Error(detail)) => match CoreError::try_from(detail) {
            Ok(error) if matches!(error.code, Code::NotFound | Code::Invalid | Code::Range(_)) => {
                Step::Done(Err(error.into()))
            }
            // Too large for what was left of the answer, or something that passes.
            Ok(_) | Err(_) => Step::Alone(OpId::default(), false),
        },
        None => Step::Alone(OpId::default(), false),
    });
    wire::answered(Answer::Ok, steps.collect())
}

/// Splits a group by number and bytes.
fn batches(group: Vec<(usize, Partition)>, bytes: impl Fn(usize) -> usize) -> Vec<Vec<(usize, Partition)>> {
    let mut batches: Vec<Vec<(usize, Partition)>> = Vec::new();
    let mut room = 0;
    for entry in group {
        let size = bytes(entry.0);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ITEMS_MAX && size <= room => {
                room -= size;
                batch.push(entry);
            }
            _ => {
                room = BATCH_BYTES_MAX.saturating_sub(size);
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

fn longest(timeouts: impl Iterator<Item = Duration>) -> Duration {
    timeouts.max().unwrap_or_default()
}

fn in_order<T>(
    mut results: Vec<Option<Result<T, Error>>>,
    done: Vec<(usize, Result<T, Error>)>,
) -> Vec<Result<T, Error>> {
    for (at, result) in done {
        results[at] = Some(result);
    }
    results
        .into_iter()
        .map(|result| result.expect("every item is in one batch, or was refused before"))
        .collect()
}
