//! One direction of a link between two machines: how long packets take, which are lost, and why.

use std::time::Duration;

use crate::fired::fire;

/// Simulated time has steps of a millisecond: tokio's timers have.
const STEP: Duration = Duration::from_millis(1);

/// How long packets wait at most before a narrow link: by then a real sender is held back, and does not send more into a
/// queue that takes a minute to drain.
const QUEUE_MAX: Duration = Duration::from_millis(500);

/// How much later than a reset that it met a packet may arrive.
const STRAY_MS: u64 = 100;

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

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub(super) enum Crossing {
    /// When.
    Arrives(Duration),
    Lost,
    /// Something on the way does not know its connection any more, and resets it.
    Reset(Reset),
}

/// What a reset does.
#[derive(Clone, Copy)]
pub(super) struct Reset {
    /// When both ends hear of it.
    pub(super) at: Duration,
    /// When the packet arrives all the same, if it does and if who gets it has not heard of the reset.
    pub(super) arrives: Option<Duration>,
}

impl Crossing {
    /// When it arrives, if it does.
    pub(super) fn arrives(self) -> Option<Duration> {
        if let Self::Arrives(at) = self { Some(at) } else { None }
    }
}

/// One direction. Cuts may overlap; the others act as they were set last.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    options: LinkOptions,
    /// The kinds of the faults that cut it.
    cuts: Vec<&'static str>,
    /// Of a thousand packets, so many are lost.
    loss: u32,
    /// Of a thousand, so many meet something that resets their connection.
    resets: u32,
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
            cuts: Vec::new(),
            loss: 0,
            resets: 0,
            slow: Duration::ZERO,
            bandwidth: 0,
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// One more cut, by a fault of this kind.
    pub(crate) fn cut(&mut self, kind: &'static str) {
        self.cuts.push(kind);
    }

    /// One of that kind less.
    pub(crate) fn mend(&mut self, kind: &'static str) {
        if let Some(at) = self.cuts.iter().position(|cut| *cut == kind) {
            self.cuts.remove(at);
        }
    }

    /// Sets how many packets of a thousand are lost.
    pub(crate) fn lose(&mut self, of_thousand: u32) {
        self.loss = of_thousand;
    }

    /// Sets how many packets of a thousand have their connection reset.
    pub(crate) fn reset(&mut self, of_thousand: u32) {
        self.resets = of_thousand;
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
        if let Some(kind) = self.cuts.last() {
            fire(kind, 1);
            return Crossing::Lost;
        }
        if self.loss > 0 && draw % 1000 < u64::from(self.loss) {
            fire("loss", 1);
            return Crossing::Lost;
        }
        fire("slow-link", u64::from(!self.slow.is_zero()));
        let jitter = self.options.jitter.as_millis() as u64 + 1;
        let mut arrival =
            now + self.options.latency + self.slow + Duration::from_millis((draw >> 16) % jitter);
        if let Some(takes) = bytes.checked_div(self.bandwidth) {
            let takes = Duration::from_millis(takes as u64);
            fire("narrow-link", u64::from(self.busy_until > now));
            self.busy_until = (self.busy_until.max(now) + takes).min(now + QUEUE_MAX);
            arrival = arrival.max(self.busy_until + self.options.latency);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        if (draw >> 40) % 1000 < u64::from(self.resets) {
            fire("reset", 1);
            let at = self.last_arrival;
            let arrives = (draw >> 52 & 1 == 1).then(|| at + Duration::from_millis((draw >> 53) % STRAY_MS));
            return Crossing::Reset(Reset { at, arrives });
        }
        Crossing::Arrives(self.last_arrival)
    }
}
