//! The layout: the registry's record of which nodes hold which partition.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::{NodeId, Partition};
use crate::term::ConfigVersion;

/// What the planner knows of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Replicas of one partition go to distinct zones where there are enough.
    pub zone: String,
    /// Bytes it offers; load is spread in proportion. At least 1.
    pub capacity: u64,
}

/// One partition's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionLayout {
    /// Rises with every change of `replicas`.
    pub config: ConfigVersion,
    /// The nodes that hold it, the preferred leader first. Not empty, no node twice.
    pub replicas: Vec<NodeId>,
    /// While it moves: the nodes that will hold it. Majorities of both are needed.
    pub next: Option<Vec<NodeId>>,
}

/// The whole cluster's placement. Changed only by compare-and-swap in the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Rises with every change, from 1.
    pub version: u64,
    /// Replicas each partition should have.
    pub replication: u8,
    /// The members.
    pub nodes: BTreeMap<NodeId, Member>,
    /// Exactly [`Partition::COUNT`], in order.
    pub partitions: Vec<PartitionLayout>,
}

impl Layout {
    /// One partition's place.
    pub fn partition(&self, partition: Partition) -> &PartitionLayout {
        &self.partitions[partition.index()]
    }
}
