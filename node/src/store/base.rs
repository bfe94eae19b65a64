//! The checkpointed store: redb, written only by checkpoints, read through one long-lived snapshot.
//!
//! Every commit here is rare and large. It runs with quick repair, so that an unclean stop costs no walk of the file.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::record::Record;
use holdfast_core::register::Digest;
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _};
use redb::{StorageError, Table, TableDefinition, TableError};

use crate::env::Disk;

use super::backend::Backend;
use super::error::{OpenError, StoreError, is_disk_full};
use super::format;
use super::memtable::{self, Generation};
use super::record_cache::RecordCache;
use super::sums::Sums;

/// redb's file.
pub(super) const BASE_FILE: &str = "heads.redb";

/// redb's file and that of its checksums.
#[derive(Clone, Copy, Debug)]
pub(super) struct BaseFiles {
    pub(super) base: &'static str,
    pub(super) sums: &'static str,
}

impl BaseFiles {
    /// Those of a node's folder.
    pub(super) const IN_USE: Self = Self { base: BASE_FILE, sums: "heads.sums" };
    /// The same while a first start makes them.
    pub(super) const NEW: Self = Self { base: "heads.redb.new", sums: "heads.sums.new" };

    /// Sums a file that was written by a version that knew no sums.
    pub(super) fn add_sums(self, disk: &dyn Disk) -> Result<(), OpenError> {
        let base = disk.open(self.base, false).map_err(|error| self.missing(error))?;
        Sums::build(disk, self.sums, &*base).map_err(OpenError::Io)
    }

    fn missing(self, error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::NotFound => OpenError::Damaged(format!("{} is missing", self.base)),
            _ => OpenError::Io(error),
        }
    }
}

const HEADS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("heads");
const BODIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bodies");
const PROMISED: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("promised");
/// What `heads` has of each partition.
const DIGESTS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("digests");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_NODE: &str = "node";
/// The first log segment that is not in here.
const META_WAL_FIRST: &str = "wal_first";
/// The `wal_first` that `digests` was written with. Another one: a version that knows no digests wrote here since.
const META_DIGESTS_AT: &str = "digests_at";

/// Why a checkpoint did not happen. The log still has everything.
#[derive(Debug)]
pub(super) enum CommitError {
    /// No room. The file must be opened again before it is used.
    Full,
    /// The disk failed.
    Failed(String),
}

/// What stands in the file besides records.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) node: NodeId,
    pub(super) wal_first: u64,
    pub(super) promised: Vec<(Partition, Term)>,
    /// By partition. `None`: not known; see [`Base::count_digests`].
    pub(super) digests: Option<Box<[Digest]>>,
}

/// redb, open.
pub(super) struct Base {
    database: Guarded,
    disk: Arc<dyn Disk>,
    files: BaseFiles,
    fsync: bool,
    cache_bytes: usize,
}

