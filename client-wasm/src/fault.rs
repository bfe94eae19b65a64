//! Errors on their way to TypeScript, from here and from nodes.

use alloc::string::String;

use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::ids::OpId;

use crate::fields::{Stop, walk};
use crate::json::{JsonObject, hex};

/// An error as the JSON text that wasm throws and TypeScript turns into a typed one. A trap throws something else, so
/// the two cannot be confused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault(pub(crate) String);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let json = JsonObject::new().string("code", error.code.name()).string("message", &error.message);
        Self(match error.code {
            Code::TooLarge(limit) => json.number("limit", limit).finish(),
            _ => json.finish(),
        })
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
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

/// The number of the field `details` in google.rpc.Status, and of `value` in google.protobuf.Any.
const DETAILS_FIELD: u32 = 3;
const ANY_VALUE_FIELD: u32 = 2;

/// The error of a status that a node answered with. `details` is an encoded google.rpc.Status, or empty.
///
/// `None`: the status says nothing of Holdfast's, so it came from something in between (a proxy, the HTTP layer), and
/// what became of the request is not known.
pub(crate) fn of_status(details: &[u8]) -> Option<Fault> {
    let mut fault = None;
    let found = walk(details, |field| {
        if field.number != DETAILS_FIELD {
            return Ok(());
        }
        walk(field.bytes()?, |any| {
            if any.number == ANY_VALUE_FIELD && fault.is_none() {
                fault = Some(of_detail(any.bytes()?)?);
            }
            Ok::<(), Stop>(())
        })
    });
    found.ok().and(fault)
}

/// The error of an encoded ErrorDetail.
pub(crate) fn of_detail(detail: &[u8]) -> Result<Fault, Stop> {
    let (mut name, mut message, mut version, mut floor, mut limit) = ("", "", "", &[][..], 0);
    walk(detail, |field| {
        match field.number {
            1 => name = field.text()?,
            2 => message = field.text()?,
            3 => version = field.text()?,
            4 => floor = field.bytes()?,
            5 => limit = field.number()?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    // A code of a later version: asking again would not help.
    let code = code(name, floor).unwrap_or(Code::Internal);
    let json = JsonObject::new().string("code", code.name()).string("message", message);
    Ok(Fault(match code {
        Code::ConditionFailed(_) if version.is_empty() => json.json("currentVersion", "null").finish(),
        Code::ConditionFailed(_) => json.string("currentVersion", version).finish(),
        Code::TooLarge(_) | Code::Range(_) => json.number("limit", limit).finish(),
        Code::StaleOpId(_) => json.string("floor", &hex(floor)).finish(),
        _ => json.finish(),
    }))
}

/// The code of that name, without the data that decisions do not need. `floor` is for `stale-op-id` only.
pub(crate) fn code(name: &str, floor: &[u8]) -> Option<Code> {
    Some(match name {
        "not-found" => Code::NotFound,
        "condition-failed" => Code::ConditionFailed(None),
        "invalid" => Code::Invalid,
        "too-large" => Code::TooLarge(0),
        "checksum-mismatch" => Code::ChecksumMismatch,
        "range" => Code::Range(0),
        "unavailable" => Code::Unavailable,
        "timeout" => Code::Timeout,
        "outcome-unknown" => Code::OutcomeUnknown,
        "stale-op-id" => Code::StaleOpId(OpId::from_slice(floor).ok()?),
        "fenced" => Code::Fenced,
        "overloaded" => Code::Overloaded,
        "disk-full" => Code::DiskFull,
        "integrity" => Code::Integrity,
        "internal" => Code::Internal,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::v1::ErrorDetail;
    use prost::Message as _;

    fn status(detail: &ErrorDetail) -> Vec<u8> {
        let mut any = Vec::new();
        prost::encoding::string::encode(
            1,
            &"type.googleapis.com/holdfast.v1.ErrorDetail".to_string(),
            &mut any,
        );
        prost::encoding::bytes::encode(2, &detail.encode_to_vec(), &mut any);
        let mut status = Vec::new();
        prost::encoding::int32::encode(1, &11, &mut status);
        prost::encoding::bytes::encode(3, &any, &mut status);
        status
    }

    #[test]
    fn the_detail_within_a_status_is_found() {
        let detail =
            ErrorDetail { code: "too-large".into(), message: "m".into(), limit: 7, ..Default::default() };
        let fault = of_status(&status(&detail)).unwrap();
        assert_eq!(fault.0, r#"{"code":"too-large","message":"m","limit":7}"#);
    }

    #[test]
    fn an_unknown_code_is_internal_and_a_foreign_status_is_nothing() {
        let detail = ErrorDetail { code: "of-next-year".into(), ..Default::default() };
        assert_eq!(of_status(&status(&detail)).unwrap().0, r#"{"code":"internal","message":""}"#);
        assert_eq!(of_status(&[]), None);
        assert_eq!(of_status(b"garbage"), None);
    }

    #[test]
    fn every_code_is_known_by_the_name_that_nodes_send() {
        let codes = [
            Code::NotFound,
            Code::ConditionFailed(None),
            Code::Invalid,
            Code::TooLarge(0),
            Code::ChecksumMismatch,
            Code::Range(0),
            Code::Unavailable,
            Code::Timeout,
            Code::OutcomeUnknown,
            Code::StaleOpId(OpId(9)),
            Code::Fenced,
            Code::Overloaded,
            Code::DiskFull,
            Code::Integrity,
            Code::Internal,
        ];
        for expected in codes {
            let detail = ErrorDetail::from(&Error::new(expected.clone(), "m"));
            assert_eq!(code(&detail.code, &detail.op_id_floor), Some(expected));
            assert!(of_detail(&detail.encode_to_vec()).unwrap().0.contains(&detail.code));
        }
    }
}
