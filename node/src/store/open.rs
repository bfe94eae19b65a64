//! Opening a data folder: whose it is, what is checkpointed, what the log adds, and then the writer.

use std::io;
use std::sync::Arc;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::sometimes;
use holdfast_core::term::Term;

use crate::env::{Disk, Env};

use super::StoreOptions;
use super::base::{BASE_FILE, Base, BaseFiles};
use super::checkpoint::Checkpointer;
use super::error::OpenError;
use super::format::FORMAT;
use super::frame::{SEGMENT_HEADER_BYTES, WAL_FORMAT};
use super::identity::Identity;
use super::memtable::Memtable;
use super::replay::{Replayed, replay};
use super::shared::{Published, Shared};
use super::wal::{WAL_FOLDER, Wal, WalError, segment_path, segments};
use super::witnessed;

/// The log's first segment.
const SEGMENT_FIRST: u64 = 1;

/// An open data folder. Nothing runs on it yet.
pub(super) struct Opened {
    pub(super) node: NodeId,
    pub(super) shared: Arc<Shared>,
    pub(super) wal: Wal,
    pub(super) checkpointer: Checkpointer,
}

/// Opens the folder. Blocks.
pub(super) fn open(env: &Env, options: &StoreOptions) -> Result<Opened, OpenError> {
    let disk = &*env.disk;
    let claim = disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse,
        _ => OpenError::Io(error),
    })?;
    let identity = match Identity::read(disk)? {
        Some(identity) if identity.cluster == options.cluster => upgraded(disk, identity)?,
        Some(Identity { cluster, .. }) => {
            return Err(OpenError::OtherCluster { found: cluster, asked: options.cluster.clone() });
        }
        None => first_start(env, options)?,
    };
    let base = Base::open(Arc::clone(&env.disk), BaseFiles::IN_USE, options.fsync, options.cache_bytes)?;
    let meta = base.meta()?.ok_or_else(|| OpenError::Damaged(format!("{BASE_FILE} is empty")))?;
    if meta.node != identity.node {
        return Err(OpenError::Damaged(format!(
            "{BASE_FILE} is of node {}, the folder of node {}",
            meta.node, identity.node
        )));
    }
    let Replayed { facts, segment, end, sequence, abandoned, frames } = replay(disk, meta.wal_first)?;
    if let Some(abandoned) = abandoned {
        disk.remove(&segment_path(abandoned))?;
    }
    let newest = segment.format == WAL_FORMAT;
    let mut wal = Wal::resume(env, options.fsync, segment, end, sequence)?;
    if !newest {
        wal.rotate(env).map_err(no_segment)?;
    }
    sometimes!(
        segments(disk)?.first().is_some_and(|first| *first < meta.wal_first),
        "a crash came between a checkpoint and the removal of the log before it"
    );
    // A crash came between a checkpoint and the removal of what it made superfluous.
    Wal::remove_before(disk, meta.wal_first)?;
    tracing::info!(node = %identity.node, frames, "the store is open");

    let mut promised = vec![Term::ZERO; usize::from(Partition::COUNT)].into_boxed_slice();
    let later = facts.promises.iter().map(|(partition, term)| (*partition, *term));
    for (partition, term) in meta.promised.into_iter().chain(later) {
        let known = &mut promised[partition.index()];
        *known = term.max(*known);
    }
    let snapshot = Arc::new(base.snapshot().map_err(OpenError::Damaged)?);
    let mut digests = match meta.digests {
        Some(digests) => digests,
        None => base.count_digests(meta.wal_first)?,
    };
    for (key, entry) in &facts.records {
        // A damaged head makes the digest wrong: then the others' differ, and a leader learns each key.
        let old = snapshot.find(key, false).ok().flatten().map(|old| old.ballot);
        digests[Partition::of_name(key).index()].replace(key, old, entry.ballot);
    }
    let memtable = Memtable { active: facts, frozen: None };
    let published = Published { memtable, base: snapshot, promised, digests };
    let shared = Arc::new(Shared::new(published, claim, Arc::clone(&env.witness)));
    witnessed::opened(&shared, identity.node);
    let checkpointer = Checkpointer::new(base, Arc::clone(&env.disk), Arc::clone(&shared));
    Ok(Opened { node: identity.node, shared, wal, checkpointer })
}

