//! Listing: the heads of one bucket in key order, tombstones included, merged from memory and redb.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::ids::{BucketName, ObjectKey};
use holdfast_core::record::Record;
use holdfast_core::term::Ballot;

use super::error::StoreError;
use super::format;
use super::memtable::Entry;
use super::shared::Shared;

/// Most heads of one page, whatever was asked: bounds the work of one call.
pub const SCAN_ENTRIES_MAX: usize = 1000;

/// Where a page starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanStart<'a> {
    /// At the first key with the prefix.
    First,
    /// At this key or the next one; not always UTF-8.
    From(&'a [u8]),
    /// After this key.
    After(&'a str),
    /// After every key that begins with this common prefix.
    Past(&'a str),
}

/// One key of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanEntry {
    /// The key within the bucket.
    pub key: ObjectKey,
    /// What is accepted. Whether it is chosen, one replica alone cannot tell.
    pub ballot: Ballot,
    /// The record's head.
    pub record: Record,
}

/// Consecutive keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanPage {
    /// In key order.
    pub entries: Vec<ScanEntry>,
    /// Nothing with the prefix follows the last entry.
    pub complete: bool,
}

pub(super) fn scan(
    shared: &Shared,
    bucket: &BucketName,
    prefix: &str,
    start: ScanStart<'_>,
    limit: usize,
) -> Result<ScanPage, StoreError> {
    let limit = limit.clamp(1, SCAN_ENTRIES_MAX);
    let whole = |key: &str| [bucket.as_str().as_bytes(), b"\0", key.as_bytes()].concat();
    let prefix = whole(prefix);
    let end = after_prefix(prefix.clone());
    let start = match start {
        ScanStart::First => prefix.clone(),
        ScanStart::From(key) => [bucket.as_str().as_bytes(), b"\0", key].concat(),
        // The smallest key after it is it and a zero byte.
        ScanStart::After(key) => whole(key).into_iter().chain([0]).collect(),
        ScanStart::Past(common) => match after_prefix(whole(common)) {
            Some(start) => start,
            None => return Ok(ScanPage { entries: Vec::new(), complete: true }),
        },
    };
    let start = start.max(prefix);
    if end.as_ref().is_some_and(|end| start >= *end) {
        return Ok(ScanPage { entries: Vec::new(), complete: true });
    }
    // One more than asked, to know whether there is more.
    let rows = merged(shared, &start, end.as_deref(), limit + 1)?;
    let complete = rows.len() <= limit;
    let entries = rows.into_iter().take(limit).map(|(key, row)| {
        let entry = row.entry(&key)?;
        let text = key.split(|byte| *byte == 0).nth(1).and_then(|text| std::str::from_utf8(text).ok());
        let text = text.and_then(|text| ObjectKey::new(text).ok());
        let text = text.ok_or_else(|| StoreError::Integrity("a stored key is not a key".to_owned()))?;
        let record = format::decode_entry(&key, &entry, false)?;
        Ok(ScanEntry { key: text, ballot: entry.ballot, record })
    });
    let entries = shared.counted(entries.collect())?;
    Ok(ScanPage { entries, complete })
}

/// A stored key, and its head if that is whole.
pub(super) type OneHead = (Bytes, Result<Entry, StoreError>);

/// Every head there is, in the order of the stored keys, each checked for itself.
pub(super) fn all(shared: &Shared) -> Result<Vec<OneHead>, StoreError> {
    let rows = merged(shared, &[], None, usize::MAX)?;
    Ok(rows.into_iter().map(|(key, row)| (key.clone(), row.entry(&key))).collect())
}

enum Row {
    Memory(Entry),
    Stored(Bytes),
}

impl Row {
    fn entry(self, key: &[u8]) -> Result<Entry, StoreError> {
        match self {
            Self::Memory(entry) => Ok(entry),
            Self::Stored(head) => Ok(Entry { ballot: format::check(key, &head)?.ballot, head, body: None }),
        }
    }
}

/// The first `limit` rows, newer sources over older ones. Each source gives as many: enough even if it has all.
fn merged(
    shared: &Shared,
    start: &[u8],
    end: Option<&[u8]>,
    limit: usize,
) -> Result<BTreeMap<Bytes, Row>, StoreError> {
    let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
    let copy = |(key, entry): (&Bytes, &Entry)| (key.clone(), Row::Memory(entry.clone()));
    let (active, frozen, base) = {
        let published = shared.published.read();
        let active: Vec<_> =
            published.memtable.active.records.range::<[u8], _>(bounds).take(limit).map(copy).collect();
        (active, published.memtable.frozen.clone(), Arc::clone(&published.base))
    };
    let stored = shared.read_base(&base, |base| base.range(start, end, limit))?;
    let mut rows: BTreeMap<_, _> = stored.into_iter().map(|(key, head)| (key, Row::Stored(head))).collect();
    if let Some(frozen) = frozen {
        rows.extend(frozen.records.range::<[u8], _>(bounds).take(limit).map(copy));
    }
    rows.extend(active);
    while rows.len() > limit {
        rows.pop_last();
    }
    Ok(rows)
}

/// The smallest byte string after all that begin with `prefix`. `None`: there is none.
fn after_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}
