//! What a node does by itself: follows the registry, makes the first layout, takes its share of the leaderships, sends
//! again what was not answered. Each duty sleeps until something happens that it is there for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, Member, PlanError, first_layout};
use holdfast_core::sometimes;
use tokio::time::{sleep, timeout};

use super::layouts::is_outdated;
use super::{ClusterView, Inner};
use crate::env::tasks;
use crate::peer::link::IDLE_PROBE_EVERY;
use crate::registry::{HeldLayout, LayoutWrite, NodeEntry, RegistryView};

/// Before the node has led: what else happens at the same time, other peers that answer, is waited for so long.
const GATHER: Duration = Duration::from_millis(50);
/// Leaderships are taken this often at most. Also bounds how often two candidates can disturb each other.
const BALANCE_EVERY: Duration = Duration::from_millis(500);
/// How often the registry is given a layout that it should hold and does not.
const BOOTSTRAP_EVERY: Duration = Duration::from_millis(200);
/// How often it is tried to keep a layout that the disk does not take.
const KEEP_EVERY: Duration = Duration::from_millis(500);

impl Inner {
    /// Starts the duties; they end with the engine.
    pub(super) fn start_duties(self: &Arc<Self>) {
        let tasks = [
            tasks::spawn(tick(Arc::downgrade(self))),
            tasks::spawn(balance(Arc::downgrade(self))),
            tasks::spawn(follow(Arc::downgrade(self))),
            tasks::spawn(bootstrap(Arc::downgrade(self))),
            tasks::spawn(watch_store(Arc::downgrade(self))),
        ];
        self.tasks.lock().extend(tasks);
    }

    /// Partitions that this node should lead (it is their first replica) and does not, where it could; and whether it
    /// could lead more of them soon, which another node has just begun to lead.
    fn leaderships_due(&self) -> (Vec<Partition>, bool) {
        let Some(view) = self.view() else { return (Vec::new(), false) };
        let mut more_soon = false;
        let mut due = Vec::new();
        for partition in Partition::all() {
            let quorum = view.quorum(partition);
            if quorum.voters().first() != Some(&self.me)
                || !quorum.is_majority(|node| self.links.is_healthy(node))
            {
                continue;
            }
            let known = self.leadership(partition);
            if known.begun_elsewhere {
                sometimes!("a node's usual leadership has just been taken by another one");
                more_soon = true;
            } else if !known.active {
                due.push(partition);
            }
        }
        (due, more_soon)
    }
}

async fn tick(inner: Weak<Inner>) {
    let Some(unanswered) = inner.upgrade().map(|inner| inner.unanswered.clone()) else { return };
    loop {
        // Without anything unanswered, for the sign of life that idle peers are asked for.
        let _ = timeout(IDLE_PROBE_EVERY, unanswered.tick()).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.tick_leaders();
        inner.links.look();
    }
}

async fn balance(inner: Weak<Inner>) {
    let Some(leaderships) = inner.upgrade().map(|inner| inner.leaderships.clone()) else { return };
    // Quick until the node has started to lead, so that the first writes find a leader.
    let mut pause = GATHER;
    loop {
        leaderships.notified().await;
        sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.leaving.load(Ordering::Relaxed) || inner.store.failed().is_some() {
            return;
        }
        let (due, more_soon) = inner.leaderships_due();
        if more_soon {
            inner.leaderships.notify_one();
        }
        if !due.is_empty() {
            tracing::debug!(partitions = due.len(), "taking leaderships");
            inner.campaign(due);
            pause = BALANCE_EVERY;
        }
    }
}

/// A node whose store has failed is not ready.
async fn watch_store(inner: Weak<Inner>) {
    let Some(store) = inner.upgrade().map(|inner| inner.store.clone()) else { return };
    store.until_failed().await;
    if let Some(inner) = inner.upgrade() {
        inner.note_readiness();
    }
}

async fn follow(inner: Weak<Inner>) {
    let Some(mut views) = inner.upgrade().map(|inner| inner.registry.view()) else { return };
    loop {
        let seen = views.borrow_and_update().clone();
        {
            let Some(inner) = inner.upgrade() else { return };
            if !inner.on_registry(&seen).await {
                drop(inner);
                sleep(KEEP_EVERY).await;
                continue;
            }
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the first layout once enough nodes are registered; gives a registry that was emptied, or restored from an older
/// copy, the layout that this node knows.
async fn bootstrap(inner: Weak<Inner>) {
    let Some(mut views) = inner.upgrade().map(|inner| inner.registry.view()) else { return };
    loop {
        let seen = views.borrow_and_update().clone();
        let tried = {
            let Some(inner) = inner.upgrade() else { return };
            inner.bootstrap(&seen).await
        };
        if tried {
            // Once it is there, the view says so.
            sleep(BOOTSTRAP_EVERY).await;
        } else if views.changed().await.is_err() {
            return;
        }
    }
}

/// Why a layout is written to the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    First,
    Emptied,
    /// It was restored from an older copy.
    SetBack,
}

impl Inner {
    /// Writes a layout to a registry that lacks it. `false`: there was nothing to write, until the view changes.
    async fn bootstrap(&self, seen: &RegistryView) -> bool {
        if !seen.connected {
            return false;
        }
        // Nothing is said before it is written: the registry may have it by now, and a peer was quicker than the view.
        let (why, written) = match (&seen.held, self.view()) {
            (HeldLayout::Nothing, Some(known)) => {
                (Why::Emptied, self.registry.create_layout(&known.layout).await)
            }
            (HeldLayout::Nothing, None) if seen.nodes.len() >= self.bootstrap_nodes => {
                match plan_first(seen, self.replication) {
                    Ok(layout) => (Why::First, self.registry.create_layout(&layout).await),
                    Err(error) => {
                        tracing::warn!(%error, "no first layout yet");
                        return false;
                    }
                }
            }
            (HeldLayout::Layout(held, revision), Some(known)) if is_outdated(held, &known.layout) => {
                (Why::SetBack, self.registry.replace_layout(*revision, &known.layout).await)
            }
            _ => return false,
        };
        match written {
            Ok(LayoutWrite::Done(_)) => {
                sometimes!(why == Why::Emptied, "a node gives an emptied registry its layout back");
                sometimes!(why == Why::SetBack, "a node gives a restored registry the newer layout back");
                match why {
                    Why::First => tracing::info!("the first layout is written to the registry"),
                    Why::Emptied => tracing::warn!("the registry was emptied: it has the layout back"),
                    Why::SetBack => {
                        tracing::warn!(
                            "the registry was restored from an older copy: it has the layout back"
                        );
                    }
                }
            }
            // Another node was quicker: its layout arrives through the view.
            Ok(LayoutWrite::Conflict(_)) => {
                sometimes!(why == Why::First, "two nodes make the first layout at the same time");
            }
            Err(error) => {
                tracing::warn!(%error, "the layout could not be written to the registry; trying again");
            }
        }
        true
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
