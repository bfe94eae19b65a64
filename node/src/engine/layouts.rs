//! How a node comes to its layout: from the registry, or from another node.
//!
//! The registry has the truth, but nodes hear of it at different times, and it may be away just then. A replica therefore
//! promises nothing under a config that it does not know: it has the asker tell its layout first, and keeps it on its disk.
//! What a majority has promised, a majority knows: the cluster can go on when the registry is gone and those that heard of
//! the config first are lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::error::Invalid;
use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::Layout;
use holdfast_core::sometimes;
use holdfast_core::term::Term;
use holdfast_proto::v1;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use tokio::time::Instant;

use super::{ClusterView, Inner};
use crate::env::{Blocking, settle, tasks};
use crate::registry::{NodeEntry, RegistryView, check_successor, decode_layout, encode_layout};

/// Layouts are exchanged with one peer this often at most: they are long.
const EXCHANGE_EVERY: Duration = Duration::from_millis(100);

impl Inner {
    /// Puts a view in force. Under the lock `changing`, or before anybody else can.
    pub(super) fn set_view(self: &Arc<Self>, view: ClusterView) {
        self.tell_configured(&view.layout);
        let view = Arc::new(view);
        let addresses: BTreeMap<_, _> =
            view.nodes.iter().map(|(id, entry)| (*id, entry.peer_address.clone())).collect();
        self.links.set(&addresses);
        self.registry.on_layout_known();
        let before = self.view.write().replace(view.clone());
        if before.is_some_and(|before| before.is_layout_of(&view)) {
            return;
        }
        for partition in Partition::all() {
            self.set_quorum(partition, view.quorum(partition));
        }
        self.leaderships.notify_one();
        self.note_readiness();
    }

    /// Takes in what the registry says. `false`: it could not be kept on the disk, and is to be tried again.
    pub(super) async fn on_registry(self: &Arc<Self>, seen: &RegistryView) -> bool {
        let _changing = self.changing.lock().await;
        let before = self.view();
        let layout = match (seen.layout.as_ref().map(|(layout, _)| layout), &before) {
            (Some(layout), Some(before)) if before.layout != *layout => {
                // The registry's view checks this too, but knows only what it saw since the start.
                match check_successor(&before.layout, layout) {
                    Ok(()) => layout.clone(),
                    // A peer was quicker, or the registry was restored.
                    Err(_) if is_outdated(layout, &before.layout) => {
                        sometimes!("a node does not take an older layout than it knows");
                        before.layout.clone()
                    }
                    Err(error) => {
                        tracing::error!(%error, "the registry's layout cannot follow the stored one");
                        before.layout.clone()
                    }
                }
            }
            (Some(layout), _) => layout.clone(),
            // A registry without a layout next to a node that knows one was emptied: what it says of nodes is taken.
            (None, Some(before)) => before.layout.clone(),
            (None, None) => return true,
        };
        // Nodes that are not registered now keep their last known address: they may be back any moment.
        let mut nodes: BTreeMap<NodeId, NodeEntry> =
            before.as_ref().map(|before| before.nodes.clone()).unwrap_or_default();
        nodes.retain(|id, _| layout.nodes.contains_key(id));
        nodes.extend(seen.nodes.iter().map(|(id, entry)| (*id, entry.clone())));
        let known = before.as_ref().is_some_and(|before| before.layout == layout && before.nodes == nodes);
        let mut view = match before {
            Some(before) if before.layout == layout => before.with_nodes(nodes),
            _ => ClusterView::new(layout, nodes),
        };
        view.registered = seen.nodes.keys().copied().collect();
        view.registry_connected = seen.connected;
        if known {
            self.set_view(view);
            return true;
        }
        self.put_in_force(view).await
    }

    /// Whether the partition's config of that term is known here. Else nothing may be promised in it.
    pub(super) fn knows(&self, partition: Partition, term: Term) -> bool {
        self.view.read().as_ref().is_some_and(|view| view.quorum(partition).config() >= term.config)
    }

    /// Some replica has promised or accepted in a term: if that is of a later config, somebody knows a later layout.
    pub(super) fn note_term(self: &Arc<Self>, partition: Partition, term: Term) {
        if self.knows(partition, term) {
            return;
        }
        sometimes!("a node hears that its layout is old");
        let Some(view) = self.view() else { return };
        for voter in view.quorum(partition).voters().iter().filter(|voter| **voter != self.me) {
            self.exchange_layouts(*voter);
        }
    }

