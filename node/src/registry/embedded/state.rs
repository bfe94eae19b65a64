//! What the embedded registry's file holds, and every operation on it. Pure: the time comes as a parameter.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::store::{Change, Entry, LeaseId, Listing, Revision, StoreError, Swap, VALUE_BYTES_MAX};

/// The only format so far.
const FORMAT: u32 = 1;
/// Deletions that are remembered, so that a watch can tell of them. One that is further behind lists again.
const DELETIONS_MAX: usize = 1000;

/// The whole registry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// The last change.
    revision: u64,
    /// Deletions up to it are forgotten.
    compacted: u64,
    leases: BTreeMap<u64, Lease>,
    entries: BTreeMap<String, Stored>,
    /// Revision and key, oldest first.
    deletions: Vec<(u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct Lease {
    ttl_ms: u64,
    /// One machine, one clock.
    expires_unix_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    value: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            revision: 0,
            compacted: 0,
            leases: BTreeMap::new(),
            entries: BTreeMap::new(),
            deletions: Vec::new(),
        }
    }
}

impl State {
    /// From the file. The error says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if state.format != FORMAT {
            return Err(format!("it has format {}, this node reads format {FORMAT}", state.format));
        }
        let newest = state.entries.values().map(|entry| entry.revision).max().unwrap_or(0);
        if newest > state.revision || state.compacted > state.revision {
            return Err("an entry is newer than the file says it is".into());
        }
        Ok(state)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("strings and numbers always encode")
    }

    /// When the next lease runs out, in Unix milliseconds.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.leases.values().map(|lease| lease.expires_unix_ms).min()
    }

    /// Ends the leases that ran out. Says whether anything changed.
    pub(super) fn sweep(&mut self, now: u64) -> bool {
        let mut changed = false;
        for lease in self.leases.values_mut() {
            // The clock was set back: nobody may live longer for it than for one time from now.
            let latest = now.saturating_add(lease.ttl_ms);
            if lease.expires_unix_ms > latest {
                lease.expires_unix_ms = latest;
                changed = true;
            }
        }
        let over: Vec<u64> =
            self.leases.iter().filter(|(_, lease)| lease.expires_unix_ms <= now).map(|(id, _)| *id).collect();
        for id in over {
            changed |= self.revoke(LeaseId(id));
        }
        changed
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let entries = self.under(prefix).map(|(key, stored)| stored.entry(key)).collect();
        Listing { revision: Revision(self.revision), entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).map(|stored| stored.entry(key))
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        value: &str,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Refused(format!("a value is longer than {VALUE_BYTES_MAX} bytes")));
        }
        if lease.is_some_and(|lease| !self.leases.contains_key(&lease.0)) {
            return Err(StoreError::LeaseGone);
        }
        self.revision += 1;
        let stored =
            Stored { revision: self.revision, lease: lease.map(|lease| lease.0), value: value.to_string() };
        self.entries.insert(key.to_string(), stored);
        Ok(Revision(self.revision))
    }

    pub(super) fn compare_and_swap(
        &mut self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        let now = self.entries.get(key).map(|stored| Revision(stored.revision));
        if now != expected {
            return Ok(Swap::Conflict(self.get(key)));
        }
        self.put(key, value, None).map(Swap::Done)
    }

    /// What happened under a prefix from a revision on, oldest first.
    pub(super) fn changes(&self, prefix: &str, from: Revision) -> Result<Vec<Change>, StoreError> {
        // A revision of the future is of a file that is no more.
        if from.0 <= self.compacted || from.0 > self.revision + 1 {
            return Err(StoreError::Compacted);
        }
        let puts = self
            .under(prefix)
            .filter(|(_, stored)| stored.revision >= from.0)
            .map(|(key, stored)| Change::Put(stored.entry(key)));
        let deletes = self
            .deletions
            .iter()
            .filter(|(revision, key)| *revision >= from.0 && key.starts_with(prefix))
            .map(|(revision, key)| Change::Delete { key: key.clone(), revision: Revision(*revision) });
        let mut changes: Vec<Change> = puts.chain(deletes).collect();
        changes.sort_by_key(Change::revision);
        Ok(changes)
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: u64) {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.leases.insert(id.0, Lease { ttl_ms, expires_unix_ms: now.saturating_add(ttl_ms) });
    }

    pub(super) fn keep_alive(&mut self, id: LeaseId, now: u64) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&id.0).ok_or(StoreError::LeaseGone)?;
        lease.expires_unix_ms = now.saturating_add(lease.ttl_ms);
        Ok(())
    }

    /// Ends a lease with its keys. Says whether it was there.
    pub(super) fn revoke(&mut self, id: LeaseId) -> bool {
        if self.leases.remove(&id.0).is_none() {
            return false;
        }
        let keys: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, stored)| stored.lease == Some(id.0))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.entries.remove(&key);
            self.revision += 1;
            self.deletions.push((self.revision, key));
        }
        let over = self.deletions.len().saturating_sub(DELETIONS_MAX);
        if let Some((revision, _)) = self.deletions.drain(..over).next_back() {
            self.compacted = revision;
        }
        true
    }

    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Stored)> {
        let from: btree_map::Range<'a, String, Stored> = self.entries.range(prefix.to_string()..);
        from.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl Stored {
    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_string(),
            value: self.value.clone(),
            revision: Revision(self.revision),
            lease: self.lease.map(LeaseId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_millis(100);

    #[test]
    fn a_lease_takes_its_keys_with_it_and_no_others() {
        let mut state = State::default();
        state.grant(LeaseId(1), TTL, 0);
        state.grant(LeaseId(2), TTL, 50);
        state.put("/a", "1", Some(LeaseId(1))).unwrap();
        state.put("/b", "2", Some(LeaseId(2))).unwrap();
        state.put("/c", "3", None).unwrap();
        assert!(!state.sweep(99));
        assert!(state.sweep(100));
        assert_eq!(state.get("/a"), None);
        assert_eq!(state.list("/").entries.len(), 2);
        assert_eq!(state.keep_alive(LeaseId(1), 100), Err(StoreError::LeaseGone));
        assert_eq!(state.put("/a", "1", Some(LeaseId(1))), Err(StoreError::LeaseGone));
        let gone = Change::Delete { key: "/a".into(), revision: Revision(4) };
        assert_eq!(state.changes("/", Revision(4)).unwrap(), vec![gone]);
    }

    #[test]
    fn a_key_written_again_under_a_new_lease_outlives_the_old_one() {
        let mut state = State::default();
        state.grant(LeaseId(1), TTL, 0);
        state.put("/a", "1", Some(LeaseId(1))).unwrap();
        state.grant(LeaseId(2), TTL, 90);
        state.put("/a", "2", Some(LeaseId(2))).unwrap();
        assert!(state.sweep(120));
        assert_eq!(state.get("/a").unwrap().value, "2");
    }

    #[test]
    fn a_clock_set_back_does_not_make_leases_live_on() {
        let mut state = State::default();
        state.grant(LeaseId(1), TTL, 1_000_000);
        assert!(state.sweep(500));
        assert_eq!(state.next_expiry(), Some(600));
    }

    #[test]
    fn a_watch_that_is_too_far_behind_is_told_so() {
        let mut state = State::default();
        for n in 0..=u64::try_from(DELETIONS_MAX).unwrap() {
            state.grant(LeaseId(n), TTL, 0);
            state.put("/a", "1", Some(LeaseId(n))).unwrap();
            assert!(state.revoke(LeaseId(n)));
        }
        assert_eq!(state.changes("/", Revision(2)), Err(StoreError::Compacted));
        assert_eq!(state.changes("/", Revision(3)).unwrap().len(), DELETIONS_MAX);
        assert_eq!(state.changes("/", state.revision().next().next()), Err(StoreError::Compacted));
    }

    #[test]
    fn the_file_is_read_back_and_damage_is_found() {
        let mut state = State::default();
        state.grant(LeaseId(7), TTL, 5);
        state.put("/a", "{\"x\":1}", Some(LeaseId(7))).unwrap();
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes).unwrap().encode(), bytes);
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 2] {
            assert!(State::decode(&bytes[..cut]).is_err());
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(State::decode(text.replace("\"format\": 1", "\"format\": 9").as_bytes()).is_err());
        assert!(State::decode(text.replace("\"revision\": 1", "\"revision\": 0").as_bytes()).is_ok());
    }
}
