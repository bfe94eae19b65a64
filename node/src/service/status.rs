//! The one place where errors get their gRPC status and their HTTP status.

use bytes::Bytes;
use holdfast_core::error::{Code, Error};
use holdfast_proto::v1::ErrorDetail;
use http::StatusCode;
use prost::Message as _;
use tonic::Status;

/// Type URL of the detail within `google.rpc.Status`.
const DETAIL_TYPE_URL: &str = "type.googleapis.com/holdfast.v1.ErrorDetail";

/// `google.rpc.Status`, what gRPC puts into `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The gRPC code of an error.
pub fn grpc_code(code: &Code) -> tonic::Code {
    match code {
        Code::NotFound => tonic::Code::NotFound,
        Code::ConditionFailed(_) => tonic::Code::FailedPrecondition,
        Code::Invalid | Code::ChecksumMismatch => tonic::Code::InvalidArgument,
        Code::TooLarge(_) | Code::Range(_) => tonic::Code::OutOfRange,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Timeout => tonic::Code::DeadlineExceeded,
        Code::OutcomeUnknown => tonic::Code::Unknown,
        Code::StaleOpId(_) | Code::Fenced => tonic::Code::Aborted,
        Code::Overloaded | Code::DiskFull => tonic::Code::ResourceExhausted,
        Code::Integrity => tonic::Code::DataLoss,
        Code::Internal => tonic::Code::Internal,
    }
}

/// The HTTP status of an error, for the plain HTTP side.
pub fn http_status(code: &Code) -> StatusCode {
    match code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ConditionFailed(_) => StatusCode::PRECONDITION_FAILED,
        Code::Invalid | Code::ChecksumMismatch => StatusCode::BAD_REQUEST,
        Code::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        // Not 5xx-and-retry-blindly by accident: 502 says that what lies behind did not say what became of it.
        Code::OutcomeUnknown => StatusCode::BAD_GATEWAY,
        Code::StaleOpId(_) | Code::Fenced => StatusCode::CONFLICT,
        Code::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Code::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::Integrity | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The gRPC status of an error, with the [`ErrorDetail`] in its details.
pub fn to_status(error: &Error) -> Status {
    let code = grpc_code(&error.code);
    let details = RpcStatus {
        code: code.into(),
        message: error.message.to_string(),
        details: vec![AnyDetail {
            type_url: DETAIL_TYPE_URL.to_owned(),
            value: ErrorDetail::from(error).encode_to_vec().into(),
        }],
    };
    Status::with_details(code, error.message.clone(), details.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_hold_the_code_and_its_data() {
        let status = to_status(&Error::new(Code::TooLarge(7), "too big"));
        assert_eq!(status.code(), tonic::Code::OutOfRange);
        let rpc = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((rpc.code, rpc.message.as_str()), (11, "too big"));
        let detail = ErrorDetail::decode(rpc.details[0].value.clone()).unwrap();
        assert_eq!((detail.code.as_str(), detail.limit), ("too-large", 7));
    }
}
