//! What the fake registry holds, and every operation on it. Pure: the time comes as a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use node::registry::store::{Change, Entry, LeaseId, Listing, Revision, StoreError, Swap, VALUE_BYTES_MAX};

/// Keys, leases and their history.
#[derive(Debug, Default)]
pub struct State {
    revision: u64,
    entries: BTreeMap<String, Entry>,
    leases: BTreeMap<u64, Lease>,
    leases_made: u64,
    /// Every change that is not compacted, oldest first.
    changes: Vec<Change>,
    /// Changes up to it are gone.
    compacted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl: Duration,
    expires: Duration,
}

impl State {
    /// The last change.
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The value of the first key that ends so.
    pub fn value_of(&self, end: &str) -> Option<String> {
        self.entries.iter().find(|(key, _)| key.ends_with(end)).map(|(_, entry)| entry.value.clone())
    }

    /// Forgets the history up to now: watches that are behind must list again.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
        self.changes.clear();
    }

    /// Ends every lease, as after an outage that was too long.
    pub fn revoke_all(&mut self) {
        for lease in self.leases.keys().copied().collect::<Vec<_>>() {
            self.revoke(LeaseId(lease));
        }
    }

    /// A new leader gives every lease its full time again, as etcd's does.
    pub(super) fn renew_all(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.expires = now + lease.ttl;
        }
    }

    /// When the next lease runs out.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.leases.values().map(|lease| lease.expires).min()
    }

    /// Ends the leases that ran out.
    pub(super) fn expire(&mut self, now: Duration) {
        let over: Vec<u64> =
            self.leases.iter().filter(|(_, lease)| lease.expires <= now).map(|(id, _)| *id).collect();
        for lease in over {
            self.revoke(LeaseId(lease));
        }
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
        key: String,
        value: String,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Refused(format!("a value is longer than {VALUE_BYTES_MAX} bytes")));
        }
        if lease.is_some_and(|lease| !self.leases.contains_key(&lease.0)) {
            return Err(StoreError::LeaseGone);
        }
        self.revision += 1;
        let entry = Entry { key: key.clone(), value, revision: self.revision(), lease };
        self.changes.push(Change::Put(entry.clone()));
        self.entries.insert(key, entry);
        Ok(self.revision())
    }

    pub(super) fn swap(
        &mut self,
        key: String,
        expected: Option<Revision>,
        value: String,
    ) -> Result<Swap, StoreError> {
        let now = self.get(&key);
        if now.as_ref().map(|entry| entry.revision) != expected {
            return Ok(Swap::Conflict(now));
        }
        self.put(key, value, None).map(Swap::Done)
    }

    /// What happened under a prefix from a revision on, oldest first.
    pub(super) fn changes(&self, prefix: &str, from: Revision) -> Result<Vec<Change>, StoreError> {
        if from.0 <= self.compacted {
            return Err(StoreError::Compacted);
        }
        let under = |change: &&Change| match change {
            Change::Put(entry) => entry.key.starts_with(prefix),
            Change::Delete { key, .. } => key.starts_with(prefix),
        };
        Ok(self.changes.iter().filter(|change| change.revision() >= from).filter(under).cloned().collect())
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

    pub(super) fn revoke(&mut self, id: LeaseId) {
        self.leases.remove(&id.0);
        let held = |entry: &&Entry| entry.lease == Some(id);
        let keys: Vec<String> = self.entries.values().filter(held).map(|entry| entry.key.clone()).collect();
        for key in keys {
            self.revision += 1;
            self.entries.remove(&key);
            self.changes.push(Change::Delete { key, revision: self.revision() });
        }
    }
}
