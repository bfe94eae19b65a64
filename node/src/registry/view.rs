//! What this node knows of the registry, and how listings and changes become that.
//!
//! The model is pure: it is told what happened and when. The task that asks the registry is in `follow.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::ids::NodeId;
use holdfast_core::placement::Layout;
use holdfast_core::sometimes;
use tokio::time::Instant;
use tracing::{error, warn};

use super::keys::{Fact, Keys};
use super::layout_json::{NODES_MAX, check_successor, decode_layout};
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
    /// What the registry itself held when it was last heard of, whether it was taken or not: one that was emptied, or
    /// restored from an older copy, holds less than what is in force.
    pub held: HeldLayout,
    /// Whether the registry answers.
    pub connected: bool,
}

/// What the registry holds for a layout.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HeldLayout {
    /// Nothing.
    #[default]
    Nothing,
    /// A layout, which may be older than the one in force. Compare-and-swap on it names this revision.
    Layout(Arc<Layout>, Revision),
    /// Something that is no layout.
    Unreadable,
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
    held_layout: HeldLayout,
    /// `layout` as it was read: the next listing most likely has the same, which need not be decoded again.
    layout_json: String,
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
            held_layout: HeldLayout::Nothing,
            layout_json: String::new(),
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
                    sometimes!("a node's registration goes from the registry");
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
            sometimes!(
                self.held_until.is_some(),
                "the registry is lost again before nodes had time to come back to it"
            );
            self.held = self.nodes_at(now);
            self.held_until = None;
            self.connected = false;
        }
    }

    /// The view at a time.
    pub(super) fn view(&mut self, now: Instant) -> RegistryView {
        let nodes = self.nodes_at(now);
        if self.held_until.is_some_and(|until| until <= now) {
            let gone = self.held.keys().any(|id| !self.nodes.contains_key(id));
            sometimes!(gone, "a node did not come back to the registry after an outage");
            self.held_until = None;
            self.held.clear();
        }
        RegistryView {
            nodes,
            layout: self.layout.clone(),
            held: self.held_layout.clone(),
            connected: self.connected,
        }
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
        if let Some((known, revision)) = &mut self.layout
            && self.layout_json == entry.value
        {
            *revision = entry.revision;
            self.held_layout = HeldLayout::Layout(known.clone(), entry.revision);
            self.layout_refused = None;
            return;
        }
        let decoded = decode_layout(&entry.value).map(Arc::new);
        self.held_layout = match &decoded {
            Ok(layout) => HeldLayout::Layout(layout.clone(), entry.revision),
            Err(_) => HeldLayout::Unreadable,
        };
        let checked = decoded.and_then(|layout| match &self.layout {
            Some((last, _)) => check_successor(last, &layout).map(|()| layout),
            None => Ok(layout),
        });
        match checked {
            Ok(layout) => {
                self.layout = Some((layout, entry.revision));
                self.layout_json.clone_from(&entry.value);
                self.layout_refused = None;
            }
            Err(invalid) => self.refuse_layout(entry.revision, &invalid.to_string()),
        }
    }

    fn on_layout_gone(&mut self, revision: Revision) {
        self.held_layout = HeldLayout::Nothing;
        if self.layout.is_some() && self.layout_refused.is_none() {
            self.refuse_layout(revision, "it was deleted");
        }
    }

    fn refuse_layout(&mut self, revision: Revision, why: &str) {
        if self.layout_refused != Some(revision) {
            sometimes!("the registry's layout is gone, or none that can follow the one before");
            self.layout_refused = Some(revision);
            let in_force = self.layout.as_ref().map(|(layout, _)| layout.version);
            error!(key = self.keys.layout(), why, in_force, "the layout in the registry is not taken");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0xa);
    const B: NodeId = NodeId(0xb);
    const GRACE: Duration = Duration::from_secs(10);

    fn node(id: NodeId, revision: u64) -> Entry {
        let entry = NodeEntry {
            client_url: "http://a:1".into(),
            peer_address: "a:2".into(),
            zone: String::new(),
            capacity: 1,
            software_version: "0".into(),
            started_unix_ms: 0,
        };
        let key = Keys::new("main").unwrap().node(id);
        Entry { key, value: entry.encode().unwrap(), revision: Revision(revision), lease: None }
    }

    fn gone(id: NodeId, revision: u64) -> Change {
        Change::Delete { key: Keys::new("main").unwrap().node(id), revision: Revision(revision) }
    }

    fn listing(revision: u64, entries: Vec<Entry>) -> Listing {
        Listing { revision: Revision(revision), entries }
    }

    fn nodes(model: &mut Model, at: Instant) -> Vec<NodeId> {
        model.view(at).nodes.into_keys().collect()
    }

    #[test]
    fn after_an_outage_nodes_stay_for_one_grace_and_no_longer() {
        let mut model = Model::new(Keys::new("main").unwrap(), GRACE);
        let start = Instant::now();
        model.on_listing(&listing(5, vec![node(A, 1), node(B, 2)]), start);
        let lost = start + GRACE * 2;
        model.on_disconnect(lost);
        assert!(!model.view(lost).connected);
        assert_eq!(nodes(&mut model, lost + GRACE * 100), [A, B]);
        // A's lease ran out meanwhile, B's runs out right after.
        let back = lost + GRACE * 100;
        model.on_listing(&listing(9, vec![node(B, 2)]), back);
        assert!(model.view(back).connected);
        model.on_change(&gone(B, 10)).unwrap();
        assert_eq!(nodes(&mut model, back), [A, B]);
        // A second outage within the grace: nobody goes before its own grace is over.
        model.on_disconnect(back + GRACE / 2);
        assert_eq!(nodes(&mut model, back + GRACE / 2), [A, B]);
        model.on_listing(&listing(10, vec![]), back + GRACE / 2);
        model.on_change(&Change::Put(node(A, 11))).unwrap();
        assert_eq!(nodes(&mut model, back + GRACE), [A, B]);
        assert_eq!(model.wake_at(), Some(back + GRACE / 2 + GRACE));
        assert_eq!(nodes(&mut model, back + GRACE / 2 + GRACE), [A]);
        assert_eq!(model.wake_at(), None);
        // Without an outage a node goes at once.
        model.on_change(&gone(A, 12)).unwrap();
        assert_eq!(nodes(&mut model, back + GRACE * 3), []);
    }

    #[test]
    fn what_the_registry_holds_is_told_apart_from_what_is_in_force() {
        let keys = Keys::new("main").unwrap();
        let (first, second) = (layout(1), layout(2));
        let entry = |value: String, revision| Entry {
            key: keys.layout(),
            value,
            revision: Revision(revision),
            lease: None,
        };
        let json = |layout: &Layout| super::super::encode_layout(layout).unwrap();
        let mut model = Model::new(keys.clone(), GRACE);
        let now = Instant::now();
        model.on_listing(&listing(9, vec![entry(json(&second), 8)]), now);
        let in_force = Some((Arc::new(second.clone()), Revision(8)));
        let held = |model: &mut Model| {
            let view = model.view(now);
            assert_eq!(view.layout, in_force);
            view.held
        };
        assert_eq!(held(&mut model), HeldLayout::Layout(Arc::new(second), Revision(8)));
        model.on_listing(&listing(5, vec![entry(json(&first), 4)]), now);
        assert_eq!(held(&mut model), HeldLayout::Layout(Arc::new(first), Revision(4)));
        model.on_change(&Change::Put(entry("?".into(), 6))).unwrap();
        assert_eq!(held(&mut model), HeldLayout::Unreadable);
        model.on_change(&Change::Delete { key: keys.layout(), revision: Revision(7) }).unwrap();
        assert_eq!(held(&mut model), HeldLayout::Nothing);
    }

    fn layout(version: u64) -> Layout {
        let members = [A, B].map(|id| {
            let zone = id.to_string();
            (id, holdfast_core::placement::Member { zone, capacity: 1 })
        });
        let first = holdfast_core::placement::first_layout(&members.into(), 2).unwrap();
        Layout { version, ..first }
    }

    #[test]
    fn what_goes_back_in_time_is_doubted() {
        let mut model = Model::new(Keys::new("main").unwrap(), GRACE);
        model.on_listing(&listing(5, vec![]), Instant::now());
        assert_eq!(model.on_change(&Change::Put(node(A, 4))), Err(Doubt));
        // One transaction may change several keys.
        assert_eq!(model.on_change(&Change::Put(node(A, 6))), Ok(()));
        assert_eq!(model.on_change(&Change::Put(node(B, 6))), Ok(()));
        assert_eq!(model.on_change(&gone(B, 5)), Err(Doubt));
    }

    #[test]
    fn registrations_are_bounded_and_bad_ones_left_out() {
        let mut model = Model::new(Keys::new("main").unwrap(), GRACE);
        let many = (0..NODES_MAX as u128 + 5).map(|id| node(NodeId(id), 1)).collect();
        model.on_listing(&listing(1, many), Instant::now());
        model.on_change(&Change::Put(Entry { value: "?".into(), ..node(NodeId(3), 2) })).unwrap();
        let view = model.view(Instant::now());
        assert_eq!(view.nodes.len(), NODES_MAX - 1);
    }
}
