//! What a client knows of the cluster: nodes, their addresses, and which of them hold which partition.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Invalid;
use crate::ids::{NodeId, Partition};

/// One node, as a topology answer names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopologyNode {
    /// Its id.
    pub id: NodeId,
    /// Base address for clients, `http://` or `https://`, without a slash at the end.
    pub url: String,
    /// Where it stands.
    pub zone: String,
    /// Whether it was registered when the answer was made.
    pub live: bool,
    /// Its process's number; 0: not known.
    pub life: u64,
}

/// A checked topology answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    /// The cluster's name.
    pub cluster: String,
    /// Rises with every change of the placement.
    pub layout_version: u64,
    /// At most [`NODES_MAX`], no id twice.
    pub nodes: Vec<TopologyNode>,
    /// Replicas of a partition, the same for all.
    pub(super) replication: usize,
    /// `Partition::COUNT * replication` indices into `nodes`, preferred leader first; [`NO_NODE`] where a partition
    /// has fewer replicas. Every other one is below `nodes.len()`.
    pub(super) placement: Vec<u16>,
}

/// Nodes of one cluster, at most. Far more than Holdfast is made for; bounds what an answer can make us keep.
pub const NODES_MAX: usize = 4_096;
/// Replicas of one partition, at most.
pub const REPLICATION_MAX: usize = 16;
/// Longest node address, in bytes.
pub const URL_BYTES_MAX: usize = 512;
/// "No replica here" in a placement.
pub(super) const NO_NODE: u16 = u16::MAX;

impl Topology {
    /// Checks an answer from outside. `placement` is as on the wire: `partitions × replication` big-endian 16 bit
    /// indices into `nodes`, `0xffff` for none.
    pub fn from_parts(
        cluster: String,
        layout_version: u64,
        partitions: u32,
        replication: u32,
        mut nodes: Vec<TopologyNode>,
        placement: &[u8],
    ) -> Result<Self, Invalid> {
        if partitions != u32::from(Partition::COUNT) {
            return Err(Invalid::new("the cluster has another number of partitions: use a newer client"));
        }
        let replication = usize::try_from(replication).unwrap_or(usize::MAX);
        if replication == 0 || replication > REPLICATION_MAX {
            return Err(Invalid::new("the topology's replication must be 1 to 16"));
        }
        if nodes.is_empty() || nodes.len() > NODES_MAX {
            return Err(Invalid::new("the topology must name 1 to 4096 nodes"));
        }
        for node in &mut nodes {
            node.url = check_url(&node.url)?;
        }
        let mut ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Invalid::new("the topology names a node twice"));
        }
        if placement.len() != usize::from(Partition::COUNT) * replication * 2 {
            return Err(Invalid::new("the topology's placement has the wrong length"));
        }
        let placement: Vec<u16> =
            placement.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        if placement.iter().any(|&index| index != NO_NODE && usize::from(index) >= nodes.len()) {
            return Err(Invalid::new("the topology places a partition on a node that it does not name"));
        }
        Ok(Self { cluster, layout_version, nodes, replication, placement })
    }

    /// Indices into `nodes` of the partition's replicas, preferred leader first.
    pub fn replicas(&self, partition: Partition) -> impl Iterator<Item = usize> + '_ {
        let start = partition.index() * self.replication;
        self.placement[start..start + self.replication]
            .iter()
            .filter(|&&index| index != NO_NODE)
            .map(|&index| usize::from(index))
    }
}

/// A node's address as everyone writes it: scheme and authority, no slash at the end.
pub(super) fn check_url(url: &str) -> Result<String, Invalid> {
    let trimmed = url.trim_end_matches('/');
    let rest = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://"));
    match rest {
        _ if trimmed.len() > URL_BYTES_MAX => Err(Invalid::new("the node's address is over 512 bytes")),
        Some(rest) if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) => Ok(trimmed.into()),
        _ => Err(Invalid::new("a node's address looks like http://10.0.0.1:7070 or https://node.example")),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn node(id: u128) -> TopologyNode {
        TopologyNode { id: NodeId(id), url: "http://a:1/".into(), zone: String::new(), live: true, life: 0 }
    }

    #[test]
    fn placement_is_read_and_bounded() {
        let mut bytes = vec![0xff; 1024 * 2 * 2];
        bytes[4..8].copy_from_slice(&[0, 1, 0, 0]);
        let topology = Topology::from_parts("c".into(), 1, 1024, 2, vec![node(1), node(2)], &bytes).unwrap();
        let replicas = |number| topology.replicas(Partition::new(number).unwrap()).collect::<Vec<_>>();
        assert_eq!(replicas(0), []);
        assert_eq!(replicas(1), [1, 0]);
        assert_eq!(topology.nodes[0].url, "http://a:1");
        bytes[4..6].copy_from_slice(&[0, 2]);
        assert!(Topology::from_parts("c".into(), 1, 1024, 2, vec![node(1), node(2)], &bytes).is_err());
    }

    #[test]
    fn bad_answers_are_refused() {
        let bytes = vec![0; 1024 * 2];
        assert!(Topology::from_parts("c".into(), 1, 512, 1, vec![node(1)], &bytes[..1024]).is_err());
        assert!(Topology::from_parts("c".into(), 1, 1024, 1, vec![node(1), node(1)], &bytes).is_err());
        assert!(Topology::from_parts("c".into(), 1, 1024, 0, vec![node(1)], &[]).is_err());
        assert!(Topology::from_parts("c".into(), 1, 1024, 1, vec![], &bytes).is_err());
        assert!(Topology::from_parts("c".into(), 1, 1024, 1, vec![node(1)], &bytes[1..]).is_err());
        for url in ["", "http://", "ftp://a", "http://a b", "javascript:alert(1)"] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
