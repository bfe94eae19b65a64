//! A server under test as the load sees it: its processes, and connections to each of its nodes.

use std::net::SocketAddr;
use std::time::Duration;

use holdfast_core::ids::{ObjectName, Partition};
use holdfast_proto::v1::TopologyRequest;
use holdfast_proto::v1::cluster_client::ClusterClient;
use tonic::transport::Endpoint;

use crate::Failure;
use crate::wire::Wire;

/// Stands in a placement where a partition has fewer replicas.
const NO_REPLICA: u16 = u16::MAX;
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A server under test.
pub(crate) struct Target {
    /// Process ids of all its nodes.
    pub(crate) processes: Vec<u32>,
    /// Connections, node by node.
    clients: Vec<Vec<Wire>>,
    /// Indices into `clients` for every partition, the first replica first. Empty: any.
    placement: Vec<Vec<usize>>,
}

impl Target {
    /// Connects to all of `urls`, `connections` to each. With `placed`, asks for the placement first.
    pub(crate) async fn connect(
        urls: &[String],
        processes: Vec<u32>,
        connections: usize,
        placed: bool,
    ) -> Result<Self, Failure> {
        let mut clients = Vec::new();
        for url in urls {
            let mut of_node = Vec::new();
            for _ in 0..connections {
                of_node.push(Wire::connect(address(url)?).await?);
            }
            clients.push(of_node);
        }
        let placement = if placed { placement(urls).await? } else { Vec::new() };
        Ok(Self { processes, clients, placement })
    }

    /// The connection for a put: to the key's first replica.
    pub(crate) fn for_put(&self, bucket: &str, key: &str, worker: usize) -> &Wire {
        let node = self.replicas(bucket, key).first().copied().unwrap_or(0);
        self.connection(node, worker)
    }

    /// The connection for the `turn`th get of a key: to its replicas in turn.
    pub(crate) fn for_get(&self, bucket: &str, key: &str, worker: usize, turn: usize) -> &Wire {
        let replicas = self.replicas(bucket, key);
        let node = if replicas.is_empty() { 0 } else { replicas[turn % replicas.len()] };
        self.connection(node, worker)
    }

    fn connection(&self, node: usize, worker: usize) -> &Wire {
        let connections = &self.clients[node];
        &connections[worker % connections.len()]
    }

    fn replicas(&self, bucket: &str, key: &str) -> &[usize] {
        if self.placement.is_empty() {
            return &[];
        }
        let name = ObjectName::new(bucket, key).expect("the bench makes valid names");
        &self.placement[name.partition().index()]
    }
}

fn address(url: &str) -> Result<SocketAddr, Failure> {
    Ok(url.strip_prefix("http://").ok_or("the bench speaks plain HTTP only")?.parse()?)
}

/// For every partition the indices into `urls` of its replicas.
async fn placement(urls: &[String]) -> Result<Vec<Vec<usize>>, Failure> {
    let first = urls.first().ok_or("a target has at least one node")?;
    let channel = Endpoint::from_shared(first.clone())?.connect_timeout(CONNECT_MAX).connect().await?;
    let topology = ClusterClient::new(channel).topology(TopologyRequest {}).await?.into_inner();
    let replication = usize::try_from(topology.replication)?;
    let expected = usize::from(Partition::COUNT) * replication * size_of::<u16>();
    if replication == 0 || topology.placement.len() != expected {
        return Err(format!("the placement has {} bytes, not {expected}", topology.placement.len()).into());
    }
    let mut indices = Vec::new();
    for node in &topology.nodes {
        let url = node.client_url.trim_end_matches('/');
        let index = urls.iter().position(|known| known == url);
        indices.push(index.ok_or_else(|| format!("the topology names an unknown node: {url}"))?);
    }
    let of_partition = |bytes: &[u8]| {
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|&index| index != NO_REPLICA)
            .map(|index| indices.get(usize::from(index)).copied())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Failure::from("the placement names a node that is not in the topology"))
    };
    topology.placement.chunks_exact(replication * 2).map(of_partition).collect()
}
