//! Operations passed on between nodes: to the wire and back.

use std::time::Duration;

use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::history::History;
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::term::Version;
use holdfast_proto::convert::{condition_from_wire, condition_to_wire, hash_from_slice, optional_version};
use holdfast_proto::v1;
use holdfast_proto::v1::forward::Operation as Wire;
use holdfast_proto::v1::forward_reply::Result as WireResult;

use super::write::{Done, Operation};
use super::{Deleted, NewObject, OutcomeAnswer};

/// What arrived from a peer.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way to be carried out")]
pub(super) enum Arrived {
    /// For the key's leader.
    Operation(Operation),
    /// A linearizable read, for any replica.
    Get { head_only: bool },
}

pub(super) fn request(
    name: &ObjectName,
    operation: &Operation,
    astray: bool,
    patience: Duration,
    hops: u32,
) -> v1::Forward {
    let bucket = name.bucket.as_str().to_owned();
    let key = name.key.as_str().to_owned();
    let mut head_only = false;
    let operation = match operation {
        Operation::Put { op, condition, retry, object } => Wire::Put(v1::PutRequest {
            bucket,
            key,
            op_id: op.to_bytes().to_vec().into(),
            condition: condition_to_wire(*condition),
            content_type: object.content_type.clone(),
            metadata: object.metadata.clone(),
            hash: object.hash.to_vec().into(),
            retry: *retry || astray,
            to_life: None,
            attempt: 0,
            body: object.body.clone(),
        }),
        Operation::Delete { op, condition, retry } => Wire::Delete(v1::DeleteRequest {
            bucket,
            key,
            op_id: op.to_bytes().to_vec().into(),
            condition: condition_to_wire(*condition),
            retry: *retry || astray,
            to_life: None,
            attempt: 0,
        }),
        Operation::Outcome { op } => {
            Wire::Outcome(v1::OutcomeRequest { bucket, key, op_id: op.to_bytes().to_vec().into() })
        }
        Operation::Resolve { head_only: only } => {
            head_only = *only;
            Wire::Resolve(v1::GetRequest { bucket, key, ..v1::GetRequest::default() })
        }
    };
    v1::Forward { operation: Some(operation), timeout_ms: millis(patience), hops, head_only }
}

