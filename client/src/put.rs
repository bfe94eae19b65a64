//! Writing an object.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use holdfast_core::client::{Answer, Kind};
use holdfast_core::condition::Condition;
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_proto::convert::condition_to_wire;
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, drive};
use crate::error::Error;
use crate::object::ObjectInfo;
use crate::wire;

/// How an object is written. [`Default`] is right for most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// Media type; empty: `application/octet-stream`.
    pub content_type: String,
    /// The user's own names and values: names of `a-z 0-9 - _ .`, at most 2048 bytes together.
    pub metadata: BTreeMap<String, String>,
    /// What must hold of the key.
    pub condition: Condition,
    /// How long it may take; `None`: the client's usual.
    pub timeout: Option<Duration>,
    /// To repeat a mutation whose outcome is unknown, under its op id: it takes effect at most once in all. Errors
    /// with `Fenced` when its outcome was settled meanwhile: it did not happen. `None`: a fresh one.
    pub op_id: Option<OpId>,
}

/// Under which op id a put goes out: see [`holdfast_core::client::Spec`].
pub(crate) struct PutOp {
    pub(crate) op_id: OpId,
    pub(crate) doubtful: bool,
    pub(crate) pinned: bool,
}

impl Client {
    /// Writes an object: all of it or nothing. When it returns, a majority of the key's replicas have it on disk.
    ///
    /// Errors: `ConditionFailed`, `Invalid`, `TooLarge`, and what [`Code`](crate::Code) says of all calls.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<ObjectInfo, Error> {
        let given = options.op_id;
        let op_id = given.unwrap_or_else(|| self.fresh_op_id());
        let op = PutOp { op_id, doubtful: given.is_some(), pinned: given.is_some() };
        self.put_op(bucket, key, body.into(), options, op).await
    }

    pub(crate) async fn put_op(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        options: PutOptions,
        op: PutOp,
    ) -> Result<ObjectInfo, Error> {
        let name = ObjectName::new(bucket, key)?;
        let call = Call {
            kind: Kind::Mutation,
            partition: Some(name.partition()),
            body_bytes: body.len(),
            timeout: self.timeout_or(options.timeout),
            op_id: Some(op.op_id),
            doubtful: op.doubtful,
            pinned: op.pinned,
        };
        let message = to_wire(&name, body, options);
        let send = |attempt: Attempt| send(attempt, message.clone());
        drive(self, call, send).await.result
    }
}

/// The request, but for the op id and `retry`, which each attempt sets. Hashes the body.
pub(crate) fn to_wire(name: &ObjectName, body: Bytes, options: PutOptions) -> v1::PutRequest {
    v1::PutRequest {
        bucket: name.bucket.as_str().to_owned(),
        key: name.key.as_str().to_owned(),
        op_id: Bytes::new(),
        condition: condition_to_wire(options.condition),
        content_type: options.content_type,
        metadata: options.metadata,
        hash: Bytes::copy_from_slice(blake3::hash(&body).as_bytes()),
        retry: false,
        to_life: None,
        attempt: 0,
        body,
    }
}

async fn send(mut attempt: Attempt, mut message: v1::PutRequest) -> Attempted<ObjectInfo> {
    message.op_id = Bytes::copy_from_slice(&attempt.op_id.to_bytes());
    message.retry = attempt.retry;
    match attempt.node.objects.put(wire::request(message, attempt.timeout)).await {
        Ok(answer) => match ObjectInfo::from_wire(answer.into_inner().info) {
            Ok(info) => wire::answered(Answer::Ok, info),
            Err(invalid) => wire::senseless(Answer::Lost, &invalid.to_string()),
        },
        Err(status) => wire::failed(&status),
    }
}
