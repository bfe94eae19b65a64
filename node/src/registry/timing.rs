//! The registry's times. All of them are liveness: none is needed for safety.

use std::time::Duration;

use super::store::WATCH_HEARTBEAT;

/// How patient the registry's tasks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistryTiming {
    /// A node is gone this long after its last keepalive. Whole seconds in etcd, which takes no less than 2.
    pub lease_ttl: Duration,
    /// A single call is given up after it.
    pub call_timeout: Duration,
    /// A watch without a sign of life is dead after it. More than [`WATCH_HEARTBEAT`].
    pub silence: Duration,
    /// How often everything is listed again although nothing seems wrong: watches have lost events before.
    pub resync: Duration,
    /// A read or a change of the layout is given up after it, tries included.
    pub operation_timeout: Duration,
}

impl Default for RegistryTiming {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(10),
            call_timeout: Duration::from_secs(2),
            silence: WATCH_HEARTBEAT * 5 / 2,
            resync: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(5),
        }
    }
}

/// The pause before the next try: short at first, so that a blip costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// Low enough that everything is back soon after the registry is.
    const MOST: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(super) async fn pause(&mut self) {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::MOST);
        tokio::time::sleep(pause).await;
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}
