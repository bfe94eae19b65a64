//! Says in the log that the registry is away, without flooding it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::store::StoreError;

/// Between two warnings of one outage.
const WARN_EVERY: Duration = Duration::from_secs(5);

/// One task's experience with the registry.
pub(super) struct Outage {
    /// What the task does, for the log.
    doing: &'static str,
    registry: String,
    /// Since when it fails, and when that was last said.
    failing: Option<(Instant, Instant)>,
}

impl Outage {
    pub(super) fn new(doing: &'static str, registry: String) -> Self {
        Self { doing, registry, failing: None }
    }

    pub(super) fn on_failure(&mut self, error: &StoreError) {
        let now = Instant::now();
        let (since, say) = match self.failing {
            Some((since, said)) => (since, now.duration_since(said) >= WARN_EVERY),
            None => (now, true),
        };
        let said = if say { now } else { self.failing.map_or(now, |(_, said)| said) };
        self.failing = Some((since, said));
        if say {
            warn!(
                registry = self.registry,
                doing = self.doing,
                for_ms = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX),
                error = %error,
                "the registry is away: going on with what is known, trying again"
            );
        }
    }

    pub(super) fn on_success(&mut self) {
        if let Some((since, _)) = self.failing.take() {
            let for_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(registry = self.registry, doing = self.doing, for_ms, "the registry answers again");
        }
    }
}
