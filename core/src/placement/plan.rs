//! The first layout of a cluster, from nothing but its members.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::assign::assign;
use super::layout::{Layout, Member, PartitionLayout};
use super::leaders::Leaders;
use super::targets::Targets;
use crate::ids::{NodeId, Partition};
use crate::term::ConfigVersion;

/// Most replicas of a partition. Seven survive three lost nodes; more only slows every write.
pub const REPLICATION_MAX: u8 = 7;

/// Why there is no layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// The replication factor is not 1 to [`REPLICATION_MAX`].
    Replication {
        /// What was asked for.
        asked: u8,
    },
    /// A node never holds two replicas of one partition, and there are not enough nodes for that.
    TooFewNodes {
        /// Nodes needed: the replication factor.
        needed: usize,
        /// Nodes there are.
        have: usize,
    },
    /// A node's capacity is 0.
    NoCapacity {
        /// Whose.
        node: NodeId,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replication { asked } => {
                write!(f, "the replication factor is {asked}: choose 1 to {REPLICATION_MAX}")
            }
            Self::TooFewNodes { needed, have } => write!(
                f,
                "{needed} replicas need {needed} nodes and there are {have}: start {} more, or choose a replication \
                 factor of at most {have}",
                needed - have
            ),
            Self::NoCapacity { node } => {
                write!(f, "node {node} has the capacity 0: give it at least 1 byte, or leave it out")
            }
        }
    }
}

impl core::error::Error for PlanError {}

/// Places every partition on `replication` of the nodes.
///
/// Replicas of a partition lie in distinct zones where there are enough, else as evenly over the zones as their nodes
/// allow; never two on one node. Within that, every node holds its share by capacity, rounded up or down; a zone or node that
/// cannot hold its share gets as near as it can and the others take the rest. Every node leads its holdings divided by
/// `replication`, rounded up or down. The result depends on the arguments only.
pub fn first_layout(nodes: &BTreeMap<NodeId, Member>, replication: u8) -> Result<Layout, PlanError> {
    check(nodes, replication)?;
    let targets = Targets::new(nodes, replication);
    let holders = assign(&targets);
    let leaders = Leaders::spread(&holders, targets.nodes.len());
    let partitions = Partition::all()
        .zip(&holders)
        .map(|(partition, holders)| {
            let leader = leaders.of(partition);
            let mut order = holders.clone();
            // Behind the leader by rendezvous: when a node stops, what it led goes to many others, not to one.
            order.sort_by_key(|&node| (node != leader, targets.nodes[node].rank.cost(partition), node));
            PartitionLayout {
                config: ConfigVersion(1),
                replicas: order.iter().map(|&node| targets.nodes[node].id).collect::<Vec<_>>(),
                next: None,
            }
        })
        .collect();
    Ok(Layout { version: 1, replication, nodes: nodes.clone(), partitions })
}

fn check(nodes: &BTreeMap<NodeId, Member>, replication: u8) -> Result<(), PlanError> {
    if !(1..=REPLICATION_MAX).contains(&replication) {
        return Err(PlanError::Replication { asked: replication });
    }
    let needed = usize::from(replication);
    if nodes.len() < needed {
        return Err(PlanError::TooFewNodes { needed, have: nodes.len() });
    }
    match nodes.iter().find(|(_, member)| member.capacity == 0) {
        Some((&node, _)) => Err(PlanError::NoCapacity { node }),
        None => Ok(()),
    }
}
