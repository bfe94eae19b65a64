//! gRPC's answers and errors in the client's words. The only place that knows how a node says what is wrong.

use std::error::Error as _;
use std::time::Duration;

use holdfast_core::client::Answer;
use holdfast_core::error::{Code, Error as CoreError};
use holdfast_proto::v1::ErrorDetail;
use prost::Message as _;
use tonic::Status;

use crate::drive::Attempted;

/// `google.rpc.Status`, what gRPC puts into `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyDetail {
    #[prost(bytes = "bytes", tag = "2")]
    value: bytes::Bytes,
}

/// A request with its deadline.
pub(crate) fn request<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

/// An attempt that brought `result`.
pub(crate) fn answered<T>(answer: Answer, value: T) -> Attempted<T> {
    Attempted { answer, result: Ok(value) }
}

/// An attempt whose answer makes no sense: as good as none.
pub(crate) fn senseless<T>(answer: Answer, what: &str) -> Attempted<T> {
    let error = CoreError::owned(Code::Internal, format!("a node's answer makes no sense: {what}"));
    Attempted { answer, result: Err(error.into()) }
}

/// An attempt that ended with an error status.
pub(crate) fn failed<T>(status: &Status) -> Attempted<T> {
    let (answer, error) = judge(status);
    Attempted { answer, result: Err(error.into()) }
}

fn judge(status: &Status) -> (Answer, CoreError) {
    if let Some(error) = detail(status) {
        return (Answer::Refused(error.code.clone()), error);
    }
    let message = status.message().to_owned();
    if not_sent(status) {
        return (Answer::NotSent, CoreError::owned(Code::Unavailable, message));
    }
    match status.code() {
        // Said by the node's gRPC layer, before anything is done.
        tonic::Code::Unimplemented
        | tonic::Code::InvalidArgument
        | tonic::Code::Unauthenticated
        | tonic::Code::PermissionDenied => {
            (Answer::Refused(Code::Invalid), CoreError::owned(Code::Invalid, message))
        }
        // A broken connection, a proxy's answer, a reset stream: the request may have got through.
        _ => (Answer::Lost, CoreError::owned(Code::Unavailable, message)),
    }
}

/// What a node itself says is wrong, in a status of its own. `None`: it is somebody else's, such as a proxy's.
pub fn detail(status: &Status) -> Option<CoreError> {
    if status.details().is_empty() {
        return None;
    }
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let detail = ErrorDetail::decode(details.into_iter().next()?.value).ok()?;
    detail.try_into().ok()
}

/// Whether no connection could be made, so that nothing can have been sent.
fn not_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