    /// Tells a peer the layout, and is told its. Whoever has the older one takes the other.
    pub(super) fn exchange_layouts(self: &Arc<Self>, peer: NodeId) {
        let Some(link) = self.links.get(peer) else { return };
        {
            let mut exchanged = self.exchanged.lock();
            if exchanged.get(&peer).is_some_and(|last| last.elapsed() < EXCHANGE_EVERY) {
                return;
            }
            exchanged.insert(peer, Instant::now());
        }
        let Some(known) = self.known_layout() else { return };
        let inner = self.clone();
        link.send(Ask::Layout(known), move |reply| {
            let Ok(Reply::Layout(theirs)) = reply else { return };
            tasks::spawn(async move { inner.take_layout(theirs).await });
        });
    }

    /// What this node tells of the layout; `None` while it knows none.
    pub(super) fn known_layout(&self) -> Option<v1::KnownLayout> {
        let view = self.view()?;
        let nodes = view.nodes.iter().filter_map(|(id, entry)| Some((id.to_string(), entry.encode().ok()?)));
        Some(v1::KnownLayout { layout: encode_layout(&view.layout).ok()?, nodes: nodes.collect() })
    }

    /// Puts a peer's layout in force, if it follows the one that is known here.
    pub(super) async fn take_layout(self: &Arc<Self>, theirs: v1::KnownLayout) {
        if let Err(error) = self.try_take_layout(theirs).await {
            tracing::error!(%error, "a peer's layout cannot be taken");
        }
    }

    async fn try_take_layout(self: &Arc<Self>, theirs: v1::KnownLayout) -> Result<(), Invalid> {
        if theirs.layout.is_empty() {
            return Ok(());
        }
        // Where one is being taken, slowly perhaps, no others wait in memory: whoever needs it taken tells it again.
        let Ok(_changing) = self.changing.try_lock() else { return Ok(()) };
        let layout = decode_layout(&theirs.layout)?;
        let before = self.view();
        if let Some(before) = &before {
            if layout.version < before.layout.version || layout == *before.layout {
                return Ok(());
            }
            check_successor(&before.layout, &layout)?;
        }
        sometimes!("a node takes its layout from a peer");
        tracing::info!(version = layout.version, "a peer has told a newer layout");
        let mut nodes = BTreeMap::new();
        for (id, entry) in &theirs.nodes {
            nodes.insert(id.parse::<NodeId>()?, NodeEntry::decode(entry)?);
        }
        let registered = before.as_ref().map(|before| before.registered.clone()).unwrap_or_default();
        for (id, entry) in before.iter().flat_map(|before| &before.nodes) {
            // An address that was only kept may be older than theirs.
            if registered.contains(id) || !nodes.contains_key(id) {
                nodes.insert(*id, entry.clone());
            }
        }
        nodes.retain(|id, _| layout.nodes.contains_key(id) || registered.contains(id));
        let mut view = ClusterView::new(Arc::new(layout), nodes);
        view.registered = registered;
        view.registry_connected = before.is_some_and(|before| before.registry_connected);
        self.put_in_force(view).await;
        Ok(())
    }

    /// Keeps the view in the data folder and puts it in force, in this order: promises rest on it. `false`: it could not
    /// be kept, and the one before stays in force.
    async fn put_in_force(self: &Arc<Self>, view: ClusterView) -> bool {
        let stored = match self.env.blocking {
            Blocking::InPlace => {
                let stored = self.kept.keep(&*self.env.disk, &view);
                settle(&*self.env.disk).await;
                stored
            }
            Blocking::Threads => {
                let (inner, view) = (self.clone(), view.clone());
                tokio::task::spawn_blocking(move || inner.kept.keep(&*inner.env.disk, &view))
                    .await
                    .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            }
        };
        match stored {
            Ok(()) => self.set_view(view),
            Err(error) => {
                sometimes!("a layout cannot be kept on the disk");
                tracing::error!(%error, "the layout could not be kept in the data folder: the one before stays in force until the disk takes it, check its room and health");
                return false;
            }
        }
        true
    }
}

/// Whether the registry holds a layout that the known one came from. Layouts only ever get there by compare-and-swap on
/// their predecessor, and nodes only take successors: the known one was in the registry, later than this.
pub(super) fn is_outdated(held: &Layout, known: &Layout) -> bool {
    held.version < known.version && check_successor(held, known).is_ok()
}
