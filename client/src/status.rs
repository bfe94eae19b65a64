//! How the cluster does, as one node sees it.

use holdfast_core::client::{Answer, Kind};
use holdfast_core::ids::NodeId;
use holdfast_proto::v1;

use crate::client::Client;
use crate::drive::{Attempt, Attempted, Call, drive};
use crate::error::Error;
use crate::wire;

/// The cluster, as the answering node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterStatus {
    /// The cluster's name.
    pub cluster: String,
    /// Who answered.
    pub node_id: NodeId,
    /// Its software.
    pub software_version: String,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The layout it works with.
    pub layout_version: u64,
    /// Whether it reaches the registry.
    pub registry_connected: bool,
    /// All nodes that it knows.
    pub nodes: Vec<NodeStatus>,
    /// How the partitions are.
    pub partitions: PartitionCounts,
    /// Requests of clients that are under way on the answering node.
    pub operations: u32,
    /// Records on their way from it to replicas that lag behind.
    pub repairs: u32,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: NodeId,
    /// Its address for clients.
    pub client_url: String,
    /// Where it stands.
    pub zone: String,
    /// In the registry now.
    pub registered: bool,
    /// The answering node has heard from it within the last second.
    pub reachable: bool,
    /// In the layout.
    pub member: bool,
    /// Its software.
    pub software_version: String,
    /// Partitions it is a replica of.
    pub replica_of: u32,
    /// Partitions it leads, as far as the answering node knows.
    pub leads: u32,
    /// When its process started, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// Bytes it offers.
    pub capacity: u64,
}

/// How many partitions are how well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionCounts {
    /// All.
    pub total: u32,
    /// Every replica reachable.
    pub whole: u32,
    /// A majority reachable, not all.
    pub degraded: u32,
    /// No majority.
    pub unavailable: u32,
}

impl Client {
    /// Asks a node how the cluster does.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        let call = Call {
            kind: Kind::Read,
            partition: None,
            body_bytes: 0,
            timeout: self.timeout_or(None),
            op_id: None,
            doubtful: false,
            pinned: false,
        };
        drive(self, call, send).await.result
    }
}

async fn send(mut attempt: Attempt) -> Attempted<ClusterStatus> {
    match attempt.node.cluster.status(wire::request(v1::StatusRequest {}, attempt.timeout)).await {
        Ok(answer) => match from_wire(answer.into_inner()) {
            Ok(status) => wire::answered(Answer::Ok, status),
            Err(error) => wire::senseless(Answer::Damaged, error.message()),
        },
        Err(status) => wire::failed(&status),
    }
}

fn from_wire(status: v1::StatusResponse) -> Result<ClusterStatus, Error> {
    let nodes = status.nodes.into_iter().map(|node| {
        Ok(NodeStatus {
            node_id: node.node_id.parse()?,
            client_url: node.client_url,
            zone: node.zone,
            registered: node.registered,
            reachable: node.reachable,
            member: node.member,
            software_version: node.software_version,
            replica_of: node.replica_of,
            leads: node.leads,
            started_unix_ms: node.started_unix_ms,
            capacity: node.capacity,
        })
    });
    let counts = status.partitions.unwrap_or_default();
    Ok(ClusterStatus {
        cluster: status.cluster,
        node_id: status.node_id.parse()?,
        software_version: status.software_version,
        uptime_ms: status.uptime_ms,
        layout_version: status.layout_version,
        registry_connected: status.registry_connected,
        nodes: nodes.collect::<Result<_, Error>>()?,
        partitions: PartitionCounts {
            total: counts.total,
            whole: counts.whole,
            degraded: counts.degraded,
            unavailable: counts.unavailable,
        },
        operations: status.operations,
        repairs: status.repairs,
    })
}
