//! Who counts as a majority: of the replicas, and of the next replicas too while a partition moves.

use alloc::vec::Vec;

use crate::ids::NodeId;
use crate::placement::PartitionLayout;
use crate::sometimes;
use crate::term::ConfigVersion;

/// A partition's voters in one config.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Quorum {
    config: ConfigVersion,
    replicas: Vec<NodeId>,
    next: Option<Vec<NodeId>>,
    /// Both lists without repetition, in order of preference.
    voters: Vec<NodeId>,
}

impl Quorum {
    /// The voters that the layout names for a partition.
    pub fn new(partition: &PartitionLayout) -> Self {
        let mut voters = partition.replicas.clone();
        for node in partition.next.iter().flatten() {
            if !voters.contains(node) {
                voters.push(*node);
            }
        }
        Self {
            config: partition.config,
            replicas: partition.replicas.clone(),
            next: partition.next.clone(),
            voters,
        }
    }

    /// The config whose voters these are.
    pub fn config(&self) -> ConfigVersion {
        self.config
    }

    /// Everyone to ask, the preferred leader first.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Whether `node` votes.
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
    }

    /// Whether those for whom `voted` holds are a majority of the replicas, and of the next ones while there are some.
    pub fn is_majority(&self, voted: impl Fn(NodeId) -> bool) -> bool {
        let majority = |list: &[NodeId]| list.iter().filter(|node| voted(**node)).count() * 2 > list.len();
        let old = majority(&self.replicas);
        let moving = self.next.is_some();
        let both = old && self.next.as_deref().is_none_or(majority);
        sometimes!(moving && both, "a majority of the replicas and of the next ones is counted");
        sometimes!(old && !both, "a majority of the replicas is none of the next ones");
        both
    }
}
