//! The cluster as this node knows it: layout, voters, addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::Layout;
use holdfast_core::register::Quorum;

use crate::registry::NodeEntry;

/// One consistent picture. Replaced as a whole.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// Who holds what.
    pub layout: Arc<Layout>,
    /// Every node whose registration is known, also when it is not registered now.
    pub nodes: BTreeMap<NodeId, NodeEntry>,
    /// Those registered now, as far as the registry could be asked.
    pub registered: BTreeSet<NodeId>,
    /// Whether the registry answers.
    pub registry_connected: bool,
    /// By partition. Shared by the views of one layout.
    quorums: Arc<[Arc<Quorum>]>,
}

impl ClusterView {
    /// A view of a layout.
    pub fn new(layout: Arc<Layout>, nodes: BTreeMap<NodeId, NodeEntry>) -> Self {
        let quorums = layout.partitions.iter().map(|partition| Arc::new(Quorum::new(partition))).collect();
        Self { layout, nodes, registered: BTreeSet::new(), registry_connected: false, quorums }
    }

    /// The same layout with other nodes.
    pub(super) fn with_nodes(&self, nodes: BTreeMap<NodeId, NodeEntry>) -> Self {
        let (layout, quorums) = (self.layout.clone(), self.quorums.clone());
        Self { layout, nodes, registered: BTreeSet::new(), registry_connected: false, quorums }
    }

    /// Whether `other` has this view's layout, and was made from it.
    pub(super) fn is_layout_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.quorums, &other.quorums)
    }

    /// A partition's voters.
    pub fn quorum(&self, partition: Partition) -> &Arc<Quorum> {
        &self.quorums[partition.index()]
    }
}
