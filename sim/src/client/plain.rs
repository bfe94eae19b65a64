//! A client by somebody else: it speaks grpc-web itself, sends a request once or twice, and believes what it is told.
//!
//! Holdfast's own clients hide most of what nodes say behind further attempts; here every answer is the last word. What it
//! relies on is the promise of the service's definition: an error other than an unknown outcome, a timeout or an internal
//! one did nothing, and a retry that is refused fences whatever was sent before it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use holdfast::{Code, Condition, Error, OpId, Version};
use holdfast_proto::convert::condition_to_wire;
use holdfast_proto::v1;
use prost::Message;
use tokio::time::{sleep, timeout};

use super::{BUCKET, SimClient, TEXT, address};
use crate::browser::web::Reply;
use crate::history::{Action, OpNumber, Seen};
use crate::random::Random;

/// A node that does not end a request at its deadline is not waited for longer.
const GRACE: Duration = Duration::from_secs(1);

/// What a node said of one request.
#[derive(Clone, PartialEq, Debug)]
enum Said {
    /// It took effect.
    Done(Seen),
    /// It did nothing, since the key was not as it had to be.
    Refused(Seen),
    /// The operation never took effect, and never will.
    Fenced,
    /// The request did nothing.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// Where a request is sent, as an address, and how long it may take; and where a retry of it, how much later.
pub struct Course {
    first: (String, Duration),
    retry: Option<(Duration, String, Duration)>,
}

impl Course {
    /// One request.
    pub fn once(node: &str, limit: Duration) -> Self {
        Self { first: (address(node), limit), retry: None }
    }
}

impl SimClient {
    /// Nodes of `random`'s choice, one time in two with a retry.
    pub fn course(&self, mut random: Random) -> Course {
        let mut request = || (random.pick(&self.endpoints), random.log_ms(5, 4_000));
        let (first, second) = (request(), request());
        let retry = (!random.one_in(2)).then(|| (random.log_ms(1, 400), second.0, second.1));
        Course { first, retry }
    }

    /// Writes. The version, if it is known to have taken effect.
    pub async fn put_plain(
        &self,
        key: &str,
        condition: Condition,
        filler: usize,
        course: Course,
    ) -> Option<Version> {
        let (op, text) = self.begin_put(key, condition);
        let mut body = format!("{text}|").into_bytes();
        body.resize(body.len() + filler, b'.');
        let body = Bytes::from(body);
        let hash = Bytes::copy_from_slice(blake3::hash(&body).as_bytes());
        let metadata = BTreeMap::from([(TEXT.to_owned(), text)]);
        let encode = |op_id: OpId, retry: bool| {
            let (bucket, key) = (BUCKET.to_owned(), key.to_owned());
            let op_id = op_id.to_bytes().to_vec().into();
            let (metadata, hash, body) = (metadata.clone(), hash.clone(), body.clone());
            let condition = condition_to_wire(condition);
            let content_type = String::new();
            v1::PutRequest {
                bucket,
                key,
                op_id,
                condition,
                content_type,
                metadata,
                hash,
                retry,
                to_life: None,
                attempt: 0,
                body,
            }
            .encode_to_vec()
        };
        let done = |message: Bytes| {
            let info = v1::PutResponse::decode(message).ok()?.info?;
            Some(Said::Done(Seen::Wrote(info.version.parse().ok()?)))
        };
        self.send_plain(op, key, "holdfast.v1.Objects/Put", course, encode, done).await
    }

    /// Deletes, as [`Self::put_plain`] writes.
    pub async fn delete_plain(&self, key: &str, condition: Condition, course: Course) {
        let op = self.history.begin(&self.name, key, Action::Delete(condition));
        let encode = |op_id: OpId, retry: bool| {
            let (bucket, key) = (BUCKET.to_owned(), key.to_owned());
            let op_id = op_id.to_bytes().to_vec().into();
            v1::DeleteRequest {
                bucket,
                key,
                op_id,
                condition: condition_to_wire(condition),
                retry,
                to_life: None,
                attempt: 0,
            }
            .encode_to_vec()
        };
        let done = |message: Bytes| {
            let answer = v1::DeleteResponse::decode(message).ok()?;
            let version = Some(answer.version).filter(|text| !text.is_empty()).map(|text| text.parse());
            let version = version.transpose().ok()?;
            Some(match (answer.deleted, version) {
                (true, version) => Said::Done(Seen::Deleted(version?)),
                (false, version) => Said::Refused(Seen::NothingToDelete(version)),
            })
        };
        self.send_plain(op, key, "holdfast.v1.Objects/Delete", course, encode, done).await;
    }

