//! How long a disk takes. Nothing by default; simulated time is what passes, in whole milliseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Random;

/// How long a disk takes for what changes it. Ranges are whole milliseconds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// A write, or a change of names.
    pub write_ms: (u64, u64),
    /// A sync of a file or folder.
    pub sync_ms: (u64, u64),
    /// One sync in so many stalls; 0: none.
    pub stall_one_in: u64,
    /// For how long.
    pub stall_ms: (u64, u64),
}

impl Latency {
    /// An ordinary disk: syncs of a few milliseconds, writes into the page cache of none.
    pub const ORDINARY: Self = Self { write_ms: (0, 0), sync_ms: (1, 4), stall_one_in: 0, stall_ms: (0, 0) };
    /// A disk that is worn out, or shared with too many.
    pub const SLOW: Self = Self { write_ms: (0, 5), sync_ms: (5, 50), stall_one_in: 0, stall_ms: (0, 0) };
    /// A slow disk, which sometimes does nothing for a second or more.
    pub const STALLING: Self =
        Self { write_ms: (0, 5), sync_ms: (5, 50), stall_one_in: 50, stall_ms: (500, 5_000) };

    /// How long one operation takes, and whether that is a stall.
    pub(super) fn draw(&self, is_sync: bool, random: &mut Random) -> (Duration, bool) {
        let stalls = is_sync && self.stall_one_in > 0 && random.one_in(self.stall_one_in);
        let (from, to) = match (stalls, is_sync) {
            (true, _) => self.stall_ms,
            (false, true) => self.sync_ms,
            (false, false) => self.write_ms,
        };
        let ms = from + random.below(to.saturating_sub(from) + 1);
        (Duration::from_millis(ms), stalls)
    }
}
