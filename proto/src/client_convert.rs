//! What clients learn of the cluster, checked.

use holdfast_core::client::{Topology, TopologyNode};
use holdfast_core::error::Invalid;

use crate::v1;

impl TryFrom<v1::TopologyResponse> for Topology {
    type Error = Invalid;

    fn try_from(answer: v1::TopologyResponse) -> Result<Self, Invalid> {
        let nodes = answer.nodes.into_iter().map(|node| {
            Ok(TopologyNode {
                id: node.node_id.parse()?,
                url: node.client_url,
                zone: node.zone,
                live: node.live,
                life: node.life,
            })
        });
        Self::from_parts(
            answer.cluster,
            answer.layout_version,
            answer.partitions,
            answer.replication,
            nodes.collect::<Result<_, Invalid>>()?,
            &answer.placement,
        )
    }
}
