//! What this node knows of the registry, and how listings and changes become that.
//!
//! The model is pure: it is told what happened and when. The task that asks the registry is in `follow.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::ids::NodeId;
use holdfast_core::placement::Layout;
use tokio::time::Instant;
use tracing::{error, warn};

use super::keys::{Fact, Keys};
use super::layout_json::{NODES_MAX, decode_layout};
use super::node_json::NodeEntry;
use super::store::{Change, Entry, Listing, Revision};

/// The cluster's facts as last seen. Liveness and placement, never a proof: fencing is by config version and term.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegistryView {
    /// The registered nodes. Nobody disappears because the registry is down, nor (for one lease time) because
    /// it comes back without the leases that ran out meanwhile.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// The last good layout and the revision that compare-and-swap on it must name.
    /// `None`: the registry has none, or none was seen yet: `connected` tells them apart.
    pub layout: Option<(Arc<Layout>, Revision)>,
    /// Whether the registry answers.
    pub connected: bool,
}

/// The registry said something that does not follow from what it said before: list again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Doubt;

/// Turns listings and changes into views.
pub(super) struct Model {
    keys: Keys,
    /// How long nodes that were known before an outage stay after it.
    grace: Duration,
    connected: bool,
    /// Everything up to it is in `nodes` and `layout`.
    revision: Revision,
    nodes: BTreeMap<NodeId, NodeEntry>,
    layout: Option<(Arc<Layout>, Revision)>,
    /// The revision of a layout that was complained of, so that it is complained of once.
    layout_refused: Option<Revision>,
    /// Who was there when the registry was lost.
    held: BTreeMap<NodeId, NodeEntry>,
    /// When they go unless they register again. `None` while the registry is down: never.
    held_until: Option<Instant>,
}

impl Model {
    pub(super) fn new(keys: Keys, grace: Duration) -> Self {
        Self {
            keys,
            grace,
            connected: false,
            revision: Revision(0),
            nodes: BTreeMap::new(),
            layout: None,
            layout_refused: None,
            held: BTreeMap::new(),
            held_until: None,
        }
    }

    /// When the view changes without anything happening.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.held_until
    }

    /// The registry was listed: this is all there is.
    pub(super) fn on_listing(&mut self, listing: &Listing, now: Instant) {
        if !self.connected {
            self.connected = true;
            self.held_until = Some(now + self.grace);
        }
        self.revision = listing.revision;
        self.nodes.clear();
        let mut layout_found = false;
        for entry in &listing.entries {
            layout_found |= self.keys.parse(&entry.key) == Some(Fact::Layout);
            self.on_entry(entry);
        }
        if !layout_found {
            self.on_layout_gone(listing.revision);
        }
    }

    /// The watch reported a change.
    pub(super) fn on_change(&mut self, change: &Change) -> Result<(), Doubt> {
        // Several changes of one transaction have one revision.
        if change.revision() < self.revision {
            return Err(Doubt);
        }
        self.revision = change.revision();
        match change {
            Change::Put(entry) => self.on_entry(entry),
            Change::Delete { key, revision } => match self.keys.parse(key) {
                Some(Fact::Node(id)) => {
                    self.nodes.remove(&id);
                }
                Some(Fact::Layout) => self.on_layout_gone(*revision),
                None => {}
            },
        }
        Ok(())
    }

    /// The registry does not answer any more.
    pub(super) fn on_disconnect(&mut self, now: Instant) {
        if self.connected {
            self.held = self.nodes_at(now);
            self.held_until = None;
            self.connected = false;
        }
    }

    /// The view at a time.
    pub(super) fn view(&mut self, now: Instant) -> RegistryView {
        let nodes = self.nodes_at(now);
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            self.held.clear();
        }
        RegistryView { nodes, layout: self.layout.clone(), connected: self.connected }
    }

    fn nodes_at(&self, now: Instant) -> BTreeMap<NodeId, NodeEntry> {
        let hold = !self.connected || self.held_until.is_some_and(|until| now < until);
        let mut nodes = if hold { self.held.clone() } else { BTreeMap::new() };
        nodes.extend(self.nodes.iter().map(|(id, entry)| (*id, entry.clone())));
        nodes
    }

    fn on_entry(&mut self, entry: &Entry) {
        match self.keys.parse(&entry.key) {
            Some(Fact::Node(id)) => self.on_node(id, entry),
            Some(Fact::Layout) => self.on_layout(entry),
            None => {}
        }
    }

    fn on_node(&mut self, id: NodeId, entry: &Entry) {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&id) {
            warn!(node = %id, most = NODES_MAX, "a registration is left out: there are too many");
            return;
        }
        match NodeEntry::decode(&entry.value) {
            Ok(node) => {
                self.nodes.insert(id, node);
            }
            Err(invalid) => {
                warn!(node = %id, error = %invalid, "a registration is left out");
                self.nodes.remove(&id);
            }
        }
    }

    fn on_layout(&mut self, entry: &Entry) {
        if self.layout.as_ref().is_some_and(|(_, revision)| *revision == entry.revision) {
            return;
        }
        let refused = match decode_layout(&entry.value) {
            Ok(layout) => match &self.layout {
                Some((last, _)) if layout.version < last.version => format!(
                    "it went back from version {} to {}: was the registry restored from an old copy?",
                    last.version, layout.version
                ),
                _ => {
                    self.layout = Some((Arc::new(layout), entry.revision));
                    self.layout_refused = None;
                    return;
                }
            },
            Err(invalid) => invalid.to_string(),
        };
        self.refuse_layout(entry.revision, &refused);
    }

    fn on_layout_gone(&mut self, revision: Revision) {
        if self.layout.is_some() && self.layout_refused.is_none() {
            self.refuse_layout(revision, "it was deleted: write it back from a copy");
        }
    }

    fn refuse_layout(&mut self, revision: Revision, why: &str) {
        if self.layout_refused != Some(revision) {
            self.layout_refused = Some(revision);
            let in_force = self.layout.as_ref().map(|(layout, _)| layout.version);
            error!(key = self.keys.layout(), why, in_force, "the layout in the registry is not taken");
        }
    }
}
