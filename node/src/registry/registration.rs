//! Keeps one node registered: a lease, the key under it, and both again whenever they are lost.

use std::sync::Arc;

use holdfast_core::ids::NodeId;
use holdfast_core::sometimes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::outage::Outage;
use super::store::{LeaseId, RegistryStore, StoreError};
use super::timing::{Backoff, RegistryTiming};
use super::within;

/// A node's registration while it is held. Dropping it stops the keepalive: the lease then runs out by itself.
#[must_use = "dropping it ends the registration when its lease runs out"]
pub struct Registration {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Registration {
    pub(super) fn start(
        store: Arc<dyn RegistryStore>,
        timing: RegistryTiming,
        id: NodeId,
        key: String,
        value: String,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper {
            outage: Outage::new("register", store.describe()),
            store,
            timing,
            id,
            key,
            value,
            lease: None,
        };
        Self { stop: Some(stop), task: tokio::spawn(keeper.run(stopped)) }
    }

    /// Takes the node out of the registry (graceful stop). If the registry does not answer in time the lease
    /// runs out by itself.
    pub async fn deregister(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // The task has its own deadline. A panic in it was reported where it happened.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    store: Arc<dyn RegistryStore>,
    timing: RegistryTiming,
    id: NodeId,
    key: String,
    value: String,
    lease: Option<LeaseId>,
    outage: Outage,
}

impl Keeper {
    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            // An error means that the handle was dropped: this task is being aborted.
            _ = stopped => {}
            () = self.keep() => {}
        }
        // A put that was under way names this lease: after the revocation it is refused or its key is gone.
        if let Some(lease) = self.lease {
            match within(self.timing.call_timeout, self.store.revoke_lease(lease)).await {
                Ok(()) => info!(node = %self.id, "deregistered"),
                Err(error) => {
                    sometimes!("a node stops and cannot take itself out of the registry");
                    warn!(node = %self.id, error = %error, "not deregistered: the lease will run out");
                }
            }
        }
    }

    /// Never returns.
    async fn keep(&mut self) {
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            match self.refresh().await {
                Ok(()) => {
                    self.outage.on_success();
                    backoff.reset();
                    // A third, so that two keepalives may be lost.
                    sleep_until(began + self.timing.lease_ttl / 3).await;
                }
                Err(StoreError::LeaseGone) => {
                    sometimes!("a node has lost its lease and registers again");
                    warn!(node = %self.id, "the lease was lost: registering again");
                    self.lease = None;
                    backoff.pause().await;
                }
                Err(error) => {
                    self.outage.on_failure(&error);
                    backoff.pause().await;
                }
            }
        }
    }

    /// Makes sure that the lease lives and that the key is there under it.
    async fn refresh(&mut self) -> Result<(), StoreError> {
        let patience = self.timing.call_timeout;
        let lease = match self.lease {
            Some(lease) => {
                within(patience, self.store.keep_alive(lease)).await?;
                // An old etcd leader may still acknowledge keepalives, and a key can be deleted under a living
                // lease: only a linearizable read tells that others see it.
                let found = within(patience, self.store.get(&self.key)).await?;
                if found.is_some_and(|entry| entry.lease == Some(lease) && entry.value == self.value) {
                    return Ok(());
                }
                sometimes!("a registration is gone although its lease lives");
                warn!(node = %self.id, "the registration was gone or changed: writing it again");
                lease
            }
            None => within(patience, self.store.grant_lease(self.timing.lease_ttl)).await?,
        };
        // Before the put: whatever becomes of it, this lease is the one to revoke.
        self.lease = Some(lease);
        within(patience, self.store.put(&self.key, &self.value, Some(lease))).await?;
        info!(node = %self.id, key = self.key, "registered");
        Ok(())
    }
}
