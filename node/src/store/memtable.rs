//! What was accepted and promised since the last checkpoint, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::ids::Partition;
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};

/// One key's accepted record in stored form. Shares the memory of the log frame that it came with, so that memory is
/// bounded by the log's bytes since the last checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) ballot: Ballot,
    pub(super) head: Bytes,
    /// The body where it is kept beside the head.
    pub(super) body: Option<Bytes>,
}

/// The facts of some consecutive log segments.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub(super) records: BTreeMap<Bytes, Entry>,
    pub(super) promises: BTreeMap<Partition, Term>,
    /// Bytes of the log that they took: what memory and a replay cost.
    pub(super) log_bytes: u64,
}

impl Generation {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.promises.is_empty()
    }

    pub(super) fn promise(&mut self, partition: Partition, term: Term) {
        let promised = self.promises.entry(partition).or_insert(term);
        *promised = term.max(*promised);
    }

    pub(super) fn store(&mut self, key: Bytes, entry: Entry) {
        // An insert alone would keep the old key's memory, which is the old frame's.
        self.records.remove(&key);
        self.records.insert(key, entry);
    }
}

/// The two generations: one that takes new facts, one that is being written to the checkpointed store.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    pub(super) active: Generation,
    pub(super) frozen: Option<Arc<Generation>>,
}

impl Memtable {
    pub(super) fn find(&self, key: &[u8]) -> Option<Entry> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.records.get(key));
        let active = self.active.records.get(key);
        sometimes!(active.is_none() && frozen().is_some(), "a record is read that waits for its checkpoint");
        active.or_else(frozen).cloned()
    }

    /// Moves the active generation aside. Only once the frozen one before it was dropped.
    pub(super) fn freeze(&mut self) -> Arc<Generation> {
        assert!(self.frozen.is_none(), "one checkpoint at a time");
        let frozen = Arc::new(std::mem::take(&mut self.active));
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }
}
