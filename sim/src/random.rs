//! Seeded choices. Each consumer has a stream of its own, keyed by its name, so that one that draws more or less leaves
//! the others as they were.

use std::time::Duration;

/// 64 bits that depend on a seed, a place and a time, and on nothing that was drawn before.
pub fn keyed(seed: u64, place: u64, at: u64) -> u64 {
    let place = Random(seed ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93)).bits();
    Random(place ^ at.wrapping_mul(0xa076_1d64_78bd_642f)).bits()
}

/// A stream of choices (splitmix64: small, and good enough for choosing faults).
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `consumer` under a seed.
    pub fn new(seed: u64, consumer: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(consumer.as_bytes());
        let mut state = [0; 8];
        hasher.finalize_xof().fill(&mut state);
        Self(u64::from_le_bytes(state))
    }

    /// A stream for a part of this consumer's work. Does not advance this one.
    pub fn fork(&self, part: &str) -> Self {
        Self::new(self.0, part)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is far below anything a fault plan notices.
        self.bits() % bound
    }

    /// An index into something of this length, which must not be zero.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())].clone()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Whole milliseconds, each order of magnitude as likely as the next: short and long both matter.
    pub fn log_ms(&mut self, from: u64, to: u64) -> Duration {
        let (low, high) = (from.max(1).ilog2(), to.max(1).ilog2());
        let exponent = low + u32::try_from(self.below(u64::from(high - low) + 1)).expect("below 64");
        let span = 1_u64 << exponent;
        Duration::from_millis((span + self.below(span)).clamp(from, to))
    }

    /// Random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            part.copy_from_slice(&self.bits().to_le_bytes()[..part.len()]);
        }
    }
}
