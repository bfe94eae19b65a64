//! What the node tells of the cluster: topology for clients, status for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::ids::{NodeId, Partition};
use holdfast_proto::v1;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::duties::known_nodes;
use super::{ClusterView, Inner, OPERATIONS_MAX, REPAIRS_MAX};

/// A node that is not suspected and was heard within this time counts as reachable; others are asked first.
const REACHABLE_WITHIN: Duration = Duration::from_secs(1);
/// In a placement: no such replica.
const NO_NODE: u16 = u16::MAX;

/// Of so many permits.
fn taken(all: usize, permits: &Semaphore) -> u32 {
    u32::try_from(all.saturating_sub(permits.available_permits())).unwrap_or(u32::MAX)
}

impl Inner {
    fn is_live(&self, view: &ClusterView, node: NodeId) -> bool {
        node == self.me
            || self.links.is_healthy(node) && (view.registered.contains(&node) || !view.registry_connected)
    }

    /// Asks the peers of which nothing was heard of late. See [`Links::ask_silent`].
    ///
    /// [`Links::ask_silent`]: crate::peer::Links::ask_silent
    pub(super) fn ask_silent(&self) -> impl Future<Output = ()> + use<> {
        // Those that are heard now stay reachable while the answer is put together.
        self.links.ask_silent(REACHABLE_WITHIN / 2)
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        node == self.me
            || self.links.get(node).is_some_and(|link| {
                !link.is_suspected()
                    && link.last_heard().is_some_and(|at| Instant::now() - at <= REACHABLE_WITHIN)
            })
    }

    /// Which process is the node now, as far as is known; 0: not.
    fn life_of(&self, node: NodeId) -> u64 {
        if node == self.me {
            return self.identity.life;
        }
        self.links.get(node).map_or(0, |link| link.life())
    }

    pub(super) fn topology_now(&self) -> Option<v1::TopologyResponse> {
        let view = self.view()?;
        let nodes: Vec<_> = known_nodes(&view).into_iter().collect();
        let index: BTreeMap<NodeId, u16> = nodes.iter().copied().zip(0..NO_NODE).collect();
        let width = usize::from(view.layout.replication);
        let mut placement = Vec::with_capacity(view.layout.partitions.len() * width * 2);
        for partition in &view.layout.partitions {
            for at in 0..width {
                let node = partition.replicas.get(at).and_then(|node| index.get(node)).copied();
                placement.extend_from_slice(&node.unwrap_or(NO_NODE).to_be_bytes());
            }
        }
        let nodes = nodes.into_iter().map(|id| {
            let entry = view.nodes.get(&id);
            v1::TopologyNode {
                node_id: id.to_string(),
                client_url: entry.map(|entry| entry.client_url.clone()).unwrap_or_default(),
                zone: entry.map(|entry| entry.zone.clone()).unwrap_or_default(),
                live: self.is_live(&view, id),
                life: self.life_of(id),
            }
        });
        Some(v1::TopologyResponse {
            cluster: self.cluster.clone(),
            layout_version: view.layout.version,
            replication: u32::from(view.layout.replication),
            partitions: u32::from(Partition::COUNT),
            nodes: nodes.collect(),
            placement: placement.into(),
            unix_ms: self.env.ambient.unix_ms(),
        })
    }

    pub(super) fn status_now(&self) -> v1::StatusResponse {
        let mut status = v1::StatusResponse {
            cluster: self.cluster.clone(),
            node_id: self.me.to_string(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            registry_connected: self.registry.view().borrow().connected,
            operations: taken(OPERATIONS_MAX, &self.operations),
            repairs: taken(REPAIRS_MAX, &self.repairs),
            ..v1::StatusResponse::default()
        };
        let Some(view) = self.view() else { return status };
        status.layout_version = view.layout.version;
        let mut replica_of: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut leads: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut counts =
            v1::PartitionCounts { total: u32::from(Partition::COUNT), ..v1::PartitionCounts::default() };
        let known = known_nodes(&view);
        let reachable: BTreeSet<NodeId> = known.iter().copied().filter(|id| self.is_reachable(*id)).collect();
        for partition in Partition::all() {
            let quorum = view.quorum(partition);
            for node in quorum.voters() {
                *replica_of.entry(*node).or_default() += 1;
            }
            *leads.entry(self.leadership(partition).highest.node).or_default() += 1;
            if quorum.voters().iter().all(|node| reachable.contains(node)) {
                counts.whole += 1;
            } else if quorum.is_majority(|node| reachable.contains(&node)) {
                counts.degraded += 1;
            } else {
                counts.unavailable += 1;
            }
        }
        status.partitions = Some(counts);
        let nodes = known.into_iter().map(|id| {
            let entry = view.nodes.get(&id);
            v1::NodeStatus {
                node_id: id.to_string(),
                client_url: entry.map(|entry| entry.client_url.clone()).unwrap_or_default(),
                zone: entry.map(|entry| entry.zone.clone()).unwrap_or_default(),
                registered: view.registered.contains(&id),
                reachable: reachable.contains(&id),
                member: view.layout.nodes.contains_key(&id),
                software_version: entry.map(|entry| entry.software_version.clone()).unwrap_or_default(),
                replica_of: replica_of.get(&id).copied().unwrap_or(0),
                leads: leads.get(&id).copied().unwrap_or(0),
                started_unix_ms: entry.map_or(0, |entry| entry.started_unix_ms),
                capacity: entry.map_or(0, |entry| entry.capacity),
            }
        });
        status.nodes = nodes.collect();
        status
    }
}
