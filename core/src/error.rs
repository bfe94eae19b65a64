//! What can go wrong, by what the caller can do about it.
//!
//! "May have happened" ([`Code::OutcomeUnknown`]) is never mixed with "did not happen" (all others).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::ids::OpId;
use crate::term::Version;

/// An input from outside that breaks a documented rule.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Invalid(Cow<'static, str>);

impl Invalid {
    /// `what` says what is wrong and what to do.
    pub const fn new(what: &'static str) -> Self {
        Self(Cow::Borrowed(what))
    }

    /// The same with a text made at run time.
    pub const fn owned(what: String) -> Self {
        Self(Cow::Owned(what))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Invalid {}

/// The closed list of what an operation can answer instead of its result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// There is no such object.
    NotFound,
    /// The condition does not hold; with the key's version now (`None`: absent). Nothing was changed.
    ConditionFailed(Option<Version>),
    /// The request breaks a rule: mend it before asking again.
    Invalid,
    /// The body (or another part) is over the limit, in bytes.
    TooLarge(u64),
    /// The body does not have the hash that came with it: it was damaged on the way.
    ChecksumMismatch,
    /// The asked range lies outside the object, whose size is given.
    Range(u64),
    /// It did not happen, and may if asked again soon.
    Unavailable,
    /// A read's deadline passed. (A mutation's is [`Code::OutcomeUnknown`] once anything was sent.)
    Timeout,
    /// It may or may not have happened: ask `Outcome` with the same op id, or retry with it.
    OutcomeUnknown,
    /// This attempt did nothing: the op id is not larger than the given one, up to which the key's history has
    /// forgotten. Whoever sent it only once may take a fresh op id.
    StaleOpId(OpId),
    /// The operation was fenced: it never took effect and never will. A fresh op id starts it anew.
    Fenced,
    /// Too much at once: wait and ask again. It did not happen.
    Overloaded,
    /// The node's disk is full. It did not happen.
    DiskFull,
    /// Stored bytes do not have their hash and no good copy answered.
    Integrity,
    /// A defect of Holdfast's.
    Internal,
}

impl Code {
    /// The name on the wire and in every client.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::ConditionFailed(_) => "condition-failed",
            Self::Invalid => "invalid",
            Self::TooLarge(_) => "too-large",
            Self::ChecksumMismatch => "checksum-mismatch",
            Self::Range(_) => "range",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::StaleOpId(_) => "stale-op-id",
            Self::Fenced => "fenced",
            Self::Overloaded => "overloaded",
            Self::DiskFull => "disk-full",
            Self::Integrity => "integrity",
            Self::Internal => "internal",
        }
    }

    /// Whether asking the same again, perhaps of another node, may succeed.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::OutcomeUnknown | Self::Overloaded | Self::DiskFull
        )
    }
}

/// A refused or failed operation: the code, and a sentence for people.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Error {
    /// What the caller can do about it.
    pub code: Code,
    /// What is wrong and what to do, for people.
    pub message: Cow<'static, str>,
    /// Of [`Code::NotFound`] and of a condition that failed on an absent key: the version of the tombstone that the
    /// answer is based on. `None`: nothing was ever written to the key. Always `None` with other codes. Boxed: errors are
    /// returned by value everywhere.
    pub tombstone: Option<Box<Version>>,
}

impl Error {
    /// With a fixed sentence.
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), tombstone: None }
    }

    /// With a sentence made at run time.
    pub const fn owned(code: Code, message: String) -> Self {
        Self { code, message: Cow::Owned(message), tombstone: None }
    }

    /// The refusal of a key without an object; `tombstone` as in the field.
    pub fn not_found(tombstone: Option<Version>) -> Self {
        Self::new(Code::NotFound, "there is no such object").with_tombstone(tombstone)
    }

    /// The same, based on this tombstone.
    pub fn with_tombstone(self, tombstone: Option<Version>) -> Self {
        Self { tombstone: tombstone.map(Box::new), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl core::error::Error for Error {}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self { code: Code::Invalid, message: invalid.0, tombstone: None }
    }
}
