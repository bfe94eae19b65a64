//! One direction of a link between two machines: how long packets take, which are lost, and why.

use std::time::Duration;

/// Simulated time has steps of a millisecond: tokio's timers have.
const STEP: Duration = Duration::from_millis(1);

/// What a link is like when nothing is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkOptions {
    /// The least time that a packet takes. At least a millisecond.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { latency: STEP, jitter: 2 * STEP }
    }
}

/// What became of a packet.
pub(super) enum Crossing {
    Arrives(Duration),
    /// By which fault.
    Lost(&'static str),
}

/// One direction. The numbers say how many faults act in that way: they may overlap.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    options: LinkOptions,
    cuts: u32,
    /// Of a thousand packets, so many are lost.
    loss: u32,
    slow: Duration,
    /// Bytes in a millisecond; 0: no limit.
    bandwidth: usize,
    /// Until when what was sent before takes the whole bandwidth.
    busy_until: Duration,
    last_arrival: Duration,
}

impl Link {
    pub(super) fn new(options: LinkOptions) -> Self {
        assert!(options.latency >= STEP, "a packet takes a millisecond at least");
        Self {
            options,
            cuts: 0,
            loss: 0,
            slow: Duration::ZERO,
            bandwidth: 0,
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cuts > 0
    }

    /// One more cut.
    pub(crate) fn cut(&mut self) {
        self.cuts += 1;
    }

    /// One less.
    pub(crate) fn mend(&mut self) {
        self.cuts = self.cuts.saturating_sub(1);
    }

    /// Sets how many packets of a thousand are lost.
    pub(crate) fn lose(&mut self, of_thousand: u32) {
        self.loss = of_thousand;
    }

    /// Makes packets take so much longer.
    pub(crate) fn slow_down(&mut self, by: Duration) {
        self.slow = by;
    }

    /// Limits the bytes in a millisecond; 0: no limit.
    pub(crate) fn narrow(&mut self, bytes_per_ms: usize) {
        self.bandwidth = bytes_per_ms;
    }

    pub(super) fn heal(&mut self) {
        *self = Self { last_arrival: self.last_arrival, ..Self::new(self.options) };
    }

    /// A packet of so many bytes is sent now. Packets that arrive do so in the order in which they were sent.
    pub(super) fn cross(&mut self, now: Duration, bytes: usize, draw: u64) -> Crossing {
        if self.is_cut() {
            return Crossing::Lost("cut");
        }
        if self.loss > 0 && draw % 1000 < u64::from(self.loss) {
            return Crossing::Lost("loss");
        }
        let jitter = self.options.jitter.as_millis() as u64 + 1;
        let mut arrival =
            now + self.options.latency + self.slow + Duration::from_millis((draw >> 16) % jitter);
        if self.bandwidth > 0 {
            let takes = Duration::from_millis((bytes / self.bandwidth) as u64);
            self.busy_until = self.busy_until.max(now) + takes;
            arrival = arrival.max(self.busy_until + self.options.latency);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Crossing::Arrives(self.last_arrival)
    }
}
