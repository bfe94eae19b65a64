//! Encodes requests. A put's body is not among what is encoded: TypeScript sends the file behind these bytes.

use std::collections::BTreeMap;

use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{BucketName, KEY_BYTES_MAX, ObjectName, OpId};
use holdfast_core::record::{
    BODY_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, METADATA_BYTES_MAX, check_content_type, check_metadata,
};
use holdfast_core::term::Version;
use holdfast_proto::v1;
use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::fault::Fault;

/// The number of the field `body` in PutRequest: the last, on purpose.
const BODY_FIELD: u32 = 15;
/// The number of the field `puts` in PutManyRequest, and of `gets` in GetManyRequest.
const ITEM_FIELD: u32 = 1;

/// The most that stands before the body in a put request or a get answer: key, metadata and content type at their
/// limits, and what frames them.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(KEY_BYTES_MAX + METADATA_BYTES_MAX * 4 + CONTENT_TYPE_BYTES_MAX < HEAD_BYTES_MAX);

/// What a put says beside its body.
#[derive(Debug, Default)]
pub(crate) struct PutHead<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// `""`: always; `absent`; `present`; else the version that must be there.
    pub(crate) condition: &'a str,
    /// Empty: the node's default.
    pub(crate) content_type: &'a str,
    /// Names and values in turn.
    pub(crate) metadata: Vec<String>,
}

impl PutHead<'_> {
    /// Checks it, and encodes all of the request but the bytes of the body, whose hash and length are given.
    pub(crate) fn encode(self, op: OpId, hash: [u8; 32], body_bytes: usize) -> Result<Vec<u8>, Fault> {
        check_name(self.bucket, self.key)?;
        check_content_type(self.content_type)?;
        let metadata = metadata(self.metadata)?;
        check_metadata(&metadata)?;
        check_body(body_bytes)?;
        let request = v1::PutRequest {
            bucket: self.bucket.into(),
            key: self.key.into(),
            op_id: id(op),
            condition: condition(self.condition)?,
            content_type: self.content_type.into(),
            metadata,
            hash: Bytes::copy_from_slice(&hash),
            body: Bytes::new(),
        };
        let mut bytes = request.encode_to_vec();
        if body_bytes > 0 {
            encode_key(BODY_FIELD, WireType::LengthDelimited, &mut bytes);
            encode_varint(body_bytes as u64, &mut bytes);
        }
        Ok(bytes)
    }
}

/// Refuses a body over the limit, before anything is sent.
pub(crate) fn check_body(body_bytes: usize) -> Result<(), Fault> {
    if body_bytes > BODY_BYTES_MAX {
        let limit = BODY_BYTES_MAX as u64;
        return Err(Error::new(Code::TooLarge(limit), "the body is over 1 MiB (1048576 bytes), the most that one object holds")
            .into());
    }
    Ok(())
}

/// Puts the tag and the length of an item of PutMany (GetMany) before it. `rest` bytes follow it.
pub(crate) fn item(head: &[u8], rest: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(head.len() + 6);
    encode_key(ITEM_FIELD, WireType::LengthDelimited, &mut bytes);
    encode_varint((head.len() + rest) as u64, &mut bytes);
    bytes.extend_from_slice(head);
    bytes
}

/// A get. `range` is `""` for the whole body, else as in HTTP without the unit: `first-last`, `first-` or `-suffix`.
pub(crate) fn get(bucket: &str, key: &str, range: &str, if_none_match: &str) -> Result<Vec<u8>, Fault> {
    check_name(bucket, key)?;
    if !if_none_match.is_empty() {
        if_none_match.parse::<Version>()?;
    }
    let range = if range.is_empty() { None } else { Some(parse_range(range)?) };
    let request =
        v1::GetRequest { bucket: bucket.into(), key: key.into(), range, if_none_match: if_none_match.into() };
    Ok(request.encode_to_vec())
}

