//! Keeps one node registered: a lease, the key under it, and both again whenever they are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_core::ids::NodeId;
use holdfast_core::sometimes;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::keys::Keys;
use super::outage::Outage;
use super::store::{LeaseId, RegistryStore, StoreError};
use super::timing::{Backoff, RegistryTiming};
use super::within;
use crate::env::tasks;

/// Every so many keepalives the key itself is read: once in a lease's time.
const CHECK_EVERY: u32 = 3;

/// A node's registration while it is held. Dropping it stops the keepalive: the lease then runs out by itself.
#[must_use = "dropping it ends the registration when its lease runs out"]
pub struct Registration {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Registration {
    pub(super) fn start(keeper: Keeper) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop: Some(stop), task: tasks::spawn(keeper.run(stopped)) }
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

/// Keeps a node registered.
pub(super) struct Keeper {
    store: Arc<dyn RegistryStore>,
    timing: RegistryTiming,
    /// Told when the registry does not answer, so that the view is listed again.
    doubts: Arc<Notify>,
    id: NodeId,
    key: String,
    value: String,
    layout_key: String,
    /// See [`super::Registry::on_layout_known`].
    layout_known: Arc<AtomicBool>,
    lease: Option<LeaseId>,
    /// Keepalives since the key was last read or written.
    kept: u32,
    outage: Outage,
}

impl Keeper {
    pub(super) fn new(
        store: Arc<dyn RegistryStore>,
        timing: RegistryTiming,
        id: NodeId,
        keys: &Keys,
        value: String,
        layout_known: Arc<AtomicBool>,
        doubts: Arc<Notify>,
    ) -> Self {
        Self {
            outage: Outage::new("register", store.describe()),
            store,
            timing,
            id,
            key: keys.node(id),
            value,
            layout_key: keys.layout(),
            layout_known,
            doubts,
            lease: None,
            kept: 0,
        }
    }

    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            // An error means that the handle was dropped: this task is being aborted.
            _ = stopped => {}
            () = self.keep() => {}
        }
        // A put that was under way names this lease: after the revocation it is refused or its key is gone.
        if let Some(lease) = self.lease {
            let revoked = async {
                match self.store.revoke_lease(lease).await {
                    // Most likely the connection was from before the registry's last restart: the next is a new one.
                    Err(StoreError::Unreachable(_)) => self.store.revoke_lease(lease).await,
                    answer => answer,
                }
            };
            match within(self.timing.call_timeout, revoked).await {
                Ok(()) | Err(StoreError::LeaseGone) => info!(node = %self.id, "deregistered"),
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
                    if matches!(error, StoreError::Unreachable(_)) {
                        self.doubts.notify_one();
                    }
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
                self.kept += 1;
                if self.kept < CHECK_EVERY {
                    return Ok(());
                }
                // An old etcd leader may still acknowledge keepalives, and a key can be deleted under a living
                // lease: only a linearizable read tells that others see it.
                let found = within(patience, self.store.get(&self.key)).await?;
                if found.is_some_and(|entry| entry.lease == Some(lease) && entry.value == self.value) {
                    self.kept = 0;
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
        // If the registry is emptied after this look, the lease is gone with the rest and the put is refused.
        if self.layout_known.load(Ordering::Relaxed)
            && within(patience, self.store.get(&self.layout_key)).await?.is_none()
        {
            return Err(StoreError::Refused("it holds no layout: this node gives it back first".to_owned()));
        }
        within(patience, self.store.put(&self.key, &self.value, Some(lease))).await?;
        self.kept = 0;
        info!(node = %self.id, key = self.key, "registered");
        Ok(())
    }
}
