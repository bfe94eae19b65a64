//! Encodes requests. A put's body is not among what is encoded: TypeScript sends the file behind these bytes.

use alloc::string::String;
use alloc::vec::Vec;

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{BucketName, KEY_BYTES_MAX, ObjectName, OpId};
use holdfast_core::record::{
    BODY_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, METADATA_BYTES_MAX, check_content_type, check_metadata,
};
use holdfast_core::term::Version;

use crate::fault::Fault;
use crate::fields::Writer;

/// The number of the field `body` in PutRequest: the last, on purpose.
const BODY_FIELD: u32 = 15;
/// The number of the field `puts` in PutManyRequest, and of `gets` in GetManyRequest.
const ITEM_FIELD: u32 = 1;

/// The most that stands before the body in a put request or a get answer: key, metadata and content type at their
/// limits, and what frames them.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(KEY_BYTES_MAX + METADATA_BYTES_MAX * 8 + CONTENT_TYPE_BYTES_MAX < HEAD_BYTES_MAX);

/// What a put says beside its body.
pub(crate) struct PutHead<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) op: OpId,
    /// `""`: always; `absent`; `present`; else the version that must be there.
    pub(crate) condition: &'a str,
    /// An earlier attempt under this op id may still take effect.
    pub(crate) retry: bool,
    /// Of the process that it is meant for; 0: not known.
    pub(crate) to_life: u64,
    /// The attempt's number.
    pub(crate) attempt: u32,
    /// Empty: the node's default.
    pub(crate) content_type: &'a str,
    /// Names and values in turn.
    pub(crate) metadata: Vec<String>,
    /// BLAKE3 of the body.
    pub(crate) hash: &'a [u8],
    /// Bytes of the body.
    pub(crate) body_bytes: usize,
}

impl PutHead<'_> {
    /// Checks it, and encodes all of the request but the bytes of the body.
    pub(crate) fn encode(self) -> Result<Vec<u8>, Fault> {
        check_content_type(self.content_type)?;
        let metadata = pairs(&self.metadata)?;
        check_metadata(metadata.iter().copied())?;
        check_body(self.body_bytes)?;
        let mut request = named(self.bucket, self.key)?;
        request.bytes(3, &self.op.to_bytes());
        write_condition(&mut request, self.condition)?;
        request.bytes(5, self.content_type.as_bytes());
        for (name, value) in metadata {
            let mut entry = Writer::default();
            entry.bytes(1, name.as_bytes());
            entry.bytes(2, value.as_bytes());
            request.message(6, &entry.finish());
        }
        request.bytes(7, self.hash);
        request.number(8, self.retry.into());
        request.present(9, self.to_life);
        request.number(10, self.attempt.into());
        if self.body_bytes > 0 {
            request.announce(BODY_FIELD, self.body_bytes);
        }
        Ok(request.finish())
    }
}

/// Refuses a body over the limit, before anything is sent.
fn check_body(body_bytes: usize) -> Result<(), Fault> {
    if body_bytes > BODY_BYTES_MAX {
        let message = "the body is over 1 MiB (1048576 bytes), the most that one object can hold";
        return Err(Error::new(Code::TooLarge(BODY_BYTES_MAX as u64), message).into());
    }
    Ok(())
}

/// Makes of a request an item of PutMany (GetMany). `rest` bytes follow it.
pub(crate) fn item(head: &[u8], rest: usize) -> Vec<u8> {
    let mut many = Writer::default();
    many.announce(ITEM_FIELD, head.len() + rest);
    let mut bytes = many.finish();
    bytes.extend_from_slice(head);
    bytes
}

/// A get. `range` is `""` for the whole body, else as in HTTP without the unit: `first-last`, `first-` or `-suffix`.
pub(crate) fn get(bucket: &str, key: &str, range: &str, if_none_match: &str) -> Result<Vec<u8>, Fault> {
    let mut request = named(bucket, key)?;
    if !range.is_empty() {
        request.message(3, &byte_range(range)?);
    }
    if !if_none_match.is_empty() {
        if_none_match.parse::<Version>()?;
    }
    request.bytes(4, if_none_match.as_bytes());
    Ok(request.finish())
}

/// A head.
pub(crate) fn head(bucket: &str, key: &str) -> Result<Vec<u8>, Fault> {
    Ok(named(bucket, key)?.finish())
}

/// A delete; `condition`, `retry`, `to_life` and `attempt` as in [`PutHead`].
pub(crate) fn delete(
    bucket: &str,
    key: &str,
    op: OpId,
    condition: &str,
    retry: bool,
    to_life: u64,
    attempt: u32,
) -> Result<Vec<u8>, Fault> {
    let mut request = named(bucket, key)?;
    request.bytes(3, &op.to_bytes());
    write_condition(&mut request, condition)?;
    request.number(5, retry.into());
    request.present(6, to_life);
    request.number(7, attempt.into());
    Ok(request.finish())
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
    let mut request = Writer::default();
    for (field, text) in [(1, bucket), (2, prefix), (3, delimiter), (4, page_token)] {
        request.bytes(field, text.as_bytes());
    }
    request.number(5, page_size.into());
    Ok(request.finish())
}

/// The question what became of a mutation.
pub(crate) fn outcome(bucket: &str, key: &str, op: OpId) -> Result<Vec<u8>, Fault> {
    let mut request = named(bucket, key)?;
    request.bytes(3, &op.to_bytes());
    Ok(request.finish())
}

/// Every request about one key begins so.
fn named(bucket: &str, key: &str) -> Result<Writer, Fault> {
    ObjectName::new(bucket, key)?;
    let mut request = Writer::default();
    request.bytes(1, bucket.as_bytes());
    request.bytes(2, key.as_bytes());
    Ok(request)
}

fn invalid(what: &'static str) -> Fault {
    Error::new(Code::Invalid, what).into()
}

fn pairs(flat: &[String]) -> Result<Vec<(&String, &String)>, Fault> {
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    for chunk in flat.chunks(2) {
        match chunk {
            [name, value] => pairs.push((name, value)),
            _ => return Err(invalid("a metadata name without a value")),
        }
    }
    Ok(pairs)
}

fn write_condition(request: &mut Writer, text: &str) -> Result<(), Fault> {
    let kind = match text {
        "" => return Ok(()),
        "absent" => 1,
        "present" => 2,
        version => {
            version.parse::<Version>()?;
            3
        }
    };
    let mut condition = Writer::default();
    condition.number(1, kind);
    if kind == 3 {
        condition.bytes(2, text.as_bytes());
    }
    request.message(4, &condition.finish());
    Ok(())
}

fn byte_range(text: &str) -> Result<Vec<u8>, Fault> {
    let wrong = || invalid("a range is whole numbers: start, and end after it, or a suffix");
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let mut range = Writer::default();
    if first.is_empty() {
        range.present(2, number(last)?);
        return Ok(range.finish());
    }
    let first = number(first)?;
    range.present(1, first);
    if !last.is_empty() {
        let last = number(last)?;
        if last < first {
            return Err(wrong());
        }
        range.present(3, last);
    }
    Ok(range.finish())
}
