//! How long answers take of late: what a hedge waits for before it believes that something is wrong.

/// Smoothed mean and deviation, as TCP estimates its round trip (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// In 1/16 ms, because most answers take less than one.
    mean_x16: u32,
    deviation_x16: u32,
    known: bool,
}

/// Longer samples count as this much, so that one stall does not switch hedging off.
const SAMPLE_MS_MAX: u32 = 4_000;

impl Latency {
    pub(super) fn on_sample(&mut self, ms: u64) {
        let sample = u32::try_from(ms).unwrap_or(SAMPLE_MS_MAX).min(SAMPLE_MS_MAX) * 16;
        if !self.known {
            *self = Self { mean_x16: sample, deviation_x16: sample / 2, known: true };
            return;
        }
        let error = sample.abs_diff(self.mean_x16);
        self.deviation_x16 = (self.deviation_x16 * 3 + error) / 4;
        self.mean_x16 = (self.mean_x16 * 7 + sample) / 8;
    }

    /// Mean plus four deviations, within `min..=max`; `first` while nothing is known.
    pub(super) fn unusual_ms(&self, first: u32, min: u32, max: u32) -> u32 {
        if !self.known {
            return first;
        }
        ((self.mean_x16 + 4 * self.deviation_x16) / 16).clamp(min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn steady_answers_bring_the_wait_down_to_the_floor() {
        let mut latency = Latency::default();
        assert_eq!(latency.unusual_ms(50, 30, 1000), 50);
        for _ in 0..50 {
            latency.on_sample(1);
        }
        assert_eq!(latency.unusual_ms(50, 30, 1000), 30);
    }

    #[test]
    fn slow_lines_raise_it_up_to_the_ceiling() {
        let mut latency = Latency::default();
        for _ in 0..50 {
            latency.on_sample(200);
        }
        let wait = latency.unusual_ms(50, 30, 1000);
        assert!((200..300).contains(&wait), "{wait}");
        for _ in 0..50 {
            latency.on_sample(u64::MAX);
        }
        assert_eq!(latency.unusual_ms(50, 30, 1000), 1000);
    }
}
