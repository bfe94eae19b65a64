//! Requests from outside, checked field by field: what leaves this file is in the engine's own types.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::ids::{BucketName, ObjectKey, ObjectName, OpId};
use holdfast_core::listing::{LIST_LIMIT_MAX, Query};
use holdfast_core::record::{
    BODY_BYTES_MAX, CONTENT_TYPE_DEFAULT, Object, Record, check_content_type, check_metadata,
};
use holdfast_core::term::Version;
use holdfast_proto::convert::condition_from_wire;
use holdfast_proto::v1;

use super::page_token::decode_page_token;
use crate::engine::NewObject;

/// Unix milliseconds of the year 2200. An op id later than this is no UUIDv7 but random bits; let in, it would push
/// its key's history so far ahead that honest op ids count as forgotten.
const OP_ID_UNIX_MS_MAX: u64 = 7_258_118_400_000;

/// A checked put.
#[derive(Clone, Debug)]
pub struct Put {
    /// What to write to.
    pub name: ObjectName,
    /// `None`: the client sent none, so it cannot retry, and the node makes one.
    pub op: Option<OpId>,
    /// An earlier try with this op id may still be on its way.
    pub retry: bool,
    /// What must hold.
    pub condition: Condition,
    /// What to write.
    pub object: NewObject,
}

impl Put {
    /// Checks a request. Hashes the body.
    pub fn from_wire(request: v1::PutRequest) -> Result<Self, Error> {
        let name = ObjectName::new(&request.bucket, &request.key)?;
        let op = op_id(&request.op_id)?;
        let condition = condition_from_wire(request.condition.as_ref())?;
        let hash = (!request.hash.is_empty()).then_some(&request.hash[..]);
        let object = new_object(request.content_type, request.metadata, request.body, hash)?;
        Ok(Self { name, op, retry: request.retry, condition, object })
    }
}

/// Checks a new object's parts, and its body against the hash that came with it.
pub(crate) fn new_object(
    content_type: String,
    metadata: BTreeMap<String, String>,
    body: Bytes,
    hash: Option<&[u8]>,
) -> Result<NewObject, Error> {
    let content_type = if content_type.is_empty() { CONTENT_TYPE_DEFAULT.to_owned() } else { content_type };
    check_content_type(&content_type)?;
    check_metadata(&metadata)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(body_too_large());
    }
    let hash = check_hash(&body, hash)?;
    Ok(NewObject { content_type, metadata, body, hash })
}

/// The refusal of a body over the limit.
pub(crate) fn body_too_large() -> Error {
    Error::owned(
        Code::TooLarge(BODY_BYTES_MAX as u64),
        format!("the body is over the limit of {BODY_BYTES_MAX} bytes"),
    )
}

/// The body's BLAKE3. Errors when the expected one is not 32 bytes, or differs.
pub fn check_hash(body: &[u8], expected: Option<&[u8]>) -> Result<[u8; 32], Error> {
    if expected.is_some_and(|hash| hash.len() != 32) {
        return Err(Invalid::new("hash must be the 32 bytes of the body's BLAKE3, or empty").into());
    }
    let hash = *blake3::hash(body).as_bytes();
    if expected.is_some_and(|expected| expected != hash) {
        return Err(Error::new(
            Code::ChecksumMismatch,
            "the body does not have the BLAKE3 that came with it: it was damaged on the way, send it again",
        ));
    }
    Ok(hash)
}

/// Checks an op id; `None` when empty.
pub(crate) fn op_id(bytes: &[u8]) -> Result<Option<OpId>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let op = OpId::from_slice(bytes)?;
    if op.unix_ms() > OP_ID_UNIX_MS_MAX {
        return Err(Invalid::new("the op id is not a UUIDv7: its time lies after the year 2200").into());
    }
    Ok(Some(op))
}

/// Which bytes of a body are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ByteSpan {
    /// From the first offset to the last one, inclusive; `None`: to the end.
    From(u64, Option<u64>),
    /// So many from the end.
    Suffix(u64),
}

impl ByteSpan {
    /// From the wire; `None`: the whole body.
    pub(crate) fn from_wire(range: Option<v1::ByteRange>) -> Result<Option<Self>, Error> {
        use v1::byte_range::Start;
        let Some(range) = range else {
            return Ok(None);
        };
        match (range.start, range.last) {
            (Some(Start::First(first)), last) if last.is_none_or(|last| first <= last) => {
                Ok(Some(Self::From(first, last)))
            }
            (Some(Start::First(_)), _) => {
                Err(Invalid::new("the range's last byte is before its first").into())
            }
            (Some(Start::Suffix(suffix)), None) => Ok(Some(Self::Suffix(suffix))),
            (Some(Start::Suffix(_)), Some(_)) => {
                Err(Invalid::new("a range has either a suffix or a last byte").into())
            }
            (None, _) => Err(Invalid::new("a range needs a first byte or a suffix").into()),
        }
    }
}