impl Base {
    /// Opens the files, which may be empty. What a killed process left in the page cache is made durable first: it is
    /// about to be believed.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        files: BaseFiles,
        fsync: bool,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let opened = disk.open(files.base, false).map_err(|error| files.missing(error))?;
        if fsync {
            opened.sync_data()?;
        }
        let backend = Backend::open(&*disk, opened, files.sums, fsync)?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = guarded(|| builder.create_with_backend(backend))
            .map_err(OpenError::Damaged)?
            .map_err(|error| open_error(error.into()))?;
        Ok(Self { database: Guarded(Some(database)), disk, files, fsync, cache_bytes })
    }

    /// Opens the file again, after a write that found no room.
    pub(super) fn reopen(&mut self) -> Result<(), OpenError> {
        *self = Self::open(Arc::clone(&self.disk), self.files, self.fsync, self.cache_bytes)?;
        Ok(())
    }

    /// Makes the tables of a new file.
    pub(super) fn initialise(&self, node: NodeId, wal_first: u64) -> Result<(), OpenError> {
        self.write(|transaction| {
            transaction.open_table(HEADS)?;
            transaction.open_table(BODIES)?;
            transaction.open_table(PROMISED)?;
            transaction.open_table(DIGESTS)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_NODE, node.to_bytes().as_slice())?;
            insert_wal_first(&mut meta, wal_first)
        })
        .map_err(open_error)
    }

    /// Reads what stands besides records. `None`: the file is new.
    pub(super) fn meta(&self) -> Result<Option<Meta>, OpenError> {
        guarded(|| self.read_meta()).map_err(OpenError::Damaged)?.map_err(open_error)
    }

    fn read_meta(&self) -> Result<Option<Meta>, redb::Error> {
        let wrong = |what: &str| redb::Error::Corrupted(format!("{BASE_FILE}: {what}"));
        let transaction = self.database.begin_read()?;
        let meta = match transaction.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other?,
        };
        let node = meta.get(META_NODE)?.ok_or_else(|| wrong("it names no node"))?;
        let node = NodeId::from_slice(node.value()).map_err(|e| wrong(&e.to_string()))?;
        let wal_first = meta.get(META_WAL_FIRST)?.ok_or_else(|| wrong("it names no log segment"))?;
        let wal_first = wal_first.value().try_into().map_err(|_| wrong("its log segment is not a number"))?;
        let mut promised = Vec::new();
        for row in transaction.open_table(PROMISED)?.iter()? {
            let (partition, term) = row?;
            let partition = Partition::new(partition.value().into()).map_err(|e| wrong(&e.to_string()))?;
            if term.value().len() != format::TERM_BYTES {
                return Err(wrong("a promised term has another length"));
            }
            promised.push((partition, format::read_term(term.value())));
        }
        let digests_at = meta.get(META_DIGESTS_AT)?;
        let digests = match digests_at.is_some_and(|at| at.value() == wal_first) {
            true => Some(read_digests(&transaction.open_table(DIGESTS)?)?),
            false => None,
        };
        Ok(Some(Meta { node, wal_first: u64::from_le_bytes(wal_first), promised, digests }))
    }

    /// Whether it holds no record and no promise.
    pub(super) fn is_unused(&self) -> Result<bool, OpenError> {
        let Some(meta) = self.meta()? else { return Ok(true) };
        let heads = self.snapshot().map_err(OpenError::Damaged)?.range(&[], None, 1);
        let heads = heads.map_err(|error| OpenError::Damaged(error.to_string()))?;
        Ok(heads.is_empty() && meta.promised.is_empty())
    }

    /// A view of what is checkpointed now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, String> {
        let open = || -> Result<Snapshot, redb::Error> {
            let transaction = self.database.begin_read()?;
            let (heads, bodies) = (transaction.open_table(HEADS)?, transaction.open_table(BODIES)?);
            Ok(Snapshot { heads, bodies, records: RecordCache::new() })
        };
        guarded(open)?.map_err(|error| format!("reading {BASE_FILE} failed: {error}"))
    }

    /// Writes a generation in one durable transaction. From then on the log before `wal_first` is not needed.
    pub(super) fn commit(&self, generation: &Generation, wal_first: u64) -> Result<(), CommitError> {
        let written = guarded(|| {
            self.write(|transaction| {
                let mut heads = transaction.open_table(HEADS)?;
                let mut bodies = transaction.open_table(BODIES)?;
                let mut digests: BTreeMap<Partition, Digest> = BTreeMap::new();
                let mut stored = transaction.open_table(DIGESTS)?;
                for (key, entry) in &generation.records {
                    let old = heads.insert(&key[..], &entry.head[..])?;
                    let old = old.as_ref().map(AccessGuard::value);
                    let had_body = old.is_some_and(format::says_body_beside);
                    let partition = Partition::of_name(key);
                    let digest = match digests.entry(partition) {
                        Entry::Occupied(entry) => entry.into_mut(),
                        Entry::Vacant(entry) => {
                            let stored = stored.get(partition.number())?;
                            entry.insert(stored.map_or(Ok(Digest::default()), |value| digest(value.value()))?)
                        }
                    };
                    digest.replace(key, old.and_then(format::says_ballot), entry.ballot);
                    if let Some(body) = &entry.body {
                        bodies.insert(&key[..], &body[..])?;
                    } else if had_body {
                        bodies.remove(&key[..])?;
                    }
                }
                let mut promised = transaction.open_table(PROMISED)?;
                for (partition, term) in &generation.promises {
                    let mut bytes = Vec::with_capacity(format::TERM_BYTES);
                    format::push_term(&mut bytes, *term);
                    promised.insert(partition.number(), bytes.as_slice())?;
                }
                for (partition, digest) in digests {
                    stored.insert(partition.number(), digest.0.to_be_bytes().as_slice())?;
                }
                insert_wal_first(&mut transaction.open_table(META)?, wal_first)
            })
        });
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(redb::Error::Io(error))) if is_disk_full(&error) => Err(CommitError::Full),
            Ok(Err(error)) => Err(CommitError::Failed(format!("a checkpoint failed: {error}"))),
            Err(panic) => Err(CommitError::Failed(format!("a checkpoint failed: {panic}"))),
        }
    }

    /// Makes the digests of all that is in here, and writes them down: once, where they are not known.
    pub(super) fn count_digests(&self, wal_first: u64) -> Result<Box<[Digest]>, OpenError> {
        let mut digests = no_digests();
        let count = || -> Result<(), redb::Error> {
            for row in self.database.begin_read()?.open_table(HEADS)?.iter()? {
                let (key, head) = row?;
                if let Some(ballot) = format::says_ballot(head.value()) {
                    digests[Partition::of_name(key.value()).index()].replace(key.value(), None, ballot);
                }
            }
            self.write(|transaction| {
                let mut stored = transaction.open_table(DIGESTS)?;
                for partition in Partition::all() {
                    let digest = digests[partition.index()];
                    stored.insert(partition.number(), digest.0.to_be_bytes().as_slice())?;
                }
                insert_wal_first(&mut transaction.open_table(META)?, wal_first)
            })
        };
        guarded(count).map_err(OpenError::Damaged)?.map_err(open_error)?;
        Ok(digests)
    }

    fn write(
        &self,
        fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_quick_repair(true);
        fill(&transaction)?;
        transaction.commit()?;
        Ok(())
    }
}

