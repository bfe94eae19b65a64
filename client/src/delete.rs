//! Deleting an object.

use std::time::Duration;

use bytes::Bytes;
use holdfast_core::client::{Answer, Kind};
use holdfast_core::condition::Condition;
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::term::Version;
use holdfast_proto::convert::{condition_to_wire, optional_version};
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

/// What a delete did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// Whether there was an object.
    pub found: bool,
    /// The tombstone's version: of the one that this delete wrote, or, when there was no object, of the one that was
    /// there. `None`: nothing was ever written to the key.
    pub version: Option<Version>,
}

impl Client {
    /// Deletes an object. That there was none is no error.
    ///
    /// Errors: `ConditionFailed`, `Invalid`, and what [`Code`](crate::Code) says of all calls.
    pub async fn delete(&self, bucket: &str, key: &str, options: DeleteOptions) -> Result<Deleted, Error> {
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
            to_life: None,
            attempt: 0,
        };
        drive(self, call, |attempt| send(attempt, message.clone())).await.result
    }
}

async fn send(mut attempt: Attempt, mut message: v1::DeleteRequest) -> Attempted<Deleted> {
    message.op_id = Bytes::copy_from_slice(&attempt.op_id.to_bytes());
    message.retry = attempt.retry;
    match attempt.node.objects.delete(wire::request(message, attempt.timeout)).await {
        Ok(answer) => {
            let v1::DeleteResponse { deleted: found, version } = answer.into_inner();
            match optional_version(&version) {
                Ok(version) if found => wire::answered(Answer::Ok, Deleted { found, version }),
                Ok(version) => wire::answered(Answer::Unchanged, Deleted { found, version }),
                Err(invalid) => wire::senseless(Answer::Lost, &invalid.to_string()),
            }
        }
        Err(status) => wire::failed(&status),
    }
}
