//! The stored form of a record, format 1.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format: 1 |
//! | 8 | first bytes of BLAKE3(key length as u16 LE ‖ key ‖ everything below) |
//! | 40 | accepted ballot: config, round (u64 BE), node (u128 BE), seq (u64 BE) |
//! | 1 | 1: the body is kept beside the head, 0: it is inside or there is none |
//! | rest | `holdfast.v1.Record`, encoded by prost |
//!
//! The checksum covers the key, so that a value which lands under another key is noticed. A body beside the head has
//! no checksum of its own: the head names its BLAKE3 and its size.

use bytes::Bytes;
use holdfast_core::ids::{NodeId, ObjectName};
use holdfast_core::record::{Record, State};
use holdfast_core::term::{Ballot, ConfigVersion, Term};
use holdfast_proto::v1;
use prost::Message as _;

use super::error::StoreError;
use super::memtable::Entry;

/// The newest format of the data folder as a whole. 1: redb's blocks have no checksums, and the identity has none.
pub const FORMAT: u32 = 2;

/// The newest format of stored records.
const RECORD_FORMAT: u8 = 1;

/// Bodies up to this are kept inside the head's value: one look-up instead of two. Above, listing and looking at heads
/// would pay for it. Measured: `docs/decisions/0002-write-ahead-log.md`.
pub const BODY_INSIDE_BYTES_MAX: usize = 512;

const CHECKSUM_AT: usize = 1;
const BALLOT_AT: usize = 9;
const BESIDE_AT: usize = BALLOT_AT + BALLOT_BYTES;
const RECORD_AT: usize = BESIDE_AT + 1;
pub(super) const TERM_BYTES: usize = 32;
const BALLOT_BYTES: usize = TERM_BYTES + 8;

/// The key under which a name is stored: their byte order is the order of buckets and then keys, because no name
/// holds a byte below the separator.
pub(super) fn storage_key(name: &ObjectName) -> Vec<u8> {
    let (bucket, key) = (name.bucket.as_str(), name.key.as_str());
    let mut bytes = Vec::with_capacity(bucket.len() + 1 + key.len());
    bytes.extend_from_slice(bucket.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// One register's accepted record in stored form.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// The head's value.
    pub(super) head: Vec<u8>,
    /// The body to be kept beside it.
    pub(super) body: Option<Bytes>,
}

/// Encodes a whole record.
pub(super) fn encode(key: &[u8], ballot: Ballot, record: &Record) -> Encoded {
    let mut message = v1::Record::from(record);
    let mut body = None;
    if let Some(v1::record::State::Object(object)) = &mut message.state
        && record.body_len() > BODY_INSIDE_BYTES_MAX
    {
        body = object.inline_body.take();
    }
    let mut head = Vec::with_capacity(RECORD_AT + message.encoded_len());
    head.push(RECORD_FORMAT);
    head.extend_from_slice(&[0; 8]);
    push_ballot(&mut head, ballot);
    head.push(u8::from(body.is_some()));
    message.encode_raw(&mut head);
    let sum = checksum(key, &head[BALLOT_AT..]);
    head[CHECKSUM_AT..BALLOT_AT].copy_from_slice(&sum);
    Encoded { head, body }
}

/// What a head's value says without decoding its record. Its checksum was found right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// The accepted ballot.
    pub(super) ballot: Ballot,
    /// Whether the body is kept beside the head.
    pub(super) body_beside: bool,
}

/// Checks a head's value and reads what can be told without decoding the record.
pub(super) fn check(key: &[u8], value: &[u8]) -> Result<Checked, StoreError> {
    let wrong = |what: &str| StoreError::Integrity(format!("the record of {}: {what}", readable(key)));
    match value.first() {
        Some(&RECORD_FORMAT) => {}
        Some(&format) => return Err(wrong(&format!("it has the unknown format {format}"))),
        None => return Err(wrong("it is empty")),
    }
    if value.len() < RECORD_AT {
        return Err(wrong("it is too short"));
    }
    if checksum(key, &value[BALLOT_AT..]) != value[CHECKSUM_AT..BALLOT_AT] {
        return Err(wrong("its checksum is wrong"));
    }
    let body_beside = match value[BESIDE_AT] {
        0 => false,
        1 => true,
        _ => return Err(wrong("it has an unknown flag")),
    };
    Ok(Checked { ballot: read_ballot(&value[BALLOT_AT..BESIDE_AT]), body_beside })
}

/// The ballot of an unchecked head's value.
pub(super) fn says_ballot(value: &[u8]) -> Option<Ballot> {
    value.get(BALLOT_AT..BESIDE_AT).map(read_ballot)
}

/// Whether an unchecked head's value says that the body is kept beside it.
pub(super) fn says_body_beside(value: &[u8]) -> bool {
    value.get(BESIDE_AT) == Some(&1)
}

/// Decodes an entry's record, everything verified; without `with_body` only its head.
pub(super) fn decode_entry(key: &[u8], entry: &Entry, with_body: bool) -> Result<Record, StoreError> {
    let wrong = |what: &str| StoreError::Integrity(format!("the record of {}: {what}", readable(key)));
    let checked = check(key, &entry.head)?;
    // Decoding from `Bytes` lets an inside body share the entry's memory.
    let message =
        v1::Record::decode(entry.head.slice(RECORD_AT..)).map_err(|error| wrong(&error.to_string()))?;
    let mut record = Record::try_from(message).map_err(|error| wrong(&error.to_string()))?;
    if let State::Object(object) = &mut record.state {
        if !with_body {
            object.body = None;
        } else if checked.body_beside {
            let body = entry.body.clone().ok_or_else(|| wrong("its body is missing"))?;
            if body.len() as u64 != object.size || *blake3::hash(&body).as_bytes() != object.hash {
                return Err(wrong("its body does not have its hash"));
            }
            object.body = Some(body);
        }
    }
    Ok(record)
}

/// Appends a term: its byte order is its order.
pub(super) fn push_term(out: &mut Vec<u8>, term: Term) {
    out.extend_from_slice(&term.config.0.to_be_bytes());
    out.extend_from_slice(&term.round.to_be_bytes());
    out.extend_from_slice(&term.node.to_bytes());
}

/// Reads what `push_term` wrote. `bytes` has [`TERM_BYTES`].
pub(super) fn read_term(bytes: &[u8]) -> Term {
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes were sliced"));
    let node = u128::from_be_bytes(bytes[16..TERM_BYTES].try_into().expect("16 bytes were sliced"));
    Term { config: ConfigVersion(number(0)), round: number(8), node: NodeId(node) }
}

fn push_ballot(out: &mut Vec<u8>, ballot: Ballot) {
    push_term(out, ballot.term);
    out.extend_from_slice(&ballot.seq.to_be_bytes());
}

fn read_ballot(bytes: &[u8]) -> Ballot {
    let seq = u64::from_be_bytes(bytes[TERM_BYTES..BALLOT_BYTES].try_into().expect("8 bytes were sliced"));
    Ballot { term: read_term(bytes), seq }
}

fn checksum(key: &[u8], rest: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    let len = u16::try_from(key.len()).expect("bucket and key are bounded far below 64 KiB");
    hasher.update(&len.to_le_bytes());
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize().as_bytes()[..8].try_into().expect("8 of 32 bytes")
}

/// A stored key for a message to people.
pub(super) fn readable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).replacen('\0', "/", 1)
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
