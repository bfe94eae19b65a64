//! Op ids from a clock that may be behind everybody else's.

use crate::ids::OpId;

/// How far ahead of its clock a client keeps its ids at most: a day. A floor beyond that comes from a clock that is wrong,
/// and would go from key to key; it is passed where it is met, and not remembered.
const AHEAD_MS_MAX: u64 = 24 * 3_600_000;
/// How much farther than it is told a client goes that is told again: this, then twice as far each time.
const MARGIN_MS: (u64, u64) = (32, 4_096);
/// A clock that is less behind a node's needs no help.
const BEHIND_MS_MAX: u64 = 1_000;
/// The last moment that fits into an op id. Above a floor of then there is none: such a key refuses all.
const UNIX_MS_MAX: u64 = (1 << 48) - 1;

/// Makes one client's op ids.
///
/// A key forgets small op ids first, so a client whose clock is behind is told again and again that its ids are too old.
/// Once it was told, it keeps its ids as far ahead of its clock as that took. What it is told is what the key has forgotten,
/// some writes ago: where others go on writing, that is too old as soon as it arrives. So who is told again goes farther.
/// Only ids rest on this, no promise does.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpClock {
    ahead_ms: u64,
    /// The first id that was as far ahead, in Unix milliseconds: a floor below it was told to an older id.
    since_ms: u64,
    /// What is added the next time.
    margin_ms: u64,
    /// The highest floor that an id was refused with.
    floor: OpId,
    /// A node's time, told since the last id was made.
    told_unix_ms: u64,
}

impl OpClock {
    /// One that trusts its clock.
    pub const fn new() -> Self {
        Self { ahead_ms: 0, since_ms: 0, margin_ms: 0, floor: OpId(0), told_unix_ms: 0 }
    }

    /// A node's clock shows this time. Who is far behind makes ids by it.
    pub fn on_time(&mut self, unix_ms: u64) {
        self.told_unix_ms = unix_ms;
    }

    /// An id was refused with this floor. Ids made later learn from it, also where no fresh one is taken for this operation.
    pub fn on_refused(&mut self, floor: OpId) {
        self.floor = self.floor.max(floor);
    }

    /// A fresh op id, larger than `floor` (what a key's history has forgotten), from this clock (Unix milliseconds) and
    /// ten random bytes.
    pub fn op_id(&mut self, unix_ms: u64, random: [u8; 10], floor: OpId) -> OpId {
        let behind_ms = core::mem::take(&mut self.told_unix_ms).saturating_sub(unix_ms);
        if behind_ms > BEHIND_MS_MAX {
            self.ahead_ms = self.ahead_ms.max(behind_ms);
        }
        let after = |floor: OpId| if floor == OpId::default() { 0 } else { floor.unix_ms() + 1 };
        let told = after(core::mem::take(&mut self.floor).max(floor));
        let behind_ms = told.saturating_sub(unix_ms);
        if told > self.since_ms && (1..=AHEAD_MS_MAX).contains(&behind_ms) {
            self.ahead_ms = self.ahead_ms.max((behind_ms + self.margin_ms).min(AHEAD_MS_MAX));
            self.since_ms = unix_ms + self.ahead_ms;
            self.margin_ms = (2 * self.margin_ms).clamp(MARGIN_MS.0, MARGIN_MS.1);
        }
        let at = unix_ms.saturating_add(self.ahead_ms).max(after(floor));
        OpId::from_parts(at.min(UNIX_MS_MAX), random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_told_once() {
        let mut clock = OpClock::new();
        let first = clock.op_id(1_000, [1; 10], OpId::default());
        assert_eq!(first.unix_ms(), 1_000);
        let floor = OpId::from_parts(5_000, [9; 10]);
        let told = clock.op_id(1_010, [1; 10], floor);
        assert!(told > floor);
        // Another 200 ms later it is still ahead, and stays so when a smaller floor comes.
        assert_eq!(clock.op_id(1_210, [1; 10], OpId::default()).unix_ms(), 5_201);
        assert_eq!(clock.op_id(1_220, [1; 10], OpId::from_parts(2_000, [1; 10])).unix_ms(), 5_211);
    }

    /// On a hot key, whose other writers are a second ahead: it remembers 16 writes, which come every millisecond, and an
    /// answer takes 30.
    #[test]
    fn who_is_told_again_goes_farther() {
        let mut clock = OpClock::new();
        let mut floor = OpId::default();
        let told = (0..100).take_while(|try_number| {
            let now = 100_000 + try_number * 30;
            let id = clock.op_id(now, [1; 10], floor);
            floor = OpId::from_parts(now + 15 + 1_000 - 16, [9; 10]);
            id < floor
        });
        assert_eq!(told.count(), 2);
        let mut clock = OpClock::new();
        for floor in 1..100 {
            let floor = OpId::from_parts(floor * 10_000, [9; 10]);
            let lead = clock.op_id(0, [1; 10], floor).unix_ms() - floor.unix_ms();
            assert!(lead <= MARGIN_MS.1 + 1, "{lead}");
        }
    }

    #[test]
    fn a_floor_from_a_wrong_clock_is_passed_and_not_taken_along() {
        let mut clock = OpClock::new();
        let floor = OpId::from_parts(1_000 + 2 * AHEAD_MS_MAX, [9; 10]);
        assert!(clock.op_id(1_000, [1; 10], floor) > floor);
        assert_eq!(clock.op_id(1_010, [1; 10], OpId::default()).unix_ms(), 1_010);
    }

    #[test]
    fn who_is_refused_and_takes_no_fresh_id_has_learnt_for_the_next() {
        let mut clock = OpClock::new();
        clock.on_refused(OpId::from_parts(5_000, [9; 10]));
        assert_eq!(clock.op_id(1_000, [1; 10], OpId::default()).unix_ms(), 5_001);
        clock.on_refused(OpId::from_parts(1_000 + 2 * AHEAD_MS_MAX, [9; 10]));
        assert_eq!(clock.op_id(1_010, [1; 10], OpId::default()).unix_ms(), 5_011);
    }

    #[test]
    fn who_is_far_behind_goes_by_the_time_that_a_node_tells() {
        let mut clock = OpClock::new();
        clock.on_time(3 * AHEAD_MS_MAX);
        assert_eq!(clock.op_id(1_000, [1; 10], OpId::default()).unix_ms(), 3 * AHEAD_MS_MAX);
        assert_eq!(clock.op_id(1_500, [1; 10], OpId::default()).unix_ms(), 3 * AHEAD_MS_MAX + 500);
        clock.on_time(2_000);
        assert_eq!(clock.op_id(2_000, [1; 10], OpId::default()).unix_ms(), 3 * AHEAD_MS_MAX + 1_000);
    }

    #[test]
    fn the_last_moment_that_fits_is_not_passed() {
        let mut clock = OpClock::new();
        let floor = OpId::from_parts(UNIX_MS_MAX, [0xff; 10]);
        assert_eq!(clock.op_id(1_000, [1; 10], floor).unix_ms(), UNIX_MS_MAX);
    }
}
