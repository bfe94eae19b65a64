//! Names of files: those whose folder was synced, and those that are found.

use std::collections::{BTreeMap, BTreeSet};

/// Names that change together: a rename is one change of two names.
pub(super) type NameChange = Vec<(String, Option<usize>)>;

/// Names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    /// Each with its number: the key of the draws about it.
    unsynced: Vec<(u64, NameChange)>,
    changes: u64,
}

impl Names {
    pub(super) fn now(&self) -> &BTreeMap<String, usize> {
        &self.now
    }

    pub(super) fn synced(&self) -> &BTreeMap<String, usize> {
        &self.synced
    }

    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.now.get(path).copied()
    }

    pub(super) fn list(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let names = self.now.keys().filter_map(|name| name.strip_prefix(&prefix));
        names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    pub(super) fn change(&mut self, change: NameChange) {
        apply(&mut self.now, &change);
        self.unsynced.push((self.changes, change));
        self.changes += 1;
    }

    pub(super) fn sync(&mut self, folder: &str) {
        let touches = |change: &(u64, NameChange)| change.1.iter().any(|(name, _)| parent(name) == folder);
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unsynced).into_iter().partition(touches);
        self.unsynced = rest;
        for (_, change) in &synced {
            apply(&mut self.synced, change);
        }
    }

    /// Whether a sync of the folder would change anything.
    pub(super) fn is_unsynced(&self, folder: &str) -> bool {
        self.unsynced.iter().any(|(_, change)| change.iter().any(|(name, _)| parent(name) == folder))
    }

    /// What a power loss keeps or loses, each with its number.
    pub(super) fn unsynced(&self) -> &[(u64, NameChange)] {
        &self.unsynced
    }

    /// Of the unsynced changes those survive that `keeps` chooses. Says how many did not.
    pub(super) fn lose_power(&mut self, mut keeps: impl FnMut(u64) -> bool) -> u64 {
        let mut lost = 0;
        for (number, change) in std::mem::take(&mut self.unsynced) {
            if keeps(number) {
                apply(&mut self.synced, &change);
            } else {
                lost += 1;
            }
        }
        self.now.clone_from(&self.synced);
        lost
    }

    /// The files that some name leads to, or can after a power loss.
    pub(super) fn reachable(&self) -> BTreeSet<usize> {
        let unsynced = self.unsynced.iter().flat_map(|(_, change)| change).filter_map(|(_, at)| *at);
        self.now.values().chain(self.synced.values()).copied().chain(unsynced).collect()
    }

    /// Gone, behind everybody's back. Says whether it was there.
    pub(super) fn erase(&mut self, path: &str) -> bool {
        self.synced.remove(path);
        self.now.remove(path).is_some()
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    for (name, at) in change {
        match at {
            Some(at) => names.insert(name.clone(), *at),
            None => names.remove(name),
        };
    }
}
