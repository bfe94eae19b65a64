//! What etcd's errors mean for the caller.

use std::error::Error as StdError;

use etcd_client::{Error, KeyValue};
use tonic::{Code, Status};

use crate::registry::store::{Entry, LeaseId, Revision, StoreError};

pub(super) fn store_error(error: &Error) -> StoreError {
    match error {
        Error::GRpcStatus(status) => status_error(status),
        // etcd-client says so when the lease is not there, and only then: the stream was made for this one request.
        Error::LeaseKeepAliveError(_) => StoreError::LeaseGone,
        Error::TransportError(error) => StoreError::Unreachable(chain(error)),
        Error::InvalidArgs(_)
        | Error::InvalidUri(_)
        | Error::EndpointError(_)
        | Error::InvalidMetadataValue(_) => StoreError::Refused(error.to_string()),
        other => StoreError::Unreachable(other.to_string()),
    }
}

fn status_error(status: &Status) -> StoreError {
    let text = causes(status.message().to_string(), status.source());
    match status.code() {
        Code::NotFound if status.message().contains("lease not found") => StoreError::LeaseGone,
        Code::OutOfRange if status.message().contains("compacted") => StoreError::Compacted,
        // It is behind for the moment. Under the same code it says that its disk is full, which does not pass by itself.
        Code::ResourceExhausted if status.message().contains("too many requests") => {
            StoreError::Unreachable(text)
        }
        // Answered before anything was done.
        Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::ResourceExhausted => StoreError::Refused(text),
        _ => StoreError::Unreachable(text),
    }
}

fn chain(error: &dyn StdError) -> String {
    causes(error.to_string(), error.source())
}

/// A text with the causes behind it: tonic's own says no more than "transport error".
fn causes(mut text: String, mut cause: Option<&dyn StdError>) -> String {
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    // One event is one line, whatever etcd writes.
    text.replace(char::is_control, " ")
}

pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

/// What is not UTF-8 becomes something that no decoder takes.
pub(super) fn entry(pair: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(pair.key()).into_owned(),
        value: String::from_utf8_lossy(pair.value()).into_owned(),
        revision: revision(pair.mod_revision()),
        lease: u64::try_from(pair.lease()).ok().filter(|lease| *lease != 0).map(LeaseId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_no_refusal() {
        let busy = Status::resource_exhausted("etcdserver: too many requests");
        assert!(matches!(status_error(&busy), StoreError::Unreachable(_)));
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(status_error(&full), StoreError::Refused(_)));
    }
}
