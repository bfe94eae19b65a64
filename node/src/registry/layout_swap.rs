//! Changing the layout: one compare-and-swap, settled even when its answer is lost.

use std::sync::Arc;

use holdfast_core::error::Invalid;
use holdfast_core::placement::Layout;
use holdfast_core::sometimes;
use tokio::time::{Instant, timeout_at};

use super::layout_json::decode_layout;
use super::store::{Entry, RegistryStore, Revision, StoreError, Swap};
use super::timing::{Backoff, RegistryTiming};
use super::within;

/// What became of a change of the layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayoutWrite {
    /// It is in force, at this revision. After a lost answer this is also said when somebody else wrote exactly
    /// the same layout on the same predecessor: the registry holds what was asked for either way.
    Done(Revision),
    /// It was not made: this is the layout now (`None`: there is none).
    Conflict(Option<(Arc<Layout>, Revision)>),
}

/// Why the registry gave no answer about the layout.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nothing was changed. It may work later.
    #[error("the registry is away: {0}")]
    Unavailable(String),
    /// The change may have been made: the view or `layout` will tell once the registry answers.
    #[error("the registry did not say what became of the change: {0}")]
    OutcomeUnknown(String),
    /// Nothing was changed, and will not be until somebody mends it.
    #[error("the registry refused: {0}")]
    Refused(String),
    /// What was given, or what the registry holds, is not a valid layout. Nothing was changed.
    #[error("{0}")]
    Invalid(Invalid),
}

/// Reads a layout, trying again until the deadline.
pub(super) async fn read_layout(
    store: &dyn RegistryStore,
    timing: RegistryTiming,
    key: &str,
) -> Result<Option<(Arc<Layout>, Revision)>, RegistryError> {
    let deadline = Instant::now() + timing.operation_timeout;
    read_until(store, timing, key, deadline).await?.as_ref().map(decode).transpose()
}

/// Writes a layout over `expected`.
///
/// A lost answer is settled by reading. If the key still is as expected the same swap is tried again: it names the
/// same predecessor, so only one of the two can ever be made.
pub(super) async fn swap_layout(
    store: &dyn RegistryStore,
    timing: RegistryTiming,
    key: &str,
    expected: Option<Revision>,
    json: &str,
) -> Result<LayoutWrite, RegistryError> {
    let deadline = Instant::now() + timing.operation_timeout;
    let mut backoff = Backoff::new();
    let mut lost: Option<String> = None;
    loop {
        let swap = within(timing.call_timeout, store.compare_and_swap(key, expected, json));
        let answer = timeout_at(deadline, swap).await;
        let now = match answer {
            Ok(Ok(Swap::Done(revision))) => return Ok(LayoutWrite::Done(revision)),
            Ok(Ok(Swap::Conflict(now))) => now,
            Ok(Err(StoreError::Refused(why))) if lost.is_none() => return Err(RegistryError::Refused(why)),
            Ok(Err(error)) => {
                sometimes!("the answer to a change of the layout is lost");
                lost = Some(error.to_string());
                backoff.pause().await;
                let read = read_until(store, timing, key, deadline).await;
                let now = read.map_err(|error| RegistryError::OutcomeUnknown(error.to_string()))?;
                if now.as_ref().map(|entry| entry.revision) == expected {
                    sometimes!(
                        "a change of the layout whose answer was lost was not made and is tried again"
                    );
                    continue;
                }
                now
            }
            Err(_) => return Err(RegistryError::OutcomeUnknown(lost.unwrap_or_else(too_long))),
        };
        return match now {
            Some(entry) if lost.is_some() && entry.value == json => {
                sometimes!("a change of the layout whose answer was lost was made");
                Ok(LayoutWrite::Done(entry.revision))
            }
            other => Ok(LayoutWrite::Conflict(other.as_ref().map(decode).transpose()?)),
        };
    }
}

async fn read_until(
    store: &dyn RegistryStore,
    timing: RegistryTiming,
    key: &str,
    deadline: Instant,
) -> Result<Option<Entry>, RegistryError> {
    let mut backoff = Backoff::new();
    let mut last = too_long();
    loop {
        match timeout_at(deadline, within(timing.call_timeout, store.get(key))).await {
            Ok(Ok(entry)) => return Ok(entry),
            Ok(Err(StoreError::Refused(why))) => return Err(RegistryError::Refused(why)),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => return Err(RegistryError::Unavailable(last)),
        }
        if timeout_at(deadline, backoff.pause()).await.is_err() {
            return Err(RegistryError::Unavailable(last));
        }
    }
}

fn decode(entry: &Entry) -> Result<(Arc<Layout>, Revision), RegistryError> {
    let layout = decode_layout(&entry.value).map_err(RegistryError::Invalid)?;
    Ok((Arc::new(layout), entry.revision))
}

fn too_long() -> String {
    "it took too long to answer".into()
}
