//! One file's bytes: those that were synced, and those that are read back.

/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;

/// One change of a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What a power loss leaves for certain.
    synced: Vec<u8>,
    /// What is read back.
    now: Vec<u8>,
    /// The way from one to the other.
    unsynced: Vec<Change>,
}

impl Content {
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.synced, &change);
        }
    }

    /// A sync failed: the kernel takes the pages for clean, so that no later sync writes them.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// Of what was not synced, the sectors survive that `keeps` chooses. Says how many changes and sectors did not.
    pub(super) fn lose_power(&mut self, mut keeps: impl FnMut() -> bool) -> usize {
        let mut lost = 0;
        for change in self.unsynced.drain(..) {
            match change {
                Change::SetLen(_) if !keeps() => lost += 1,
                Change::SetLen(_) => apply(&mut self.synced, &change),
                Change::Write { offset, data } => {
                    let mut at = 0;
                    while at < data.len() {
                        let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES;
                        let end = data.len().min(sector_end - offset);
                        if keeps() {
                            put(&mut self.synced, offset + at, &data[at..end]);
                        } else {
                            lost += 1;
                        }
                        at = end;
                    }
                }
            }
        }
        self.now.clone_from(&self.synced);
        lost
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len, 0),
        Change::Write { offset, data } => put(bytes, *offset, data),
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}
