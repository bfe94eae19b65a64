//! Why a store does not open, and why an operation on it fails.

use std::io;

use holdfast_core::error::{Code, Error};

/// Why a data folder cannot be used. Nothing in it was changed, except for [`OpenError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data folder is in use by another node: stop that one, or give this one a folder of its own")]
    InUse,
    /// It belongs to another cluster.
    #[error(
        "the data folder belongs to cluster {found:?}, this node is of {asked:?}: start it with --cluster \
         {found} or with another data folder"
    )]
    OtherCluster {
        /// The cluster that the folder belongs to.
        found: String,
        /// The cluster that was asked for.
        asked: String,
    },
    /// A newer version of Holdfast wrote it.
    #[error(
        "the data folder has format {found}, this version reads up to {newest}: start it with the newer \
         version that wrote it"
    )]
    NewerFormat {
        /// The folder's format.
        found: u32,
        /// The newest format that this version knows.
        newest: u32,
    },
    /// What is on the disk cannot be what was written: never papered over.
    #[error(
        "the data folder is damaged: {0}. Restore it, or start this node with an empty folder: it then joins \
         as a new node and the others refill it"
    )]
    Damaged(String),
    /// The disk failed.
    #[error("the data folder cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Why an operation on the store failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. It did not happen.
    #[error("the disk is full: make room or add nodes")]
    DiskFull,
    /// The queue is full (only where the asker does not wait). It did not happen.
    #[error("the store's queue is full: ask again later")]
    Overloaded,
    /// Stored bytes do not have their checksum; what they said is not known.
    #[error("stored bytes do not have their checksum: {0}")]
    Integrity(String),
    /// The record does not hold what it names. It was not stored.
    #[error("the record cannot be stored: {0}")]
    NotWhole(&'static str),
    /// The disk failed, now or before: the node must stop. A write may or may not be on disk.
    #[error(
        "the store has failed and takes no more work: {0}. Restart the node; replace the disk if it fails again"
    )]
    Failed(String),
    /// [`super::Store::close`] was called.
    #[error("the store is closed")]
    Closed,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::DiskFull => Code::DiskFull,
            StoreError::Overloaded => Code::Overloaded,
            StoreError::Integrity(_) => Code::Integrity,
            StoreError::NotWhole(_) => Code::Invalid,
            StoreError::Failed(_) | StoreError::Closed => Code::Unavailable,
        };
        Self::owned(code, error.to_string())
    }
}

/// Whether an error says that there is no room, rather than that the disk is broken.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
