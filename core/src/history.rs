//! What a key remembers of its last operations, so that a retry never applies twice.
//!
//! An operation that took effect, or was fenced, is an entry. When there are too many, the smallest op id goes and
//! becomes the floor. Since op ids are totally ordered, "above the floor and not an entry" proves that an operation
//! never took effect on this key: no clock is trusted, a client whose clock is behind only gets told to take a fresh
//! op id ([`Seen::Forgotten`]).

use alloc::vec::Vec;

use crate::ids::OpId;
use crate::sometimes;
use crate::term::Version;

/// Entries a key remembers. More than the operations that can be in flight on one hot key at a time in practice, at
/// about 60 bytes each, and only on keys that are rewritten.
pub const HISTORY_ENTRIES_MAX: usize = 16;

/// What became of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// It wrote an object with this version.
    Put(Version),
    /// It deleted what was there; the tombstone's version.
    Deleted(Version),
    /// It was fenced: it never took effect and never will.
    Fenced,
}

/// What the history can say of an op id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// This became of it.
    Known(Effect),
    /// It never took effect on this key.
    Never,
    /// The history may have forgotten it. With the floor.
    Forgotten(OpId),
}

/// The last operations on one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History {
    /// Sorted by op id, at most [`HISTORY_ENTRIES_MAX`], all above `floor`.
    entries: Vec<(OpId, Effect)>,
    /// Operations up to this id may have been forgotten.
    floor: OpId,
}

impl History {
    /// From storage or the wire; sorts and bounds what it is given.
    pub fn from_parts(entries: impl IntoIterator<Item = (OpId, Effect)>, floor: OpId) -> Self {
        let mut history = Self { entries: Vec::new(), floor };
        for (op, effect) in entries {
            history.push(op, effect);
        }
        history
    }

    /// Entries in the order of their op ids.
    pub fn entries(&self) -> &[(OpId, Effect)] {
        &self.entries
    }

    /// Operations up to this id may have been forgotten.
    pub fn floor(&self) -> OpId {
        self.floor
    }

    /// What it knows of `op`.
    pub fn seen(&self, op: OpId) -> Seen {
        match self.entries.binary_search_by_key(&op, |entry| entry.0) {
            Ok(at) => Seen::Known(self.entries[at].1),
            Err(_) if op > self.floor => Seen::Never,
            Err(_) => Seen::Forgotten(self.floor),
        }
    }

    /// Adds what became of `op`. The smallest op ids are forgotten when there are too many.
    pub fn push(&mut self, op: OpId, effect: Effect) {
        if op <= self.floor {
            return;
        }
        match self.entries.binary_search_by_key(&op, |entry| entry.0) {
            Ok(at) => self.entries[at].1 = effect,
            Err(at) => self.entries.insert(at, (op, effect)),
        }
        while self.entries.len() > HISTORY_ENTRIES_MAX {
            sometimes!("a key forgets the oldest of its operations");
            self.floor = self.entries.remove(0).0;
        }
    }
}
