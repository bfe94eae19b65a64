//! All states that a power loss can leave: for tests that look at every one of them.
//!
//! A recording keeps the disk as it was before each operation that changes it. From such a point, each choice of the
//! parts that survive is a disk of its own.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::Part;
use super::{SimDisk, State};

/// A disk at one moment.
#[derive(Clone)]
pub struct CrashPoint {
    state: State,
    what: String,
}

impl fmt::Debug for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashPoint").field("what", &self.what).finish_non_exhaustive()
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl CrashPoint {
    /// How many parts were not synced: names, then lengths, sectors and runs of zero sectors of files. A power loss
    /// leaves any subset of them.
    pub fn parts(&self) -> usize {
        self.state.names.unsynced().len() + self.files().map(|at| self.parts_of(at).len()).sum::<usize>()
    }

    /// The disk that a power loss leaves here when those parts survive that `keeps` says, by their number.
    pub fn power_loss(&self, mut keeps: impl FnMut(usize) -> bool) -> SimDisk {
        let mut state = self.state.clone();
        let mut number = 0;
        let mut next = || {
            number += 1;
            keeps(number - 1)
        };
        state.names.lose_power(|_| next());
        for at in self.files() {
            let kept: Vec<_> = self.parts_of(at).into_iter().filter(|_| next()).collect();
            state.contents[at].lose_power(kept);
        }
        state.new_life();
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// The disk that the process leaves when it is killed here: the page cache is there.
    pub fn kill(&self) -> SimDisk {
        let mut state = self.state.clone();
        state.new_life();
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// The files that some name can still lead to.
    fn files(&self) -> impl Iterator<Item = usize> + use<> {
        self.state.names.reachable().into_iter()
    }

    fn parts_of(&self, at: usize) -> Vec<Part> {
        self.state.contents[at].parts().into_iter().map(|(_, _, part)| part).collect()
    }
}

impl SimDisk {
    /// From now on, keeps the disk as it is before each operation that changes it.
    pub fn record(&self) {
        self.0.lock().recording = Some(Vec::new());
    }

    /// What was recorded, and the disk as it is now.
    pub fn recorded(&self) -> Vec<CrashPoint> {
        let mut points = self.0.lock().recording.take().unwrap_or_default();
        points.push(self.crash_point("the end"));
        points
    }

    /// A hash of all names and bytes, those that are read and, where they differ, those on the platter.
    pub fn fingerprint(&self) -> blake3::Hash {
        let state = self.0.lock();
        let mut hasher = blake3::Hasher::new();
        for names in [state.names.now(), state.names.synced()] {
            hasher.update(&(names.len() as u64).to_le_bytes());
            for (path, at) in names {
                hasher.update(&(path.len() as u64).to_le_bytes());
                hasher.update(path.as_bytes());
                hasher.update(&(*at as u64).to_le_bytes());
            }
        }
        for at in state.names.now().values() {
            let content = &state.contents[*at];
            content.now.hash_into(&mut hasher);
            if !content.unsynced.is_empty() {
                content.platter.hash_into(&mut hasher);
            }
        }
        hasher.finalize()
    }

    /// The disk as it is now.
    pub fn crash_point(&self, what: &str) -> CrashPoint {
        self.0.lock().crash_point(what)
    }
}

impl State {
    pub(super) fn crash_point(&self, what: &str) -> CrashPoint {
        let state = Self { recording: None, ..self.clone() };
        CrashPoint { state, what: what.to_owned() }
    }
}
