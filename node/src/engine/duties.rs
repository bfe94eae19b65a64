//! What a node does by itself: follows the registry, makes the first layout, takes its share of the leaderships, sends
//! again what was not answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, Member, PlanError, first_layout};
use tokio::time::sleep;

use super::view::store_view;
use super::{ClusterView, Inner};
use crate::env::{Blocking, settle};
use crate::registry::{LayoutWrite, NodeEntry, RegistryView, check_successor};

/// How often unanswered messages are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often the node looks for leaderships that are its to take. Also bounds how often two candidates can disturb
/// each other.
const BALANCE_EVERY: Duration = Duration::from_millis(500);
/// How often the first layout is tried while there is none.
const BOOTSTRAP_EVERY: Duration = Duration::from_millis(200);

impl Inner {
    /// Starts the duties; they end with the engine.
    pub(super) fn start_duties(self: &Arc<Self>) {
        let tasks = [
            tokio::spawn(tick(Arc::downgrade(self))),
            tokio::spawn(balance(Arc::downgrade(self))),
            tokio::spawn(follow(Arc::downgrade(self))),
            tokio::spawn(bootstrap(Arc::downgrade(self))),
        ];
        self.tasks.lock().extend(tasks);
    }

    /// Puts a view in force.
    pub(super) fn set_view(self: &Arc<Self>, view: ClusterView) {
        let view = Arc::new(view);
        let addresses: BTreeMap<_, _> =
            view.nodes.iter().map(|(id, entry)| (*id, entry.peer_address.clone())).collect();
        self.links.set(&addresses);
        *self.view.write() = Some(view.clone());
        for partition in Partition::all() {
            self.set_quorum(partition, view.quorum(partition));
        }
    }

    /// Takes in what the registry says.
    async fn on_registry(self: &Arc<Self>, seen: &RegistryView) {
        let Some(layout) = seen.layout.as_ref().map(|(layout, _)| layout.clone()) else {
            // A registry without a layout next to a node that knows one was emptied: nothing here changes for it.
            return;
        };
        let before = self.view();
        // The registry's view checks this too, but knows only what it saw since the start.
        if let Some(before) = &before
            && before.layout != layout
            && let Err(error) = check_successor(&before.layout, &layout)
        {
            tracing::error!(%error, "the registry's layout cannot follow the stored one: was it restored from a backup?");
            return;
        }
        // Nodes that are not registered now keep their last known address: they may be back any moment.
        let mut nodes: BTreeMap<NodeId, NodeEntry> =
            before.as_ref().map(|before| before.nodes.clone()).unwrap_or_default();
        nodes.retain(|id, _| layout.nodes.contains_key(id));
        nodes.extend(seen.nodes.iter().map(|(id, entry)| (*id, entry.clone())));
        let known = before.is_some_and(|before| before.layout == layout && before.nodes == nodes);
        let mut view = ClusterView::new(layout, nodes);
        view.registered = seen.nodes.keys().copied().collect();
        view.registry_connected = seen.connected;
        if !known {
            self.keep_view(&view).await;
        }
        self.set_view(view);
    }

    /// Keeps the view in the data folder. A failure is only logged: the registry has it, and the store's own writes
    /// will tell if the disk is gone.
    async fn keep_view(self: &Arc<Self>, view: &ClusterView) {
        let stored = match self.env.blocking {
            Blocking::InPlace => {
                let stored = store_view(&*self.env.disk, view);
                settle(&*self.env.disk).await;
                stored
            }
            Blocking::Threads => {
                let (disk, view) = (self.env.disk.clone(), view.clone());
                tokio::task::spawn_blocking(move || store_view(&*disk, &view))
                    .await
                    .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
            }
        };
        if let Err(error) = stored {
            tracing::error!(%error, "the layout could not be kept in the data folder");
        }
    }

    /// Partitions that this node should lead (it is their first replica) and does not, where it could.
    fn leaderships_due(&self) -> Vec<Partition> {
        let Some(view) = self.view() else { return Vec::new() };
        let due = |partition: &Partition| {
            let quorum = view.quorum(*partition);
            quorum.voters().first() == Some(&self.me)
                && !self.leadership(*partition).active
                && quorum.is_majority(|node| self.links.is_healthy(node))
        };
        Partition::all().filter(due).collect()
    }
}

async fn tick(inner: Weak<Inner>) {
    loop {
        sleep(TICK).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.tick_leaders();
    }
}

async fn balance(inner: Weak<Inner>) {
    let mut pause = TICK;
    loop {
        sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.leaving.load(Ordering::Relaxed) || inner.store.failed().is_some() {
            pause = BALANCE_EVERY;
            continue;
        }
        let due = inner.leaderships_due();
        // Quick looks until the node has started to lead, so that the first writes find a leader.
        if !due.is_empty() {
            tracing::debug!(partitions = due.len(), "taking leaderships");
            inner.campaign(due);
            pause = BALANCE_EVERY;
        } else if inner.view().is_some() {
            pause = (pause * 2).min(BALANCE_EVERY);
        }
    }
}

async fn follow(inner: Weak<Inner>) {
    let Some(mut views) = inner.upgrade().map(|inner| inner.registry.view()) else { return };
    loop {
        let seen = views.borrow_and_update().clone();
        {
            let Some(inner) = inner.upgrade() else { return };
            inner.on_registry(&seen).await;
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the first layout once enough nodes are registered; gives an emptied registry back what this node stored.
async fn bootstrap(inner: Weak<Inner>) {
    loop {
        sleep(BOOTSTRAP_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        let seen = inner.registry.view().borrow().clone();
        if !seen.connected || seen.layout.is_some() {
            continue;
        }
        let layout = match inner.view() {
            Some(view) => Layout::clone(&view.layout),
            None if seen.nodes.len() < inner.bootstrap_nodes => continue,
            None => match plan_first(&seen, inner.replication) {
                Ok(layout) => layout,
                Err(error) => {
                    tracing::warn!(%error, "no first layout yet");
                    continue;
                }
            },
        };
        match inner.registry.create_layout(&layout).await {
            Ok(LayoutWrite::Done(_)) => {
                tracing::info!(
                    version = layout.version,
                    nodes = layout.nodes.len(),
                    "layout written to the registry"
                );
            }
            // Another node was quicker: its layout arrives through the view.
            Ok(LayoutWrite::Conflict(_)) => {}
            Err(error) => {
                tracing::warn!(%error, "the layout could not be written to the registry; trying again");
            }
        }
    }
}

fn plan_first(seen: &RegistryView, replication: u8) -> Result<Layout, PlanError> {
    let member = |entry: &NodeEntry| Member { zone: entry.zone.clone(), capacity: entry.capacity };
    let members = seen.nodes.iter().map(|(id, entry)| (*id, member(entry))).collect();
    first_layout(&members, replication)
}

/// Nodes that a view should show: members and registered ones.
pub(super) fn known_nodes(view: &ClusterView) -> BTreeSet<NodeId> {
    view.layout.nodes.keys().chain(view.nodes.keys()).copied().collect()
}
