//! Wire messages to core types and back. What comes from outside is checked here, once.

use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::history::{Effect, History};
use holdfast_core::ids::{NodeId, OpId};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

use crate::v1;

fn id_bytes(bytes: [u8; 16]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&bytes)
}

impl From<Term> for v1::Term {
    fn from(term: Term) -> Self {
        Self { config: term.config.0, round: term.round, node: id_bytes(term.node.to_bytes()) }
    }
}

impl TryFrom<v1::Term> for Term {
    type Error = Invalid;

    fn try_from(term: v1::Term) -> Result<Self, Invalid> {
        Ok(Self {
            config: ConfigVersion(term.config),
            round: term.round,
            node: NodeId::from_slice(&term.node)?,
        })
    }
}

impl From<Ballot> for v1::Ballot {
    fn from(ballot: Ballot) -> Self {
        Self { term: Some(ballot.term.into()), seq: ballot.seq }
    }
}

impl TryFrom<v1::Ballot> for Ballot {
    type Error = Invalid;

    fn try_from(ballot: v1::Ballot) -> Result<Self, Invalid> {
        let term = ballot.term.ok_or(Invalid::new("a ballot without a term"))?.try_into()?;
        Ok(Self { term, seq: ballot.seq })
    }
}

impl From<&History> for v1::History {
    fn from(history: &History) -> Self {
        let entries = history.entries().iter().map(|(op, effect)| {
            let (version, deleted) = match effect {
                Effect::Put(version) => (Some(version.0.into()), false),
                Effect::Deleted(version) => (Some(version.0.into()), true),
                Effect::Fenced => (None, false),
            };
            v1::history::Entry { op_id: id_bytes(op.to_bytes()), version, deleted }
        });
        let floor = match history.floor() {
            OpId(0) => bytes::Bytes::new(),
            floor => id_bytes(floor.to_bytes()),
        };
        Self { entries: entries.collect(), floor }
    }
}

impl TryFrom<v1::History> for History {
    type Error = Invalid;

    fn try_from(history: v1::History) -> Result<Self, Invalid> {
        let floor =
            if history.floor.is_empty() { OpId::default() } else { OpId::from_slice(&history.floor)? };
        let entries = history.entries.into_iter().map(|entry| {
            let effect = match (entry.version, entry.deleted) {
                (Some(version), false) => Effect::Put(Version(version.try_into()?)),
                (Some(version), true) => Effect::Deleted(Version(version.try_into()?)),
                (None, _) => Effect::Fenced,
            };
            Ok((OpId::from_slice(&entry.op_id)?, effect))
        });
        let entries: Vec<_> = entries.collect::<Result<_, Invalid>>()?;
        Ok(Self::from_parts(entries, floor))
    }
}

impl From<&Record> for v1::Record {
    fn from(record: &Record) -> Self {
        let state = match &record.state {
            State::Object(object) => v1::record::State::Object(v1::Object {
                size: object.size,
                content_type: object.content_type.clone(),
                metadata: object.metadata.clone(),
                hash: bytes::Bytes::copy_from_slice(&object.hash),
                modified_unix_ms: object.modified_unix_ms,
                inline_body: object.body.clone(),
            }),
            State::Tombstone { deleted_unix_ms } => {
                v1::record::State::Tombstone(v1::Tombstone { deleted_unix_ms: *deleted_unix_ms })
            }
        };
        Self {
            version: Some(record.version.0.into()),
            state: Some(state),
            history: Some((&record.history).into()),
        }
    }
}

impl TryFrom<v1::Record> for Record {
    type Error = Invalid;

    fn try_from(record: v1::Record) -> Result<Self, Invalid> {
        let version = record.version.ok_or(Invalid::new("a record without a version"))?;
        let state = match record.state.ok_or(Invalid::new("a record without a state"))? {
            v1::record::State::Object(object) => State::Object(Object {
                size: object.size,
                content_type: object.content_type,
                metadata: object.metadata,
                hash: hash_from_slice(&object.hash)?,
                modified_unix_ms: object.modified_unix_ms,
                body: object.inline_body,
            }),
            v1::record::State::Tombstone(tombstone) => {
                State::Tombstone { deleted_unix_ms: tombstone.deleted_unix_ms }
            }
        };
        let history = record.history.map(History::try_from).transpose()?.unwrap_or_default();
        Ok(Self { version: Version(version.try_into()?), state, history })
    }
}

