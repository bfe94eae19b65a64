//! Why a command failed: the sentence for people, the exit code for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

use holdfast::{Code, Error};
use holdfast_core::error::Invalid;

use super::Connection;
use super::output::quoted;
use super::target::Target;

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    exit_code: u8,
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const CONDITION: u8 = 4;
const UNKNOWN: u8 = 5;

impl Failure {
    /// Did not happen.
    pub(super) fn failed(message: String) -> Self {
        Self { message, exit_code: FAILED }
    }

    /// The command line makes no sense.
    pub(super) fn usage(message: String) -> Self {
        Self { message, exit_code: USAGE }
    }

    /// Nobody knows.
    pub(super) fn unknown(message: String) -> Self {
        Self { message, exit_code: UNKNOWN }
    }

    /// A file could not be read or written.
    pub(super) fn file(what: &str, path: &str, error: &io::Error) -> Self {
        Self::failed(format!("cannot {what} {path}: {error}"))
    }

    /// About one object.
    pub(super) fn of(target: &Target, error: &Error) -> Self {
        let Self { message, exit_code } = error.into();
        Self { message: format!("{target}: {message}"), exit_code }
    }

    /// About a mutation: when nobody knows, says what to run.
    pub(super) fn of_mutation(target: &Target, connection: &Connection, error: &Error) -> Self {
        let failure = Self::of(target, error);
        match error.op_id() {
            Some(op_id) if failure.exit_code == UNKNOWN => {
                let (flags, name) = (connection.as_flags(), quoted(&target.to_string()));
                Self::unknown(format!("{failure}\nTo settle it, run: node outcome {flags} {name} {op_id}"))
            }
            _ => failure,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        self.exit_code.into()
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let exit_code = match error.code() {
            Code::Invalid | Code::TooLarge(_) | Code::Range(_) => USAGE,
            Code::NotFound => NOT_FOUND,
            Code::ConditionFailed(_) => CONDITION,
            Code::OutcomeUnknown => UNKNOWN,
            _ => FAILED,
        };
        let message = match error.code() {
            Code::ConditionFailed(Some(version)) => {
                format!("the condition does not hold: its version is {version}")
            }
            Code::ConditionFailed(None) => "the condition does not hold: there is no such object".to_owned(),
            Code::NotFound => "no such object".to_owned(),
            _ => error.to_string(),
        };
        Self { message, exit_code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        (&error).into()
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::usage(invalid.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
