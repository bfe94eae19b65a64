//! What goes over the wire between a node and the fake registry: JSON in frames with their length.

use std::time::Duration;

use node::registry::store::{Change, Entry, LeaseId, Listing, Revision, StoreError, Swap};
use serde::{Deserialize, Serialize};

/// Longest frame: a listing with a few largest values.
pub(super) const FRAME_BYTES_MAX: usize = 16 << 20;

/// One call. A connection carries one after the other; after a watch it carries nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    List { prefix: String },
    Get { key: String },
    Put { key: String, value: String, lease: Option<u64> },
    Swap { key: String, expected: Option<u64>, value: String },
    Watch { prefix: String, from: u64 },
    Grant { ttl_ms: u64 },
    KeepAlive { lease: u64 },
    Revoke { lease: u64 },
}

/// What a call answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Listing {
        revision: u64,
        entries: Vec<WireEntry>,
    },
    Entry(Option<WireEntry>),
    Revision(u64),
    Conflict(Option<WireEntry>),
    Changes(Vec<WireChange>),
    Lease(u64),
    Done,
    LeaseGone,
    Compacted,
    Refused(String),
    /// Nothing is said of what was done.
    Unavailable(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireEntry {
    key: String,
    value: String,
    revision: u64,
    lease: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum WireChange {
    Put(WireEntry),
    Delete { key: String, revision: u64 },
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> Self {
        let Entry { key, value, revision, lease } = entry;
        Self { key, value, revision: revision.0, lease: lease.map(|lease| lease.0) }
    }
}

impl From<WireEntry> for Entry {
    fn from(entry: WireEntry) -> Self {
        let WireEntry { key, value, revision, lease } = entry;
        Self { key, value, revision: Revision(revision), lease: lease.map(LeaseId) }
    }
}

impl From<Change> for WireChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Put(entry) => Self::Put(entry.into()),
            Change::Delete { key, revision } => Self::Delete { key, revision: revision.0 },
        }
    }
}

impl From<WireChange> for Change {
    fn from(change: WireChange) -> Self {
        match change {
            WireChange::Put(entry) => Self::Put(entry.into()),
            WireChange::Delete { key, revision } => Self::Delete { key, revision: Revision(revision) },
        }
    }
}

impl From<StoreError> for Response {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseGone => Self::LeaseGone,
            StoreError::Compacted => Self::Compacted,
            StoreError::Refused(why) => Self::Refused(why),
            StoreError::Unreachable(why) => Self::Unavailable(why),
        }
    }
}

impl Response {
    /// The answer to a call, when it is of the kind that `pick` takes.
    pub(super) fn take<T>(self, pick: impl FnOnce(Self) -> Option<T>) -> Result<T, StoreError> {
        match self {
            Self::LeaseGone => Err(StoreError::LeaseGone),
            Self::Compacted => Err(StoreError::Compacted),
            Self::Refused(why) => Err(StoreError::Refused(why)),
            Self::Unavailable(why) => Err(StoreError::Unreachable(why)),
            other => {
                pick(other).ok_or_else(|| StoreError::Unreachable("an answer to another call".to_owned()))
            }
        }
    }

    pub(super) fn listing(self) -> Option<Listing> {
        let Self::Listing { revision, entries } = self else { return None };
        Some(Listing {
            revision: Revision(revision),
            entries: entries.into_iter().map(Entry::from).collect(),
        })
    }

    pub(super) fn swap(self) -> Option<Swap> {
        match self {
            Self::Revision(revision) => Some(Swap::Done(Revision(revision))),
            Self::Conflict(entry) => Some(Swap::Conflict(entry.map(Entry::from))),
            _ => None,
        }
    }

    pub(super) fn changes(self) -> Option<Vec<Change>> {
        let Self::Changes(changes) = self else { return None };
        Some(changes.into_iter().map(Change::from).collect())
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
