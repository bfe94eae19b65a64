//! The registry: the small consistent store of cluster facts. Who the nodes are, and the layout.
//!
//! A backend ([`RegistryStore`]: etcd, embedded, the simulator's fake) gives primitives that are tried once. What is
//! built on them stands here once, for all backends: [`Registry`] keeps a [`RegistryView`] up to date through every
//! kind of outage, holds a node's [`Registration`], and changes the layout by compare-and-swap.
//!
//! Nothing here is trusted for safety. Leases are liveness; fencing is by config version and term at the replicas.

pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
mod follow;
mod keys;
mod layout_json;
mod layout_swap;
mod node_json;
mod outage;
mod registration;
pub mod store;
mod timing;
mod view;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_core::error::Invalid;
use holdfast_core::ids::NodeId;
use holdfast_core::placement::Layout;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use keys::Keys;
pub use layout_json::{NODES_MAX, REPLICAS_MAX, check_layout, check_successor, decode_layout, encode_layout};
pub use layout_swap::{LayoutWrite, RegistryError};
pub use node_json::{NODE_BYTES_MAX, NodeEntry};
use registration::Keeper;
pub use registration::Registration;
pub use store::{RegistryStore, Revision, StoreError};
pub use timing::RegistryTiming;
pub use view::{HeldLayout, RegistryView};

/// One cluster's facts in a registry. Cheap to clone; the view is kept up to date until the last clone is dropped.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn RegistryStore>,
    keys: Keys,
    timing: RegistryTiming,
    views: watch::Receiver<Arc<RegistryView>>,
    /// Shared with the registrations.
    layout_known: Arc<AtomicBool>,
    /// The registry did not answer a registration: its watch may hang too.
    doubts: Arc<Notify>,
    follower: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Registry {
    /// Begins to follow a cluster's facts, on the current tokio runtime. Returns at once, whether the registry
    /// is there or not: watch [`RegistryView::connected`]. Errors when the cluster's name is none.
    pub fn start(
        store: Arc<dyn RegistryStore>,
        cluster: &str,
        timing: RegistryTiming,
    ) -> Result<Self, Invalid> {
        let keys = Keys::new(cluster)?;
        let (sender, views) = watch::channel(Arc::new(RegistryView::default()));
        let doubts = Arc::new(Notify::new());
        let follower = follow::Follower {
            store: store.clone(),
            timing,
            doubts: doubts.clone(),
            prefix: keys.prefix().to_string(),
            model: view::Model::new(keys.clone(), timing.lease_ttl),
            views: sender,
        };
        let follower = crate::env::tasks::spawn(follower.run());
        let layout_known = Arc::new(AtomicBool::new(false));
        Ok(Self { inner: Arc::new(Inner { store, keys, timing, views, layout_known, doubts, follower }) })
    }

    /// This node knows a layout. From here on it registers only where there is one: a registry that was emptied gets
    /// its layout back first. Otherwise a new node could find enough nodes registered and no layout, and make another
    /// first one, whose majorities need not meet those of the old one.
    pub fn on_layout_known(&self) {
        self.inner.layout_known.store(true, Ordering::Relaxed);
    }

    /// The facts as last seen, now and whenever they change.
    pub fn view(&self) -> watch::Receiver<Arc<RegistryView>> {
        self.inner.views.clone()
    }

    /// Registers a node and keeps it registered, through lost leases and outages, until the answer is dropped or
    /// deregistered. Returns at once. Errors when the entry breaks a limit.
    pub fn register(&self, id: NodeId, entry: &NodeEntry) -> Result<Registration, Invalid> {
        let Inner { store, keys, timing, layout_known, doubts, .. } = &*self.inner;
        let keeper = Keeper::new(
            store.clone(),
            *timing,
            id,
            keys,
            entry.encode()?,
            layout_known.clone(),
            doubts.clone(),
        );
        Ok(Registration::start(keeper))
    }

    /// The layout as the registry holds it now, with the revision that [`Self::replace_layout`] must name.
    pub async fn layout(&self) -> Result<Option<(Arc<Layout>, Revision)>, RegistryError> {
        let Inner { store, keys, timing, .. } = &*self.inner;
        layout_swap::read_layout(&**store, *timing, &keys.layout()).await
    }

    /// Writes the first layout, if there is none.
    pub async fn create_layout(&self, layout: &Layout) -> Result<LayoutWrite, RegistryError> {
        self.swap(None, layout).await
    }

    /// Replaces the layout, if it still is the one of revision `expected`.
    pub async fn replace_layout(
        &self,
        expected: Revision,
        layout: &Layout,
    ) -> Result<LayoutWrite, RegistryError> {
        self.swap(Some(expected), layout).await
    }

    async fn swap(&self, expected: Option<Revision>, layout: &Layout) -> Result<LayoutWrite, RegistryError> {
        let json = encode_layout(layout).map_err(RegistryError::Invalid)?;
        let Inner { store, keys, timing, .. } = &*self.inner;
        layout_swap::swap_layout(&**store, *timing, &keys.layout(), expected, &json).await
    }
}

/// A primitive with a deadline: none of them has one of its own.
async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unreachable(format!("nothing within {} ms", patience.as_millis()))),
    }
}
