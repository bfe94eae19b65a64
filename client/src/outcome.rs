//! Settling what became of a mutation whose answer was lost.

use bytes::Bytes;
use holdfast_core::client::{Answer, Kind};
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::term::Version;
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, drive};
use crate::error::Error;
use crate::wire;

/// What became of a mutation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It took effect, and wrote this version (a delete: its tombstone's).
    Committed(Version),
    /// It has not taken effect, and never will: asking has made sure of that.
    Fenced,
    /// So long ago that the key's history cannot tell.
    Unknown,
}

impl Client {
    /// Settles what became of the mutation `op_id` of this key. May be asked any number of times.
    pub async fn outcome(&self, bucket: &str, key: &str, op_id: OpId) -> Result<Outcome, Error> {
        let name = ObjectName::new(bucket, key)?;
        let call = Call {
            // Asking twice is harmless, so it is retried as a read is.
            kind: Kind::Read,
            partition: Some(name.partition()),
            body_bytes: 0,
            timeout: self.timeout_or(None),
            op_id: None,
            doubtful: false,
            pinned: false,
        };
        let message = v1::OutcomeRequest {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            op_id: Bytes::copy_from_slice(&op_id.to_bytes()),
        };
        drive(self, call, |attempt| send(attempt, message.clone())).await.result
    }
}

async fn send(mut attempt: Attempt, message: v1::OutcomeRequest) -> Attempted<Outcome> {
    use v1::outcome_response::Kind;
    let answer = match attempt.node.objects.outcome(wire::request(message, attempt.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wire::failed(&status),
    };
    let outcome = match Kind::try_from(answer.kind) {
        Ok(Kind::Committed) => answer.version.parse().map(Outcome::Committed),
        Ok(Kind::Fenced) => Ok(Outcome::Fenced),
        Ok(Kind::Unknown) => Ok(Outcome::Unknown),
        Ok(Kind::Unspecified) | Err(_) => {
            return wire::senseless(Answer::Damaged, "an outcome of an unknown kind");
        }
    };
    match outcome {
        Ok(outcome) => wire::answered(Answer::Ok, outcome),
        Err(invalid) => wire::senseless(Answer::Damaged, &invalid.to_string()),
    }
}
