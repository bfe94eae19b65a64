//! What can be wrong with a disk, where and when it strikes, and how often it really bit.
//!
//! Each decision is drawn from a stream of its own, keyed by the fault, the file and the n-th operation of that sort on
//! that file: switching one fault off leaves all draws of the others as they were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A fault that strikes single operations. The others are methods of [`super::SimDisk`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    /// A read fails with EIO.
    ReadError,
    /// A bit of what is being read flips first, and stays so until it is overwritten.
    Rot,
    /// A write, or a change of a file's length, fails with EIO; of a write, some first sectors may be there.
    WriteError,
    /// A write finds no room (ENOSPC); some of its first sectors may be there.
    NoRoom,
    /// A write that is acknowledged, and synced without an error, never reaches the platter.
    LostWrite,
    /// A write lands at another sector of some file, where it overwrites something.
    MisdirectedWrite,
    /// A sync of a file fails with EIO, and what it should have synced counts as clean: no later sync writes it.
    #[serde(rename = "sync-fails")]
    SyncError,
    /// A sync of a file or folder succeeds and does nothing. A later one may still do it.
    SyncLie,
    /// Making, renaming or removing a file, or syncing a folder, fails with EIO and does nothing.
    NameError,
}

impl DiskFault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ReadError,
        Self::Rot,
        Self::WriteError,
        Self::NoRoom,
        Self::LostWrite,
        Self::MisdirectedWrite,
        Self::SyncError,
        Self::SyncLie,
        Self::NameError,
    ];

    /// Its name in plans and counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadError => "read-error",
            Self::Rot => "rot",
            Self::WriteError => "write-error",
            Self::NoRoom => "no-room",
            Self::LostWrite => "lost-write",
            Self::MisdirectedWrite => "misdirected-write",
            Self::SyncError => "sync-fails",
            Self::SyncLie => "sync-lie",
            Self::NameError => "name-error",
        }
    }

    /// What goes wrong, for a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ReadError => "a read fails",
            Self::Rot => "a bit rots as it is read",
            Self::WriteError => "a write fails",
            Self::NoRoom => "a write finds no room",
            Self::LostWrite => "a write is lost and nobody is told",
            Self::MisdirectedWrite => "a write lands in another place",
            Self::SyncError => "a sync fails",
            Self::SyncLie => "a sync does nothing and succeeds",
            Self::NameError => "a change of names fails",
        }
    }

    /// Whether it takes away what the disk has said that it keeps. What one copy has lost, the others must have: no two
    /// nodes of a cluster are promised to survive it at the same time.
    pub const fn destroys(self) -> bool {
        matches!(self, Self::Rot | Self::LostWrite | Self::MisdirectedWrite | Self::SyncLie)
    }
}

/// Which files of a node's data folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// All.
    #[default]
    Any,
    /// The write-ahead log.
    Log,
    /// redb's file.
    Base,
    /// The checksums of redb's blocks.
    Sums,
    /// Whose folder it is.
    Identity,
    /// The last known layout and addresses.
    Layout,
}

impl FileKind {
    /// Each single kind.
    pub const EACH: [Self; 5] = [Self::Log, Self::Base, Self::Sums, Self::Identity, Self::Layout];

    /// Its name in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Any => "any file",
            Self::Log => "the log",
            Self::Base => "redb's file",
            Self::Sums => "the checksums of redb's file",
            Self::Identity => "the identity",
            Self::Layout => "the stored layout",
        }
    }

    /// Whether a file, or a folder's names, are of this kind.
    pub fn has(self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Log => path == "wal" || path.starts_with("wal/"),
            Self::Base => path.starts_with("heads.redb"),
            Self::Sums => path.starts_with("heads.sums"),
            Self::Identity => path.starts_with("identity"),
            Self::Layout => path.starts_with("layout.json") || path.starts_with("nodes.json"),
        }
    }
}

/// When a fault strikes, among the operations that it can strike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Every time.
    Always,
    /// Once in so many, as the seed says. Not zero.
    OneIn(u64),
    /// Once: the n-th from now on, counted from 0.
    Nth(u64),
}

/// Where and when a fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Strike {
    /// Which files.
    pub files: FileKind,
    /// Which operations on them.
    pub when: When,
}

impl Strike {
    /// Every operation.
    pub fn always(files: FileKind) -> Self {
        Self { files, when: When::Always }
    }

    /// One in `n` operations, which is not zero.
    pub fn one_in(n: u64, files: FileKind) -> Self {
        Self { files, when: When::OneIn(n) }
    }

    /// The n-th operation from now on, counted from 0, and none after it.
    pub fn nth(n: u64, files: FileKind) -> Self {
        Self { files, when: When::Nth(n) }
    }
}

/// The faults that are switched on, and what they did.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) on: BTreeMap<DiskFault, Strike>,
    pub(super) fired: BTreeMap<&'static str, u64>,
}

impl Faults {
    /// Whether `fault` strikes an operation on `path`; `draw` gives a number below the bound, from the stream of this
    /// decision.
    pub(super) fn strikes(&mut self, fault: DiskFault, path: &str, draw: impl FnOnce(u64) -> u64) -> bool {
        let Some(strike) = self.on.get_mut(&fault) else { return false };
        if !strike.files.has(path) {
            return false;
        }
        match &mut strike.when {
            When::Always => true,
            When::OneIn(n) => draw((*n).max(1)) == 0,
            When::Nth(0) => {
                self.on.remove(&fault);
                true
            }
            When::Nth(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// It bit.
    pub(super) fn bit(&mut self, name: &'static str) {
        self.bit_times(name, 1);
    }

    pub(super) fn bit_times(&mut self, name: &'static str, times: u64) {
        if times > 0 {
            *self.fired.entry(name).or_default() += times;
        }
    }
}