/// Makes a new node's folder. The identity is written last: without it nothing here was ever spoken of.
fn first_start(env: &Env, options: &StoreOptions) -> Result<Identity, OpenError> {
    let disk = &*env.disk;
    check_unused(env, options)?;
    for number in segments(disk)? {
        disk.remove(&segment_path(number))?;
    }
    let (used, new) = (BaseFiles::IN_USE, BaseFiles::NEW);
    for file in [used.base, used.sums, new.base, new.sums] {
        match disk.remove(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut id = [0; 16];
    env.ambient.random(&mut id);
    let node = NodeId(u128::from_be_bytes(id));
    drop(disk.open(new.base, true)?);
    drop(disk.open(new.sums, true)?);
    let base = Base::open(Arc::clone(&env.disk), new, options.fsync, options.cache_bytes)?;
    base.initialise(node, SEGMENT_FIRST)?;
    drop(base);
    // Wherever the one is, the other must be.
    disk.rename(new.sums, used.sums)?;
    disk.sync_dir("")?;
    disk.rename(new.base, used.base)?;
    disk.create_dir(WAL_FOLDER)?;
    disk.sync_dir("")?;
    Wal::create(env, options.fsync, SEGMENT_FIRST, 1).map_err(no_segment)?;
    let identity = Identity { format: FORMAT, cluster: options.cluster.clone(), node };
    identity.write(disk)?;
    Ok(identity)
}

/// Brings a folder to the newest format: one of format 1 has no checksums of redb's blocks. The identity is written
/// last, so that an interrupted upgrade is made again.
fn upgraded(disk: &dyn Disk, identity: Identity) -> Result<Identity, OpenError> {
    if identity.format == FORMAT {
        return Ok(identity);
    }
    tracing::info!(from = identity.format, to = FORMAT, "the data folder is brought to a newer format");
    BaseFiles::IN_USE.add_sums(disk)?;
    let identity = Identity { format: FORMAT, ..identity };
    identity.write(disk)?;
    Ok(identity)
}

fn no_segment(error: WalError) -> OpenError {
    match error {
        WalError::Full => OpenError::Io(io::ErrorKind::StorageFull.into()),
        WalError::Failed(why) => OpenError::Io(io::Error::other(why)),
    }
}

/// A folder without an identity is either new, or left by a first start that did not end, or lost its identity. The
/// last must not be taken for the others: that would forget what the node promised and accepted.
fn check_unused(env: &Env, options: &StoreOptions) -> Result<(), OpenError> {
    let disk = &*env.disk;
    let lost = || OpenError::Damaged("the file identity is missing, but there are records".to_owned());
    for number in segments(disk)? {
        let len = disk.open(&segment_path(number), false)?.len()?;
        if number > SEGMENT_FIRST || len > SEGMENT_HEADER_BYTES as u64 {
            return Err(lost());
        }
    }
    let files = BaseFiles::IN_USE;
    match disk.open(files.base, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => drop(file?),
    }
    match disk.open(files.sums, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.add_sums(disk)?,
        file => drop(file?),
    }
    // It got its name only once it was whole.
    let base = Base::open(Arc::clone(&env.disk), BaseFiles::IN_USE, options.fsync, options.cache_bytes)?;
    let unused = base.is_unused()?;
    sometimes!(unused, "a first start that a crash interrupted is made again");
    if !unused {
        return Err(lost());
    }
    tracing::info!("a first start that was interrupted is made again");
    Ok(())
}