/// A BLAKE3 hash from the wire. Errors when there are not exactly 32 bytes.
pub fn hash_from_slice(bytes: &[u8]) -> Result<[u8; 32], Invalid> {
    bytes.try_into().map_err(|_| Invalid::new("a BLAKE3 hash has 32 bytes"))
}

/// A version from the wire, where empty means that there is none.
pub fn optional_version(text: &str) -> Result<Option<Version>, Invalid> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// A condition from the wire (absent: always). An unknown kind is an error, never "always".
pub fn condition_from_wire(condition: Option<&v1::Condition>) -> Result<Condition, Invalid> {
    use v1::condition::Kind;
    let Some(condition) = condition else { return Ok(Condition::Always) };
    match Kind::try_from(condition.kind) {
        Ok(Kind::IfAbsent) => Ok(Condition::IfAbsent),
        Ok(Kind::IfPresent) => Ok(Condition::IfPresent),
        Ok(Kind::IfVersion) => Ok(Condition::IfVersion(condition.version.parse()?)),
        Ok(Kind::Unspecified) | Err(_) => {
            Err(Invalid::new("unknown condition: this node knows if-absent, if-present and if-version"))
        }
    }
}

/// A condition to the wire.
pub fn condition_to_wire(condition: Condition) -> Option<v1::Condition> {
    use v1::condition::Kind;
    let (kind, version) = match condition {
        Condition::Always => return None,
        Condition::IfAbsent => (Kind::IfAbsent, String::new()),
        Condition::IfPresent => (Kind::IfPresent, String::new()),
        Condition::IfVersion(version) => (Kind::IfVersion, version.to_text()),
    };
    Some(v1::Condition { kind: kind.into(), version })
}

impl From<&Error> for v1::ErrorDetail {
    fn from(error: &Error) -> Self {
        let mut detail = Self {
            code: error.code.name().to_owned(),
            message: error.message.clone().into_owned(),
            ..Self::default()
        };
        match &error.code {
            Code::ConditionFailed(Some(version)) => detail.current_version = version.to_text(),
            Code::TooLarge(limit) | Code::Range(limit) => detail.limit = *limit,
            Code::StaleOpId(floor) => detail.op_id_floor = id_bytes(floor.to_bytes()),
            _ => {}
        }
        detail.tombstone_version =
            error.tombstone.as_ref().map(|version| version.to_text()).unwrap_or_default();
        detail
    }
}

impl TryFrom<v1::ErrorDetail> for Error {
    type Error = Invalid;

    fn try_from(detail: v1::ErrorDetail) -> Result<Self, Invalid> {
        let code = match detail.code.as_str() {
            "not-found" => Code::NotFound,
            "condition-failed" if detail.current_version.is_empty() => Code::ConditionFailed(None),
            "condition-failed" => Code::ConditionFailed(Some(detail.current_version.parse()?)),
            "invalid" => Code::Invalid,
            "too-large" => Code::TooLarge(detail.limit),
            "checksum-mismatch" => Code::ChecksumMismatch,
            "range" => Code::Range(detail.limit),
            "unavailable" => Code::Unavailable,
            "timeout" => Code::Timeout,
            "outcome-unknown" => Code::OutcomeUnknown,
            "stale-op-id" => Code::StaleOpId(OpId::from_slice(&detail.op_id_floor)?),
            "fenced" => Code::Fenced,
            "overloaded" => Code::Overloaded,
            "disk-full" => Code::DiskFull,
            "integrity" => Code::Integrity,
            "internal" => Code::Internal,
            _ => return Err(Invalid::new("an error code that this version does not know")),
        };
        let tombstone = optional_version(&detail.tombstone_version)?;
        Ok(Self::owned(code, detail.message).with_tombstone(tombstone))
    }
}
