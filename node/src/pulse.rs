//! A clock that ticks only while something is waited for, so that a node at rest has hardly a timer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Ticks after it was started, once each time. Started by anybody, on any thread; followed by one task.
#[derive(Debug)]
pub struct Pulse {
    every: Duration,
    /// A tick is to come.
    running: AtomicBool,
    started: Notify,
}

impl Pulse {
    /// At rest. Its ticks come `every` after a start.
    pub fn new(every: Duration) -> Self {
        Self { every, running: AtomicBool::new(false), started: Notify::new() }
    }

    /// A tick shall come: `every` from now at the latest. Cheap where one is to come already.
    ///
    /// To be called after what the tick shall find was written down under a lock that the follower takes too: a start
    /// that finds the pulse running is then always before the look that its tick leads to.
    pub fn start(&self) {
        if !self.running.load(Ordering::Acquire) && !self.running.swap(true, Ordering::AcqRel) {
            self.started.notify_one();
        }
    }

    /// The next tick; at rest this waits for a start. Cancel safe: the tick is still to come then.
    pub async fn tick(&self) {
        // The notice of an earlier start may be left over.
        while !self.running.load(Ordering::Acquire) {
            self.started.notified().await;
        }
        sleep(self.every).await;
        self.running.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const EVERY: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn it_ticks_once_for_all_starts_before_the_tick_and_then_rests() {
        let pulse = Pulse::new(EVERY);
        for _ in 0..3 {
            let began = Instant::now();
            pulse.start();
            pulse.start();
            pulse.tick().await;
            assert_eq!(began.elapsed(), EVERY);
            assert!(timeout(EVERY * 100, pulse.tick()).await.is_err(), "it rests");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_nobody_waited_for_is_still_to_come() {
        let pulse = Pulse::new(EVERY);
        pulse.start();
        assert!(timeout(EVERY / 2, pulse.tick()).await.is_err());
        timeout(EVERY, pulse.tick()).await.expect("the tick of the start");
    }
}