/// A read passed on by a node that holds no replica of the key.
pub(super) fn get_request(name: &ObjectName, head_only: bool, patience: Duration, hops: u32) -> v1::Forward {
    let get = v1::GetRequest {
        bucket: name.bucket.as_str().to_owned(),
        key: name.key.as_str().to_owned(),
        ..v1::GetRequest::default()
    };
    v1::Forward { operation: Some(Wire::Get(get)), timeout_ms: millis(patience), hops, head_only }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// What a peer asks, checked.
pub(super) fn arrived(forward: v1::Forward) -> Result<(ObjectName, Arrived), Invalid> {
    let head_only = forward.head_only;
    match forward.operation.ok_or(Invalid::new("a forward without an operation"))? {
        Wire::Put(put) => {
            let name = ObjectName::new(&put.bucket, &put.key)?;
            let object = NewObject {
                content_type: put.content_type,
                metadata: put.metadata,
                hash: hash_from_slice(&put.hash)?,
                body: put.body,
            };
            let operation = Operation::Put {
                op: OpId::from_slice(&put.op_id)?,
                condition: condition_from_wire(put.condition.as_ref())?,
                retry: put.retry,
                object,
            };
            Ok((name, Arrived::Operation(operation)))
        }
        Wire::Delete(delete) => {
            let name = ObjectName::new(&delete.bucket, &delete.key)?;
            let operation = Operation::Delete {
                op: OpId::from_slice(&delete.op_id)?,
                condition: condition_from_wire(delete.condition.as_ref())?,
                retry: delete.retry,
            };
            Ok((name, Arrived::Operation(operation)))
        }
        Wire::Outcome(outcome) => {
            let name = ObjectName::new(&outcome.bucket, &outcome.key)?;
            Ok((name, Arrived::Operation(Operation::Outcome { op: OpId::from_slice(&outcome.op_id)? })))
        }
        Wire::Resolve(get) => {
            let name = ObjectName::new(&get.bucket, &get.key)?;
            Ok((name, Arrived::Operation(Operation::Resolve { head_only })))
        }
        Wire::Get(get) => Ok((ObjectName::new(&get.bucket, &get.key)?, Arrived::Get { head_only })),
    }
}

/// The answer to a peer.
pub(super) fn reply(name: &ObjectName, put: bool, done: Result<Done, Error>) -> v1::ForwardReply {
    let result = match done {
        Ok(Done::Record(record)) if put => WireResult::Put(v1::PutResponse { info: info(name, &record) }),
        Ok(Done::Record(record)) => {
            let body = record.object().and_then(|object| object.body.clone()).unwrap_or_default();
            WireResult::Get(v1::GetResponse { info: info(name, &record), body, ..v1::GetResponse::default() })
        }
        Ok(Done::Deleted(deleted)) => WireResult::Delete(deleted.to_wire()),
        Ok(Done::Outcome(outcome)) => WireResult::Outcome(outcome_to_wire(outcome)),
        Err(error) => WireResult::Error((&error).into()),
    };
    v1::ForwardReply { result: Some(result) }
}

/// What a peer's answer means for `operation`.
pub(super) fn result(
    name: &ObjectName,
    operation: &Operation,
    reply: v1::ForwardReply,
) -> Result<Done, Error> {
    let with_body = matches!(operation, Operation::Resolve { head_only: false });
    match (operation, reply.result) {
        (_, Some(WireResult::Error(error))) => Err(Error::try_from(error)?),
        (Operation::Put { .. }, Some(WireResult::Put(put))) => {
            Ok(Done::Record(record(name, put.info, None)?))
        }
        (Operation::Delete { .. }, Some(WireResult::Delete(delete))) => {
            let version = optional_version(&delete.version)?;
            Ok(Done::Deleted(Deleted { found: delete.deleted, version }))
        }
        (Operation::Outcome { .. }, Some(WireResult::Outcome(outcome))) => {
            Ok(Done::Outcome(outcome_from_wire(&outcome)?))
        }
        (Operation::Resolve { .. }, Some(WireResult::Get(get))) => get_result(name, with_body, get),
        _ => Err(Error::new(Code::Internal, "a peer answered something else than was asked")),
    }
}

/// What a peer's answer to a passed-on read means.
pub(super) fn get_result(name: &ObjectName, with_body: bool, get: v1::GetResponse) -> Result<Done, Error> {
    let body = with_body.then_some(get.body);
    Ok(Done::Record(record(name, get.info, body)?))
}

/// What clients are told of an object.
pub(super) fn info(name: &ObjectName, record: &Record) -> Option<v1::ObjectInfo> {
    let object = record.object()?;
    Some(v1::ObjectInfo {
        key: name.key.as_str().to_owned(),
        version: record.version.to_text(),
        size: object.size,
        content_type: object.content_type.clone(),
        metadata: object.metadata.clone(),
        hash: object.hash.to_vec().into(),
        modified_unix_ms: object.modified_unix_ms,
    })
}

fn record(
    name: &ObjectName,
    info: Option<v1::ObjectInfo>,
    body: Option<bytes::Bytes>,
) -> Result<Record, Invalid> {
    let info = info.ok_or(Invalid::new("a peer answered without the object's head"))?;
    if info.key != name.key.as_str() {
        return Err(Invalid::new("a peer answered for another key"));
    }
    let version: Version = info.version.parse()?;
    let object = Object {
        size: info.size,
        content_type: info.content_type,
        metadata: info.metadata,
        hash: hash_from_slice(&info.hash)?,
        modified_unix_ms: info.modified_unix_ms,
        body,
    };
    Ok(Record { version, state: State::Object(object), history: History::default() })
}

fn outcome_to_wire(outcome: OutcomeAnswer) -> v1::OutcomeResponse {
    use v1::outcome_response::Kind;
    let (kind, version) = match outcome {
        OutcomeAnswer::Committed(version) => (Kind::Committed, version.to_text()),
        OutcomeAnswer::Fenced => (Kind::Fenced, String::new()),
        OutcomeAnswer::Unknown => (Kind::Unknown, String::new()),
    };
    v1::OutcomeResponse { kind: kind.into(), version }
}

fn outcome_from_wire(outcome: &v1::OutcomeResponse) -> Result<OutcomeAnswer, Invalid> {
    use v1::outcome_response::Kind;
    match Kind::try_from(outcome.kind) {
        Ok(Kind::Committed) => Ok(OutcomeAnswer::Committed(outcome.version.parse()?)),
        Ok(Kind::Fenced) => Ok(OutcomeAnswer::Fenced),
        Ok(Kind::Unknown) => Ok(OutcomeAnswer::Unknown),
        Ok(Kind::Unspecified) | Err(_) => Err(Invalid::new("a peer answered an unknown outcome")),
    }
}
