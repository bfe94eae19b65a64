//! Wall time and randomness of nodes and clients.

use std::time::Duration;

use parking_lot::Mutex;

use crate::hooks;
use crate::random::Random;

/// One host's wall clock and randomness. Implements the node's and the client's traits.
#[derive(Debug)]
pub struct SimAmbient {
    random: Mutex<Random>,
    /// How far the host's wall clock is ahead of simulated time.
    ahead: Duration,
}

impl SimAmbient {
    /// Draws from this stream; the wall clock is `ahead` of the others.
    pub fn new(random: Random, ahead: Duration) -> Self {
        Self { random: Mutex::new(random), ahead }
    }

    fn wall_ms(&self) -> u64 {
        let now = Duration::from_secs(hooks::EPOCH_UNIX_S) + hooks::now() + self.ahead;
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
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
