//! Errors on their way to TypeScript.

use holdfast_core::error::{Code, Error};
use holdfast_proto::v1::ErrorDetail;
use prost::Message as _;

use crate::fields::{Stop, walk};
use crate::json::{JsonObject, hex};

/// An error as the JSON text that wasm throws and TypeScript turns into a typed one. A trap throws something else, so
/// the two cannot be confused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault(pub(crate) String);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut json =
            JsonObject::new().string("code", error.code.name()).string("message", &error.message);
        json = match error.code {
            Code::ConditionFailed(Some(version)) => json.string("currentVersion", &version.to_text()),
            Code::ConditionFailed(None) => json.json("currentVersion", "null"),
            Code::TooLarge(limit) => json.number("limit", limit),
            Code::Range(size) => json.number("size", size),
            Code::StaleOpId(floor) => json.string("floor", &hex(&floor.to_bytes())),
            _ => json,
        };
        Self(json.finish())
    }
}

impl From<holdfast_core::error::Invalid> for Fault {
    fn from(invalid: holdfast_core::error::Invalid) -> Self {
        Error::from(invalid).into()
    }
}

impl From<Stop> for Fault {
    fn from(_: Stop) -> Self {
        malformed()
    }
}

/// An answer that is not what the .proto file says.
pub(crate) fn malformed() -> Fault {
    Error::new(Code::Internal, "the node's answer could not be read: is it a Holdfast node of this version?")
        .into()
}
