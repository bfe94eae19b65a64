//! One file's bytes: those that are on the platter, those that are read back, and the way from the one to the other.

use std::sync::Arc;

use super::Random;
use super::paged::{Paged, is_zeros};

/// What the names of keys begin with in workloads: by it rot finds records, which most of a file is not.
pub const KEYS_BEGIN: &str = "key-";

/// What a disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// What a change does to a file.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Write { offset: usize, data: Arc<[u8]> },
    SetLen(usize),
}

/// What becomes of a change when it reaches the platter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It lands where it belongs.
    Honest,
    /// Nothing lands. `evicted`: once it should have, reads show it.
    Lost { evicted: bool },
    /// It lands in another file or at another place. `evicted`: reads show it then.
    Misdirected { file: usize, offset: usize, evicted: bool },
}

/// One change that is not on the platter yet.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Counts the file's changes: the key of the draws about it.
    pub(super) number: u64,
    pub(super) action: Action,
    pub(super) fate: Fate,
}

/// A write that lands in another place than it was meant for.
#[derive(Clone, Debug)]
pub(super) struct Astray {
    pub(super) file: usize,
    pub(super) offset: usize,
    pub(super) data: Vec<u8>,
    pub(super) evicted: bool,
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Under which name it was made.
    pub(super) path: String,
    /// What a power loss leaves for certain.
    pub(super) platter: Paged,
    /// What is read back.
    pub(super) now: Paged,
    pub(super) unsynced: Vec<Change>,
    /// How often it was changed, read and synced: keys of draws.
    pub(super) changes: u64,
    pub(super) reads: u64,
    pub(super) syncs: u64,
    /// Shared with the open handles: a file without a name lives as long as they do.
    pub(super) handles: Arc<()>,
}

/// A part of what is not on the platter, which a power loss keeps or loses as a whole.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The file is cut, or grown with zeros.
    SetLen(usize),
    /// The file is at least this long: a write beyond its end made it so, whether or not its bytes follow.
    Grow(usize),
    /// Bytes within one sector; or more sectors, all of zeros.
    Bytes { offset: usize, data: Arc<[u8]>, from: usize, end: usize },
}

impl Content {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Where one of its bytes is, not a zero if one is found soon: half of the time in the key of a record, if there is
    /// any, as most of the rest is never read again. It has some bytes.
    pub(super) fn somewhere(&self, random: &mut Random) -> usize {
        const DRAWS: usize = 64;
        if random.one_in(2) {
            let bytes = self.now.to_vec();
            let begin = KEYS_BEGIN.as_bytes();
            let keys = bytes.windows(begin.len()).enumerate().filter(|(_, found)| *found == begin);
            let keys: Vec<_> = keys.map(|(offset, _)| offset).collect();
            if !keys.is_empty() {
                return random.pick(&keys);
            }
        }
        let mut offset = 0;
        for _ in 0..DRAWS {
            offset = random.index(self.now.len());
            let mut byte = [0];
            if self.now.read(offset, &mut byte).is_some() && byte != [0] {
                break;
            }
        }
        offset
    }

    pub(super) fn change(&mut self, action: Action, fate: Fate) {
        apply(&mut self.now, &action);
        self.unsynced.push(Change { number: self.changes, action, fate });
        self.changes += 1;
    }

    /// Everything reaches the platter. Answers how many writes were lost by it, and those that go astray.
    pub(super) fn sync(&mut self) -> (u64, Vec<Astray>) {
        let (mut lost, mut astray) = (0, Vec::new());
        for change in std::mem::take(&mut self.unsynced) {
            match (change.fate, &change.action) {
                (Fate::Honest, action) => apply(&mut self.platter, action),
                (_, Action::SetLen(_)) => apply(&mut self.platter, &change.action),
                (fate, Action::Write { offset, data }) => {
                    let missed = !self.platter.holds(*offset, data);
                    let evicted = match fate {
                        Fate::Misdirected { file, offset, evicted } => {
                            astray.push(Astray { file, offset, data: data.to_vec(), evicted });
                            evicted
                        }
                        Fate::Lost { evicted } => {
                            lost += u64::from(missed);
                            evicted
                        }
                        Fate::Honest => false,
                    };
                    // The file's length is the file system's, which is told otherwise than by this write.
                    let end = offset + data.len();
                    if self.platter.len() < end {
                        self.platter.resize(end);
                    }
                    if evicted {
                        let mut there = vec![0; data.len()];
                        if self.platter.read(*offset, &mut there).is_some() {
                            self.now.write(*offset, &there);
                        }
                    }
                }
            }
        }
        (lost, astray)
    }

    /// A sync failed: the kernel takes the pages for clean, so that no later sync writes them.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// What is not on the platter, in parts, each with the number of its change and its own within that. A run of zero
    /// sectors is one part: all that a reader of the file could see of a split is its length.
    pub(super) fn parts(&self) -> Vec<(u64, usize, Part)> {
        let mut parts = Vec::new();
        let mut len = self.platter.len();
        for change in &self.unsynced {
            let before = parts.len();
            let mut add = |part| parts.push((change.number, parts.len() - before, part));
            match &change.action {
                Action::SetLen(new) => {
                    len = *new;
                    add(Part::SetLen(*new));
                }
                Action::Write { offset, data } => {
                    let end = offset + data.len();
                    if end > len {
                        len = end;
                        add(Part::Grow(end));
                    }
                    if !matches!(change.fate, Fate::Honest) {
                        continue;
                    }
                    for (from, end) in sectors(*offset, data) {
                        add(Part::Bytes { offset: *offset, data: data.clone(), from, end });
                    }
                }
            }
        }
        parts
    }

    /// The power is gone: of `parts` those survive that are chosen.
    pub(super) fn lose_power(&mut self, kept: impl IntoIterator<Item = Part>) {
        self.unsynced.clear();
        for part in kept {
            match part {
                Part::SetLen(len) => self.platter.resize(len),
                Part::Grow(len) => self.platter.resize(len.max(self.platter.len())),
                Part::Bytes { offset, data, from, end } => {
                    self.platter.write(offset + from, &data[from..end]);
                }
            }
        }
        self.now = self.platter.clone();
    }
}

/// The pieces of a write, each within one sector or a run of zero sectors, as ranges of the data.
fn sectors(offset: usize, data: &[u8]) -> Vec<(usize, usize)> {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut last_zeros = false;
    let mut from = 0;
    while from < data.len() {
        let sector_end = ((offset + from) / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let end = data.len().min(sector_end - offset);
        let these_zeros = is_zeros(&data[from..end]);
        match pieces.last_mut() {
            Some(last) if last_zeros && these_zeros => last.1 = end,
            _ => pieces.push((from, end)),
        }
        last_zeros = these_zeros;
        from = end;
    }
    pieces
}

fn apply(bytes: &mut Paged, action: &Action) {
    match action {
        Action::SetLen(len) => bytes.resize(*len),
        Action::Write { offset, data } => bytes.write(*offset, data),
    }
}
