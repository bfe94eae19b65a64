//! What the fake registry can be made to do wrong: what etcd and its operators have done wrong in practice.
//!
//! Reads are never stale: the node's etcd adapter asks for linearizable ones only, so no node could see it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// One thing that goes wrong. Those that last have an end; the others happen at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryFault {
    /// Lasts. Each request takes up to so many milliseconds longer, before it is executed or after.
    Slow {
        /// The most, in milliseconds.
        most_ms: u64,
    },
    /// Lasts. So many of a hundred changes are refused, as etcd does when it is far behind ("too many requests").
    Refuse {
        /// Of a hundred.
        percent: u64,
    },
    /// Lasts. So many of a hundred changes are made and nobody is told: the connection ends, or hangs.
    LoseAnswers {
        /// Of a hundred.
        percent: u64,
    },
    /// Lasts. An old leader acknowledges keepalives, and the leases run out all the same (etcd#15247, #12528).
    OldLeader,
    /// Lasts. Watches tell of a change so many milliseconds after it was made. They do not go quiet.
    LateEvents {
        /// How late, in milliseconds.
        late_ms: u64,
    },
    /// Lasts. So many of a hundred events are never told to a watch, which goes on as if nothing were missing.
    LoseEvents {
        /// Of a hundred, for each watch on its own.
        percent: u64,
    },
    /// Lasts. A watch that a compaction overtakes is not told so: it goes on after the gap (etcd#18089, #19179).
    CompactionLoses,
    /// Lasts. After so many of a hundred changes the history is forgotten at once: a watch that has not told of them ends.
    CompactOften {
        /// Of a hundred.
        percent: u64,
    },
    /// Lasts. Watches say nothing more and stay open. What they did not tell comes when this is over.
    QuietWatches,
    /// Lasts. New watches begin with so many changes that were told before, as after a reconnect to a slow member.
    Duplicates {
        /// How many changes.
        count: u64,
    },
    /// Lasts. At its end everything is as it was at its beginning, revision and all: an operator's backup.
    Restore,
    /// A new leader. Requests that are under way and those of the next milliseconds fail, made or not; every lease
    /// has its full time again; some watches end.
    LeaderChange {
        /// How long nobody leads, in milliseconds.
        away_ms: u64,
    },
    /// One lease is revoked before its time.
    RevokeOne,
    /// All leases are.
    RevokeAll,
    /// The history up to now is forgotten: watches that are behind must list again.
    Compact,
    /// Every watch ends.
    CloseWatches,
    /// Everything is gone, the revision begins anew: an operator's mistake.
    Wipe,
}

impl fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl RegistryFault {
    /// How many kinds there are.
    pub const KINDS: u64 = 17;

    /// One of the kinds (any number names one), with random measures.
    pub fn of_kind(kind: u64, random: &mut Random) -> Self {
        let ms = |random: &mut Random, from, to| {
            u64::try_from(random.log_ms(from, to).as_millis()).unwrap_or(u64::MAX)
        };
        match kind % Self::KINDS {
            0 => Self::Slow { most_ms: ms(random, 4, 4_000) },
            1 => Self::Refuse { percent: 10 + random.below(91) },
            2 => Self::LoseAnswers { percent: 10 + random.below(91) },
            3 => Self::OldLeader,
            4 => Self::LateEvents { late_ms: ms(random, 4, 4_000) },
            5 => Self::LoseEvents { percent: 10 + random.below(91) },
            6 => Self::CompactionLoses,
            7 => Self::QuietWatches,
            8 => Self::Duplicates { count: 1 + random.below(4) },
            9 => Self::Restore,
            10 => Self::LeaderChange { away_ms: ms(random, 4, 3_000) },
            11 => Self::RevokeOne,
            12 => Self::RevokeAll,
            13 => Self::Compact,
            14 => Self::CloseWatches,
            15 => Self::CompactOften { percent: 10 + random.below(91) },
            _ => Self::Wipe,
        }
    }

    /// Whether it has an end.
    pub fn lasts(self) -> bool {
        !matches!(
            self,
            Self::LeaderChange { .. }
                | Self::RevokeOne
                | Self::RevokeAll
                | Self::Compact
                | Self::CloseWatches
                | Self::Wipe
        )
    }

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow { .. } => "registry slow",
            Self::Refuse { .. } => "registry refuses",
            Self::LoseAnswers { .. } => "registry answer lost",
            Self::OldLeader => "registry keepalive for nothing",
            Self::LateEvents { .. } => "registry event late",
            Self::LoseEvents { .. } => "registry event lost",
            Self::CompactionLoses => "registry event lost by compaction",
            Self::QuietWatches => "registry watch quiet",
            Self::Duplicates { .. } => "registry event told again",
            Self::Restore => "registry restored",
            Self::LeaderChange { .. } => "registry leader change",
            Self::RevokeOne => "registry lease revoked",
            Self::RevokeAll => "registry leases all revoked",
            Self::Compact => "registry compacted",
            Self::CompactOften { .. } => "registry compacted again and again",
            Self::CloseWatches => "registry watch closed",
            Self::Wipe => "registry wiped",
        }
    }
}

/// Which of the lasting faults are on, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Switches {
    pub(super) slow: Duration,
    pub(super) refuse_percent: u64,
    pub(super) lose_answers_percent: u64,
    pub(super) old_leader: bool,
    pub(super) late: Duration,
    pub(super) lose_events_percent: u64,
    pub(super) compaction_loses: bool,
    pub(super) compact_percent: u64,
    pub(super) quiet: bool,
    pub(super) duplicates: u64,
}

impl Switches {
    /// Switches a lasting fault on or off. The others are none of its business.
    pub(super) fn set(&mut self, fault: RegistryFault, on: bool) {
        let number = |number: u64| if on { number } else { 0 };
        match fault {
            RegistryFault::Slow { most_ms } => self.slow = Duration::from_millis(number(most_ms)),
            RegistryFault::Refuse { percent } => self.refuse_percent = number(percent),
            RegistryFault::LoseAnswers { percent } => self.lose_answers_percent = number(percent),
            RegistryFault::OldLeader => self.old_leader = on,
            RegistryFault::LateEvents { late_ms } => self.late = Duration::from_millis(number(late_ms)),
            RegistryFault::LoseEvents { percent } => self.lose_events_percent = number(percent),
            RegistryFault::CompactionLoses => self.compaction_loses = on,
            RegistryFault::CompactOften { percent } => self.compact_percent = number(percent),
            RegistryFault::QuietWatches => self.quiet = on,
            RegistryFault::Duplicates { count } => self.duplicates = number(count),
            RegistryFault::Restore
            | RegistryFault::LeaderChange { .. }
            | RegistryFault::RevokeOne
            | RegistryFault::RevokeAll
            | RegistryFault::Compact
            | RegistryFault::CloseWatches
            | RegistryFault::Wipe => {}
        }
    }
}
