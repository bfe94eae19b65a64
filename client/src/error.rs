//! What a call can answer instead of its result.

use std::borrow::Cow;
use std::fmt;

use holdfast_core::client::Failure;
use holdfast_core::error::{Code, Error as CoreError, Invalid};
use holdfast_core::ids::OpId;
use holdfast_core::term::Version;

/// A refused or failed call: the code says what can be done about it, the message says it to people.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    error: CoreError,
    op_id: Option<OpId>,
}

impl Error {
    /// By what the caller can do about it.
    pub fn code(&self) -> &Code {
        &self.0.error.code
    }

    /// What is wrong and what to do.
    pub fn message(&self) -> &str {
        &self.0.error.message
    }

    /// The mutation that this is about. Always there when its outcome is unknown: ask
    /// [`Client::outcome`](crate::Client::outcome), or repeat it under the same id.
    pub fn op_id(&self) -> Option<OpId> {
        self.0.op_id
    }

    /// The version that a refusal speaks of: the object's that a condition failed on, or the tombstone's where there was
    /// no object. `None`: nothing was ever written to the key, or the error is of another kind.
    ///
    /// A key's versions are totally ordered, those of tombstones among them.
    pub fn version(&self) -> Option<Version> {
        match self.code() {
            Code::ConditionFailed(Some(version)) => Some(*version),
            _ => self.0.error.tombstone.as_deref().copied(),
        }
    }

    /// Whether there was no such object.
    pub fn is_not_found(&self) -> bool {
        *self.code() == Code::NotFound
    }

    pub(crate) fn invalid(message: String) -> Self {
        CoreError::owned(Code::Invalid, message).into()
    }

    /// The same, about this mutation.
    pub fn with_op_id(mut self, op_id: Option<OpId>) -> Self {
        self.0.op_id = op_id;
        self
    }

    /// An end that no node gave. `last` is what an attempt failed with, for people.
    pub(crate) fn from_failure(failure: Failure, last: Option<&Self>) -> Self {
        let what = match failure {
            Failure::Unavailable => "no node could be reached in time. It did not happen",
            Failure::Timeout => "no answer within the deadline",
            Failure::OutcomeUnknown => {
                "no answer within the deadline: it may or may not have happened. Ask for its outcome, or repeat it with the same op id"
            }
            Failure::Integrity => "what came does not have the object's BLAKE3, from any node",
        };
        let message = match last {
            Some(last) => Cow::Owned(format!("{what} (last: {})", last.message())),
            None => Cow::Borrowed(what),
        };
        CoreError { code: failure.code(), message, tombstone: None }.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.error)?;
        match (self.code(), self.op_id()) {
            (Code::OutcomeUnknown, Some(op_id)) => write!(f, " (op id {op_id})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", self.code())
            .field("message", &self.message())
            .field("op_id", &self.op_id())
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Self {
        Self(Box::new(Inner { error, op_id: None }))
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        CoreError::from(invalid).into()
    }
}
