//! Deleting an object.

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
use crate::wire;

/// How an object is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeleteOptions {
    /// What must hold of the key.
    pub condition: Condition,
    /// How long it may take; `None`: the client's usual.
    pub timeout: Option<Duration>,
    /// As in [`PutOptions::op_id`](crate::PutOptions::op_id).
    pub op_id: Option<OpId>,
}

impl Client {
    /// Deletes an object. `false`: there was none.
    ///
    /// Errors: `ConditionFailed`, `Invalid`, and what [`Code`](crate::Code) says of all calls.
    pub async fn delete(&self, bucket: &str, key: &str, options: DeleteOptions) -> Result<bool, Error> {
        let name = ObjectName::new(bucket, key)?;
        let call = Call {
            kind: Kind::Mutation,
            partition: Some(name.partition()),
            body_bytes: 0,
            timeout: self.timeout_or(options.timeout),
            op_id: Some(options.op_id.unwrap_or_else(|| self.fresh_op_id())),
            doubtful: options.op_id.is_some(),
            pinned: options.op_id.is_some(),
        };
        let message = v1::DeleteRequest {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            op_id: Bytes::new(),
            condition: condition_to_wire(options.condition),
            retry: false,
        };
        drive(self, call, |attempt| send(attempt, message.clone())).await.result
    }
}

async fn send(mut attempt: Attempt, mut message: v1::DeleteRequest) -> Attempted<bool> {
    message.op_id = Bytes::copy_from_slice(&attempt.op_id.to_bytes());
    message.retry = attempt.retry;
    match attempt.node.objects.delete(wire::request(message, attempt.timeout)).await {
        Ok(answer) if answer.get_ref().deleted => wire::answered(Answer::Ok, true),
        Ok(_) => wire::answered(Answer::Unchanged, false),
        Err(status) => wire::failed(&status),
    }
}
