//! What the fake registry holds, and every operation on it, without a fault. Pure: the time comes as a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use node::registry::store::{Change, Entry, LeaseId, Listing, Revision, StoreError, Swap, VALUE_BYTES_MAX};

/// Changes that are remembered, so that days of simulated time do not fill the memory. Beyond it the older half is
/// compacted.
const CHANGES_MAX: usize = 8192;

/// Keys, leases and their history.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    leases: BTreeMap<u64, Lease>,
    /// A lease's number is never given twice, also not after an older state was restored: etcd's are random.
    leases_made: u64,
    /// Every change that is not compacted, oldest first.
    changes: Vec<Made>,
    /// Changes up to it are gone.
    compacted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    expires: Duration,
}

/// A change and when it was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) at: Duration,
    pub(super) change: Change,
}

impl Facts {
    /// The last change.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The last change that is forgotten.
    pub(super) fn compacted(&self) -> Revision {
        Revision(self.compacted)
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.changes.clear();
    }

    /// The leases that live, oldest first.
    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().map(LeaseId).collect()
    }

    /// Gives every lease its full time from `now` on.
    pub(super) fn renew_all(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.expires = now + lease.ttl;
        }
    }

    /// When the next lease runs out.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.leases.values().map(|lease| lease.expires).min()
    }

    /// The leases that ran out.
    pub(super) fn over(&self, now: Duration) -> Vec<LeaseId> {
        let over = self.leases.iter().filter(|(_, lease)| lease.expires <= now);
        over.map(|(id, _)| LeaseId(*id)).collect()
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let entries = self.entries.range(prefix.to_owned()..);
        let entries = entries.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.clone());
        Listing { revision: self.revision(), entries: entries.collect() }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        value: String,
        lease: Option<LeaseId>,
        now: Duration,
    ) -> Result<Revision, StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Refused(format!("a value is longer than {VALUE_BYTES_MAX} bytes")));
        }
        if lease.is_some_and(|lease| !self.leases.contains_key(&lease.0)) {
            return Err(StoreError::LeaseGone);
        }
        self.revision += 1;
        let entry = Entry { key: key.to_owned(), value, revision: self.revision(), lease };
        self.remember(Change::Put(entry.clone()), now);
        self.entries.insert(key.to_owned(), entry);
        Ok(self.revision())
    }

    pub(super) fn swap(
        &mut self,
        key: &str,
        expected: Option<Revision>,
        value: String,
        now: Duration,
    ) -> Result<Swap, StoreError> {
        let stands = self.get(key);
        if stands.as_ref().map(|entry| entry.revision) != expected {
            return Ok(Swap::Conflict(stands));
        }
        self.put(key, value, None, now).map(Swap::Done)
    }

    /// What happened under a prefix from a revision on, oldest first. Nothing that is compacted.
    pub(super) fn changes<'a>(
        &'a self,
        prefix: &'a str,
        from: Revision,
    ) -> impl DoubleEndedIterator<Item = &'a Made> {
        let first = self.changes.partition_point(|made| made.change.revision() < from);
        self.changes[first..].iter().filter(move |made| match &made.change {
            Change::Put(entry) => entry.key.starts_with(prefix),
            Change::Delete { key, .. } => key.starts_with(prefix),
        })
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Duration) -> LeaseId {
        self.leases_made += 1;
        self.leases.insert(self.leases_made, Lease { ttl, expires: now + ttl });
        LeaseId(self.leases_made)
    }

    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Duration) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&id.0).ok_or(StoreError::LeaseGone)?;
        lease.expires = now + lease.ttl;
        Ok(())
    }

    pub(super) fn revoke(&mut self, id: LeaseId, now: Duration) {
        self.leases.remove(&id.0);
        let held = |entry: &&Entry| entry.lease == Some(id);
        let keys: Vec<String> = self.entries.values().filter(held).map(|entry| entry.key.clone()).collect();
        for key in keys {
            self.revision += 1;
            self.entries.remove(&key);
            self.remember(Change::Delete { key, revision: self.revision() }, now);
        }
    }

    /// This state, put in the place of a later one.
    pub(super) fn restored_over(self, later: &Self, now: Duration) -> Self {
        let mut restored = Self { leases_made: later.leases_made, ..self };
        restored.renew_all(now);
        restored
    }

    fn remember(&mut self, change: Change, now: Duration) {
        if self.changes.len() == CHANGES_MAX {
            self.compacted = self.changes[CHANGES_MAX / 2 - 1].change.revision().0;
            self.changes.drain(..CHANGES_MAX / 2);
        }
        self.changes.push(Made { at: now, change });
    }
}