/// The half-open span of a body of `size` bytes. Errors with `Range` when no byte of it is asked for, as HTTP does.
pub(crate) fn span_of(span: Option<ByteSpan>, size: u64) -> Result<std::ops::Range<u64>, Error> {
    match span {
        None => Ok(0..size),
        Some(ByteSpan::From(first, last)) if first < size => {
            Ok(first..last.map_or(size, |last| size.min(last.saturating_add(1))))
        }
        Some(ByteSpan::Suffix(suffix)) if suffix > 0 && size > 0 => Ok(size - suffix.min(size)..size),
        Some(_) => Err(Error::owned(
            Code::Range(size),
            format!("the range lies outside the object, which has {size} bytes"),
        )),
    }
}

/// Checks a listing's request. A page size of 0, or one over [`LIST_LIMIT_MAX`], is [`LIST_LIMIT_MAX`].
pub fn list_query(
    bucket: &str,
    prefix: &str,
    delimiter: &str,
    page_token: &str,
    page_size: u32,
) -> Result<Query, Error> {
    let bucket = BucketName::new(bucket)?;
    if prefix.chars().chain(delimiter.chars()).any(char::is_control) {
        return Err(Invalid::new("the prefix or the delimiter holds a control character: no key does").into());
    }
    let after = match page_token {
        "" => None,
        token => Some(decode_page_token(bucket.as_str(), prefix, delimiter, token)?),
    };
    let limit = match usize::try_from(page_size) {
        Ok(size @ 1..LIST_LIMIT_MAX) => size,
        _ => LIST_LIMIT_MAX,
    };
    let delimiter = (!delimiter.is_empty()).then_some(delimiter);
    Ok(Query::new(bucket, prefix, delimiter, after.as_deref(), limit)?)
}

/// An object's head on the wire.
pub fn object_info(key: &ObjectKey, version: Version, object: &Object) -> v1::ObjectInfo {
    v1::ObjectInfo {
        key: key.as_str().to_owned(),
        version: version.to_text(),
        size: object.size,
        content_type: object.content_type.clone(),
        metadata: object.metadata.clone(),
        hash: Bytes::copy_from_slice(&object.hash),
        modified_unix_ms: object.modified_unix_ms,
    }
}

/// The object of a record that an operation answered. Errors with `NotFound` for a tombstone.
pub(crate) fn object_of(record: &Record) -> Result<&Object, Error> {
    record.object().ok_or_else(|| Error::not_found(record.tombstone_version()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_follow_http() {
        let span = |span, size| span_of(Some(span), size).map_err(|error| error.code);
        assert_eq!(span(ByteSpan::From(0, None), 10), Ok(0..10));
        assert_eq!(span(ByteSpan::From(3, Some(u64::MAX)), 10), Ok(3..10));
        assert_eq!(span(ByteSpan::From(9, Some(9)), 10), Ok(9..10));
        assert_eq!(span(ByteSpan::From(10, None), 10), Err(Code::Range(10)));
        assert_eq!(span(ByteSpan::Suffix(4), 10), Ok(6..10));
        assert_eq!(span(ByteSpan::Suffix(40), 10), Ok(0..10));
        assert_eq!(span(ByteSpan::Suffix(0), 10), Err(Code::Range(10)));
        assert_eq!(span(ByteSpan::Suffix(4), 0), Err(Code::Range(0)));
        assert_eq!(span(ByteSpan::From(0, None), 0), Err(Code::Range(0)));
        assert_eq!(span_of(None, 0), Ok(0..0));
    }

    #[test]
    fn puts_are_checked() {
        let good = v1::PutRequest {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            body: Bytes::from_static(b"x"),
            ..v1::PutRequest::default()
        };
        let put = Put::from_wire(good.clone()).unwrap();
        assert_eq!((put.op, put.object.content_type.as_str()), (None, CONTENT_TYPE_DEFAULT));
        assert_eq!(put.object.hash, *blake3::hash(b"x").as_bytes());

        let code = |change: &dyn Fn(&mut v1::PutRequest)| {
            let mut request = good.clone();
            change(&mut request);
            Put::from_wire(request).unwrap_err().code
        };
        assert_eq!(code(&|r| r.bucket.clear()), Code::Invalid);
        assert_eq!(code(&|r| r.key = "a/../b".to_owned()), Code::Invalid);
        assert_eq!(code(&|r| r.key = "a\0b".to_owned()), Code::Invalid);
        assert_eq!(code(&|r| r.key = "k".repeat(1025)), Code::Invalid);
        assert_eq!(code(&|r| r.op_id = Bytes::from_static(b"short")), Code::Invalid);
        assert_eq!(code(&|r| r.op_id = Bytes::from_static(&[0xff; 16])), Code::Invalid);
        let unknown = v1::Condition { kind: 7, version: String::new() };
        assert_eq!(code(&|r| r.condition = Some(unknown.clone())), Code::Invalid);
        assert_eq!(code(&|r| r.condition = Some(v1::Condition::default())), Code::Invalid);
        assert_eq!(code(&|r| r.content_type = "a\nb".to_owned()), Code::Invalid);
        assert_eq!(code(&|r| drop(r.metadata.insert("A".to_owned(), String::new()))), Code::Invalid);
        assert_eq!(code(&|r| r.hash = Bytes::from_static(&[0; 31])), Code::Invalid);
        assert_eq!(code(&|r| r.hash = Bytes::from_static(&[0; 32])), Code::ChecksumMismatch);
        let over = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
        assert_eq!(code(&|r| r.body = over.clone()), Code::TooLarge(BODY_BYTES_MAX as u64));
    }
}