fn insert_wal_first(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    wal_first: u64,
) -> Result<(), redb::Error> {
    let wal_first = wal_first.to_le_bytes();
    meta.insert(META_WAL_FIRST, wal_first.as_slice())?;
    meta.insert(META_DIGESTS_AT, wal_first.as_slice())?;
    Ok(())
}

fn no_digests() -> Box<[Digest]> {
    vec![Digest::default(); usize::from(Partition::COUNT)].into_boxed_slice()
}

fn read_digests(table: &ReadOnlyTable<u16, &'static [u8]>) -> Result<Box<[Digest]>, redb::Error> {
    let mut digests = no_digests();
    for row in table.iter()? {
        let (partition, value) = row?;
        let partition = Partition::new(partition.value().into());
        let partition = partition.map_err(|e| redb::Error::Corrupted(format!("{BASE_FILE}: {e}")))?;
        digests[partition.index()] = digest(value.value())?;
    }
    Ok(digests)
}

fn digest(value: &[u8]) -> Result<Digest, redb::Error> {
    let bytes = value.try_into().map_err(|_| {
        redb::Error::Corrupted(format!("{BASE_FILE}: a digest has {} bytes, not 16", value.len()))
    })?;
    Ok(Digest(u128::from_be_bytes(bytes)))
}

/// A consistent view of one checkpoint. Pages that it sees are not reused while it lives.
pub(super) struct Snapshot {
    heads: ReadOnlyTable<&'static [u8], &'static [u8]>,
    bodies: ReadOnlyTable<&'static [u8], &'static [u8]>,
    records: RecordCache,
}

impl Snapshot {
    /// A key's record, its checksums verified when it was read from the file; the body only when it is asked for.
    pub(super) fn record(&self, key: &[u8], with_body: bool) -> Result<Option<(Ballot, Record)>, StoreError> {
        if let Some(cached) = self.records.get(key, with_body) {
            return Ok(Some(cached));
        }
        let Some(entry) = self.find(key, with_body)? else { return Ok(None) };
        sometimes!("a record is read from the checkpointed store");
        let record = format::decode_entry(key, &entry, with_body)?;
        self.records.insert(key, entry.ballot, &record);
        Ok(Some((entry.ballot, record)))
    }

    /// A key's entry, its checksum verified; the body only when it is asked for.
    pub(super) fn find(&self, key: &[u8], with_body: bool) -> Result<Option<memtable::Entry>, StoreError> {
        let get = || -> Result<Option<(Bytes, Option<Bytes>)>, StorageError> {
            let Some(head) = self.heads.get(key)? else { return Ok(None) };
            let head = Bytes::copy_from_slice(head.value());
            let body = if with_body && format::says_body_beside(&head) {
                self.bodies.get(key)?.map(|body| Bytes::copy_from_slice(body.value()))
            } else {
                None
            };
            Ok(Some((head, body)))
        };
        let Some((head, body)) = read(get)? else { return Ok(None) };
        let ballot = format::check(key, &head)?.ballot;
        Ok(Some(memtable::Entry { ballot, head, body }))
    }

    /// Up to `limit` heads from `start` (inclusive) to `end` (exclusive; `None`: the end), in key order.
    pub(super) fn range(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        use std::ops::Bound;
        let collect = || -> Result<Vec<(Bytes, Bytes)>, StorageError> {
            let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = self.heads.range::<&[u8]>((Bound::Included(start), upper))?;
            rows.take(limit)
                .map(|row| {
                    let (key, head) = row?;
                    Ok((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(head.value())))
                })
                .collect()
        };
        read(collect)
    }
}

/// Runs a read. redb trusts its file and may panic where that was altered: an error here, never a dead node.
fn read<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StoreError> {
    match guarded(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(StorageError::Corrupted(what))) | Err(what) => Err(StoreError::Integrity(what)),
        Ok(Err(error)) => Err(StoreError::Failed(format!("reading {BASE_FILE} failed: {error}"))),
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = GUARDED.replace(true);
    // redb's own state stays sound behind its locks: it refuses them once poisoned.
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        format!("{BASE_FILE} holds what cannot be: {text}")
    })
}

/// A database that may meet damage when it is closed, too: it writes then.
struct Guarded(Option<Database>);

impl Deref for Guarded {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let database = self.0.take();
        if let Err(what) = guarded(|| drop(database)) {
            tracing::warn!(what, "the checkpoint's files could not be closed in order");
        }
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would be caught now, and told as damage of a file: for panic hooks.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

fn open_error(error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            OpenError::Damaged(format!("{BASE_FILE}: {error}"))
        }
        redb::Error::Io(error) => OpenError::Io(error),
        error => OpenError::Damaged(format!("{BASE_FILE}: {error}")),
    }
}