    async fn send_plain(
        &self,
        op: OpNumber,
        key: &str,
        path: &'static str,
        course: Course,
        encode: impl Fn(OpId, bool) -> Vec<u8>,
        done: impl Fn(Bytes) -> Option<Said>,
    ) -> Option<Version> {
        let op_id = self.client.fresh_op_id();
        let send = |node: String, message: Vec<u8>, limit: Duration| {
            let limit_ms = u64::try_from(limit.as_millis()).expect("seconds");
            let posted = self.web.post(&node, path, &message, limit_ms);
            let done = &done;
            async move {
                match timeout(limit + GRACE, posted).await {
                    Ok(Some(Reply::Message(message))) => done(message).unwrap_or(Said::Unknown),
                    Ok(Some(Reply::Status(status))) => match holdfast::node_error(&status) {
                        Some(error) => {
                            check_status(&status, &error.code);
                            self.said(&error.into())
                        }
                        None => Said::Unknown,
                    },
                    Ok(None) | Err(_) => Said::Unknown,
                }
            }
        };
        let Course { first: (node, limit), retry } = course;
        let first = send(node, encode(op_id, false), limit);
        let said = if let Some((wait, node, limit)) = retry {
            let message = encode(op_id, true);
            let second = async {
                sleep(wait).await;
                send(node, message, limit).await
            };
            let (first, second) = tokio::join!(first, second);
            agreed(first.clone(), second.clone()).unwrap_or_else(|| {
                panic!(
                    "{} sends {op_id} twice and is told {first:?} and then, of its retry, {second:?}",
                    self.name
                )
            })
        } else {
            first.await
        };
        if matches!(said, Said::Refused(_) | Said::Fenced | Said::Nothing) {
            self.never(key, op_id);
        }
        let seen = match said {
            Said::Done(seen) | Said::Refused(seen) => seen,
            Said::Fenced | Said::Nothing => Seen::Nothing,
            Said::Unknown => Seen::Unknown,
        };
        let version = if let Seen::Wrote(version) = seen { Some(version) } else { None };
        self.history.end(op, seen);
        version
    }

    fn said(&self, error: &Error) -> Said {
        match error.code() {
            Code::OutcomeUnknown | Code::Timeout | Code::Internal => {
                self.note(error);
                Said::Unknown
            }
            Code::Fenced => Said::Fenced,
            Code::ConditionFailed(_) => Said::Refused(self.meaning(error)),
            _ => match self.meaning(error) {
                Seen::Nothing => Said::Nothing,
                seen => unreachable!("only a failed condition is seen as {seen:?}"),
            },
        }
    }
}

/// Whoever knows gRPC and not Holdfast goes by the status.
fn check_status(status: &tonic::Status, code: &Code) {
    let right = match code {
        Code::ConditionFailed(_) => tonic::Code::FailedPrecondition,
        Code::OutcomeUnknown => tonic::Code::Unknown,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Fenced | Code::StaleOpId(_) => tonic::Code::Aborted,
        _ => return,
    };
    assert_eq!(status.code(), right, "the gRPC status of {}", code.name());
}

/// What a request and its retry say together. `None`: they contradict each other.
fn agreed(first: Said, second: Said) -> Option<Said> {
    Some(match (first, second) {
        (Said::Done(first), Said::Done(second)) if first != second => return None,
        (Said::Done(_), Said::Refused(_) | Said::Fenced) | (Said::Fenced, Said::Done(_)) => return None,
        (done @ Said::Done(_), _) | (_, done @ Said::Done(_)) => done,
        (_, refused @ Said::Refused(_)) | (refused @ Said::Refused(_), Said::Nothing) => refused,
        (Said::Fenced, _) | (_, Said::Fenced) => Said::Fenced,
        (Said::Nothing, Said::Nothing) => Said::Nothing,
        _ => Said::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_retry_are_believed_together() {
        let wrote =
            |seq| Said::Done(Seen::Wrote(Version(holdfast_core::term::Ballot { seq, ..Default::default() })));
        let refused = Said::Refused(Seen::NothingToDelete(None));
        assert_eq!(agreed(wrote(1), wrote(2)), None);
        assert_eq!(agreed(wrote(1), refused.clone()), None);
        assert_eq!(agreed(refused.clone(), wrote(1)), Some(wrote(1)));
        // The retry's refusal fences the first, not the other way round.
        assert_eq!(agreed(Said::Unknown, refused.clone()), Some(refused.clone()));
        assert_eq!(agreed(refused.clone(), Said::Unknown), Some(Said::Unknown));
        assert_eq!(agreed(refused.clone(), Said::Nothing), Some(refused));
        assert_eq!(agreed(Said::Nothing, Said::Unknown), Some(Said::Unknown));
    }
}