/// A head.
pub(crate) fn head(bucket: &str, key: &str) -> Result<Vec<u8>, Fault> {
    check_name(bucket, key)?;
    Ok(v1::HeadRequest { bucket: bucket.into(), key: key.into() }.encode_to_vec())
}

/// A delete; `condition` as in [`PutHead`].
pub(crate) fn delete(bucket: &str, key: &str, op: OpId, condition_text: &str) -> Result<Vec<u8>, Fault> {
    check_name(bucket, key)?;
    let condition = condition(condition_text)?;
    let request =
        v1::DeleteRequest { bucket: bucket.into(), key: key.into(), op_id: id(op), condition };
    Ok(request.encode_to_vec())
}

/// One page of a listing.
pub(crate) fn list(
    bucket: &str,
    prefix: &str,
    delimiter: &str,
    page_token: &str,
    page_size: u32,
) -> Result<Vec<u8>, Fault> {
    BucketName::new(bucket)?;
    if prefix.len() > KEY_BYTES_MAX || delimiter.len() > KEY_BYTES_MAX {
        return Err(invalid("the prefix or the delimiter is longer than a key can be, 1024 bytes"));
    }
    let request = v1::ListRequest {
        bucket: bucket.into(),
        prefix: prefix.into(),
        delimiter: delimiter.into(),
        page_token: page_token.into(),
        page_size,
    };
    Ok(request.encode_to_vec())
}

/// The question what became of a mutation.
pub(crate) fn outcome(bucket: &str, key: &str, op: OpId) -> Result<Vec<u8>, Fault> {
    check_name(bucket, key)?;
    Ok(v1::OutcomeRequest { bucket: bucket.into(), key: key.into(), op_id: id(op) }.encode_to_vec())
}

fn check_name(bucket: &str, key: &str) -> Result<(), Fault> {
    ObjectName::new(bucket, key)?;
    Ok(())
}

fn id(op: OpId) -> Bytes {
    Bytes::copy_from_slice(&op.to_bytes())
}

fn invalid(what: &'static str) -> Fault {
    Error::new(Code::Invalid, what).into()
}

fn metadata(pairs: Vec<String>) -> Result<BTreeMap<String, String>, Fault> {
    let mut metadata = BTreeMap::new();
    let mut pairs = pairs.into_iter();
    while let Some(name) = pairs.next() {
        let value = pairs.next().ok_or_else(|| invalid("a metadata name without a value"))?;
        metadata.insert(name, value);
    }
    Ok(metadata)
}

fn condition(text: &str) -> Result<Option<v1::Condition>, Fault> {
    use v1::condition::Kind;
    let (kind, version) = match text {
        "" => return Ok(None),
        "absent" => (Kind::IfAbsent, String::new()),
        "present" => (Kind::IfPresent, String::new()),
        version => (Kind::IfVersion, version.parse::<Version>()?.to_text()),
    };
    Ok(Some(v1::Condition { kind: kind.into(), version }))
}

/// What [`condition`] sends, as core has it: for tests and for who decides.
#[cfg(test)]
fn core_condition(text: &str) -> Condition {
    match text {
        "" => Condition::Always,
        "absent" => Condition::IfAbsent,
        "present" => Condition::IfPresent,
        version => Condition::IfVersion(version.parse().unwrap()),
    }
}

fn parse_range(text: &str) -> Result<v1::ByteRange, Fault> {
    use v1::byte_range::Start;
    let wrong = || invalid("a range is whole numbers: start, and end after it, or a suffix");
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    if first.is_empty() {
        return Ok(v1::ByteRange { start: Some(Start::Suffix(number(last)?)), last: None });
    }
    let first = number(first)?;
    let last = if last.is_empty() { None } else { Some(number(last)?) };
    if last.is_some_and(|last| last < first) {
        return Err(wrong());
    }
    Ok(v1::ByteRange { start: Some(Start::First(first)), last })
}
