//! Wall time and randomness of nodes and clients.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::fired::fire;
use crate::hooks;
use crate::random::Random;

/// A machine's wall clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct WallClock(Arc<Mutex<Setting>>);

#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    /// The kind of the last fault, until the clock is read.
    unread: Option<&'static str>,
    /// How far it is ahead of simulated time, in milliseconds, and since when.
    ahead_ms: i64,
    since: Duration,
    /// How many milliseconds it gains in a second.
    drift_ms_per_s: i64,
}

impl WallClock {
    /// Ahead of simulated time by so much.
    pub fn ahead(by: Duration) -> Self {
        let clock = Self::default();
        clock.0.lock().ahead_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        clock
    }

    /// Sets it forward, or back.
    pub fn jump(&self, ms: i64) {
        let mut setting = self.0.lock();
        setting.ahead_ms = setting.ahead_ms.saturating_add(ms);
        setting.unread = Some(if ms < 0 { "clock-back" } else { "clock-forward" });
    }

    /// From here on it gains so many milliseconds in a second, or loses them.
    pub fn drift(&self, ms_per_s: i64) {
        let mut setting = self.0.lock();
        *setting = Setting {
            unread: (ms_per_s != 0).then_some("clock-drift"),
            ahead_ms: setting.now_ahead_ms(),
            since: hooks::now(),
            drift_ms_per_s: ms_per_s,
        };
    }

    fn unix_ms(&self) -> u64 {
        let now = Duration::from_secs(hooks::EPOCH_UNIX_S) + hooks::now();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let mut setting = self.0.lock();
        if let Some(kind) = setting.unread.take() {
            fire(kind, 1);
        }
        u64::try_from(now.saturating_add(setting.now_ahead_ms())).unwrap_or(0)
    }
}

impl Setting {
    fn now_ahead_ms(&self) -> i64 {
        let passed = i64::try_from((hooks::now().saturating_sub(self.since)).as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms + passed / 1000 * self.drift_ms_per_s
    }
}

/// One host's wall clock and randomness. Implements the node's and the client's traits.
#[derive(Debug)]
pub struct SimAmbient {
    random: Mutex<Random>,
    clock: WallClock,
}

impl SimAmbient {
    /// Draws from this stream, and reads this clock.
    pub fn new(random: Random, clock: WallClock) -> Self {
        Self { random: Mutex::new(random), clock }
    }

    fn wall_ms(&self) -> u64 {
        self.clock.unix_ms()
    }
}

impl node::env::Ambient for SimAmbient {
    fn unix_ms(&self) -> u64 {
        self.wall_ms()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.random.lock().fill(buffer);
    }
}

impl holdfast::Ambient for SimAmbient {
    fn unix_ms(&self) -> u64 {
        self.wall_ms()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.random.lock().fill(buffer);
    }
}
