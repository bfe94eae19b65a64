//! Reading an object, or only its head.

use std::time::Duration;

use bytes::Bytes;
use holdfast_core::client::{Answer, Kind};
use holdfast_core::error::{Code, Error as CoreError};
use holdfast_core::ids::{NodeId, ObjectName};
use holdfast_core::term::Version;
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, drive};
use crate::error::Error;
use crate::object::ObjectInfo;
use crate::wire;

/// Which bytes of a body are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// From this offset to the end.
    From(u64),
    /// From the first offset to the last, both included.
    FromTo(u64, u64),
    /// So many from the end.
    Last(u64),
}

/// How an object is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GetOptions {
    /// `None`: the whole body.
    pub range: Option<Range>,
    /// The caller has this version already: if the object still is that, its body is left out.
    pub if_none_match: Option<Version>,
    /// How long it may take; `None`: the client's usual.
    pub timeout: Option<Duration>,
}

/// An object, or the part of it that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its head.
    pub info: ObjectInfo,
    /// [`GetOptions::if_none_match`] is still its version: the body was left out.
    pub not_modified: bool,
    /// Where `body` starts within the object.
    pub offset: u64,
    /// The bytes. A whole body was compared with `info.hash`.
    pub body: Bytes,
}

/// An object's head and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The head.
    pub info: ObjectInfo,
    /// The nodes that keep its key, the preferred leader first.
    pub replicas: Vec<NodeId>,
}

impl Client {
    /// Reads an object: what the last acknowledged write left.
    ///
    /// Errors: `NotFound`, `Range`, `Invalid`, `Integrity`, and what [`Code`] says of all calls.
    pub async fn get(&self, bucket: &str, key: &str, options: GetOptions) -> Result<Object, Error> {
        let call = self.read_call(bucket, key, options.timeout)?;
        let message = to_wire(bucket, key, &options);
        drive(self, call, |attempt| send_get(attempt, message.clone())).await.result
    }

    /// Reads an object's head.
    ///
    /// Errors: as [`Client::get`].
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Head, Error> {
        let call = self.read_call(bucket, key, None)?;
        let message = v1::HeadRequest { bucket: bucket.to_owned(), key: key.to_owned() };
        drive(self, call, |attempt| send_head(attempt, message.clone())).await.result
    }

    fn read_call(&self, bucket: &str, key: &str, timeout: Option<Duration>) -> Result<Call, Error> {
        Ok(Call {
            kind: Kind::Read,
            partition: Some(ObjectName::new(bucket, key)?.partition()),
            body_bytes: 0,
            timeout: self.timeout_or(timeout),
            op_id: None,
            doubtful: false,
            pinned: false,
        })
    }
}

pub(crate) fn to_wire(bucket: &str, key: &str, options: &GetOptions) -> v1::GetRequest {
    use v1::byte_range::Start;
    let range = options.range.map(|range| match range {
        Range::From(first) => v1::ByteRange { start: Some(Start::First(first)), last: None },
        Range::FromTo(first, last) => v1::ByteRange { start: Some(Start::First(first)), last: Some(last) },
        Range::Last(bytes) => v1::ByteRange { start: Some(Start::Suffix(bytes)), last: None },
    });
    v1::GetRequest {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        range,
        if_none_match: options.if_none_match.map(|version| version.to_text()).unwrap_or_default(),
    }
}

async fn send_get(mut attempt: Attempt, message: v1::GetRequest) -> Attempted<Object> {
    let whole = message.range.is_none();
    match attempt.node.objects.get(wire::request(message, attempt.timeout)).await {
        Ok(answer) => from_wire(answer.into_inner(), whole),
        Err(status) => wire::failed(&status),
    }
}

/// Verifies the body: `whole` was asked for, so its hash must be the object's.
pub(crate) fn from_wire(answer: v1::GetResponse, whole: bool) -> Attempted<Object> {
    let info = match ObjectInfo::from_wire(answer.info) {
        Ok(info) => info,
        Err(invalid) => return wire::senseless(Answer::Damaged, &invalid.to_string()),
    };
    if whole && !answer.not_modified && *blake3::hash(&answer.body).as_bytes() != info.hash {
        let error = CoreError::new(Code::Integrity, "the body does not have the object's BLAKE3");
        return Attempted { answer: Answer::Damaged, result: Err(error.into()) };
    }
    let object = Object { info, not_modified: answer.not_modified, offset: answer.offset, body: answer.body };
    wire::answered(Answer::Ok, object)
}

async fn send_head(mut attempt: Attempt, message: v1::HeadRequest) -> Attempted<Head> {
    let answer = match attempt.node.objects.head(wire::request(message, attempt.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return wire::failed(&status),
    };
    let replicas = answer.replicas.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    match (ObjectInfo::from_wire(answer.info), replicas) {
        (Ok(info), Ok(replicas)) => wire::answered(Answer::Ok, Head { info, replicas }),
        (Err(invalid), _) | (_, Err(invalid)) => wire::senseless(Answer::Damaged, &invalid.to_string()),
    }
}
