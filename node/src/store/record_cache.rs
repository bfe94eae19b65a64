//! Records of one snapshot, decoded and verified: a read of a hot key costs neither redb's walk nor the checksums again.
//!
//! It belongs to its snapshot, which never changes, and goes with it at the next checkpoint. So nothing here is ever
//! out of date: what was written since stands in the memtable, which is always asked first.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::record::{Record, State};
use holdfast_core::term::Ballot;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Memory for decoded records. Small beside a server's, and enough for some ten thousand small objects.
const CACHE_BYTES: u64 = 16 << 20;
/// Larger records are not kept: copying them out of redb costs little beside sending them.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// Not as many as the machine has processors: what a node does must not depend on where it runs.
const SHARDS: usize = 16;
/// Guess at a record's size, for the cache's first layout.
const RECORD_BYTES_USUAL: u64 = 2 << 10;
/// What a record costs beside its key and body: its structure, content type, some metadata, the cache's own node.
const RECORD_BYTES_FIXED: u64 = 512;

pub(super) struct RecordCache {
    cache: Cache<Bytes, Arc<(Ballot, Record)>, ByBytes>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Bytes, Arc<(Ballot, Record)>> for ByBytes {
    fn weight(&self, key: &Bytes, record: &Arc<(Ballot, Record)>) -> u64 {
        (key.len() + record.1.body_len()) as u64 + RECORD_BYTES_FIXED
    }
}

impl RecordCache {
    pub(super) fn new() -> Self {
        let items = usize::try_from(CACHE_BYTES / RECORD_BYTES_USUAL).expect("a small number");
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(CACHE_BYTES)
            .shards(SHARDS)
            .build()
            .expect("both capacities are given");
        Self {
            cache: Cache::with_options(
                options,
                ByBytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// The record, if it is here as whole as it is asked for.
    pub(super) fn get(&self, key: &[u8], with_body: bool) -> Option<(Ballot, Record)> {
        let cached = self.cache.get(key)?;
        let (ballot, record) = &*cached;
        if with_body {
            return record.is_whole().then(|| (*ballot, record.clone()));
        }
        Some((*ballot, record.head()))
    }

    pub(super) fn insert(&self, key: &[u8], ballot: Ballot, record: &Record) {
        if record.body_len() > RECORD_BYTES_MAX {
            return;
        }
        let mut record = record.clone();
        if let State::Object(object) = &mut record.state
            && let Some(body) = &object.body
        {
            // The body may share a larger piece of memory, which must not live as long as the cache.
            object.body = Some(Bytes::copy_from_slice(body));
        }
        self.cache.insert(Bytes::copy_from_slice(key), Arc::new((ballot, record)));
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::history::History;
    use holdfast_core::record::Object;
    use holdfast_core::term::Version;

    use super::*;

    fn record(body: Option<&'static [u8]>) -> Record {
        let object = Object {
            size: 4,
            content_type: String::new(),
            metadata: std::collections::BTreeMap::new(),
            hash: [0; 32],
            modified_unix_ms: 0,
            body: body.map(Bytes::from_static),
        };
        Record { version: Version(Ballot::ZERO), state: State::Object(object), history: History::default() }
    }

    #[test]
    fn a_head_never_stands_in_for_the_whole() {
        let cache = RecordCache::new();
        cache.insert(b"key", Ballot::ZERO, &record(None));
        assert_eq!(cache.get(b"key", true), None);
        assert_eq!(cache.get(b"key", false), Some((Ballot::ZERO, record(None))));
    }

    #[test]
    fn the_whole_serves_both() {
        let cache = RecordCache::new();
        cache.insert(b"key", Ballot::ZERO, &record(Some(b"body")));
        assert_eq!(cache.get(b"key", true), Some((Ballot::ZERO, record(Some(b"body")))));
        assert_eq!(cache.get(b"key", false), Some((Ballot::ZERO, record(None))));
    }

    #[test]
    fn it_is_bounded() {
        let cache = RecordCache::new();
        for key in 0..100_000_u32 {
            cache.insert(&key.to_be_bytes(), Ballot::ZERO, &record(Some(&[7; 4096])));
        }
        assert!(cache.cache.weight() <= CACHE_BYTES);
    }
}
