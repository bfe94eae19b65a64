//! The client: shared state, its options, and the clients of each node's services.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::client::{Policy, Router, Slot, Topology};
use holdfast_core::ids::OpId;
use holdfast_proto::v1;
use holdfast_proto::v1::cluster_client::ClusterClient;
use holdfast_proto::v1::objects_client::ObjectsClient;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::ambient::{Ambient, SystemAmbient, op_id_above};
use crate::connect::{self, Connect, NodeChannel};
use crate::drive::spawn_refresh;
use crate::error::Error;

/// Largest answer that is read: what one `GetMany` may hold, and its heads.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// What a call without a deadline of its own gets.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How a [`Client`] is made. Only `endpoints` has no default.
#[derive(Clone)]
pub struct ClientOptions {
    /// Addresses of nodes, such as `http://10.0.0.1:7070`. One is enough to learn the others.
    pub endpoints: Vec<String>,
    /// How long a call may take that does not say it itself. 10 s.
    pub timeout: Duration,
    /// When to hedge and retry.
    pub policy: Policy,
    /// Opens connections. TCP.
    pub connect: Arc<dyn Connect>,
    /// Wall time and randomness. The system's.
    pub ambient: Arc<dyn Ambient>,
}

impl ClientOptions {
    /// With the usual defaults.
    #[cfg(feature = "tcp")]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::with_connect(endpoints, Arc::new(connect::Tcp))
    }

    /// With the usual defaults, over another network.
    pub fn with_connect(
        endpoints: impl IntoIterator<Item = impl Into<String>>,
        connect: Arc<dyn Connect>,
    ) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            timeout: TIMEOUT_DEFAULT,
            policy: Policy::NEAR,
            connect,
            ambient: Arc::new(SystemAmbient),
        }
    }
}

/// A client of one cluster. Cheap to clone: clones share connections and what is known of the nodes. Needs a tokio
/// runtime.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    connect: Arc<dyn Connect>,
    ambient: Arc<dyn Ambient>,
    timeout: Duration,
    refresh_timeout_ms: u64,
    /// The decisions' clock counts milliseconds from here.
    start: Instant,
}

/// What all operations share.
pub(crate) struct State {
    pub(crate) router: Router,
    /// By slot.
    nodes: Vec<Option<NodeClients>>,
}

/// One node's services, over one connection.
#[derive(Clone)]
pub(crate) struct NodeClients {
    url: Arc<str>,
    pub(crate) objects: ObjectsClient<NodeChannel>,
    pub(crate) cluster: ClusterClient<NodeChannel>,
}

impl Client {
    /// A client of the cluster that the nodes at these addresses belong to. Opens no connection yet.
    ///
    /// Errors when there is no address, or one that is none. Must be called within a tokio runtime.
    #[cfg(feature = "tcp")]
    pub fn connect(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
        Self::new(ClientOptions::new(endpoints))
    }

    /// The same with all options.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let refresh_timeout_ms = options.policy.refresh_timeout_ms.into();
        let router = Router::new(options.endpoints.iter().map(String::as_str), options.policy)?;
        let shared = Shared {
            state: Mutex::new(State { router, nodes: Vec::new() }),
            connect: options.connect,
            ambient: options.ambient,
            timeout: options.timeout,
            refresh_timeout_ms,
            start: Instant::now(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A fresh op id, for a caller that wants to note it before it mutates.
    pub fn fresh_op_id(&self) -> OpId {
        op_id_above(self.ambient(), OpId::default())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    pub(crate) fn ambient(&self) -> &dyn Ambient {
        &*self.shared.ambient
    }

    pub(crate) fn timeout_or(&self, timeout: Option<Duration>) -> Duration {
        timeout.unwrap_or(self.shared.timeout)
    }

    pub(crate) fn refresh_timeout_ms(&self) -> u64 {
        self.shared.refresh_timeout_ms
    }

    pub(crate) fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.shared.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Never before `ms` by [`Self::ms`].
    pub(crate) fn instant(&self, ms: u64) -> Instant {
        let far = Duration::from_secs(365 * 24 * 3600);
        self.shared.start + Duration::from_millis(ms).min(far)
    }

    /// Learns the topology beside the operations, when it is time.
    pub(crate) fn refresh_if_due(&self, now_ms: u64, random: u64) {
        let due = self.state().router.refresh_due(now_ms, random);
        if let Some(slot) = due {
            spawn_refresh(self, slot);
        }
    }

    /// The services of a slot's node, at its address of now.
    pub(crate) fn node(&self, slot: Slot) -> Result<NodeClients, Error> {
        let mut state = self.state();
        let State { router, nodes } = &mut *state;
        let url = router.url(slot);
        if let Some(Some(node)) = nodes.get(slot.index())
            && *node.url == *url
        {
            return Ok(node.clone());
        }
        let channel = connect::open(url, &self.shared.connect)?;
        let node = NodeClients {
            url: url.into(),
            objects: ObjectsClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            cluster: ClusterClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        };
        if nodes.len() <= slot.index() {
            nodes.resize(slot.index() + 1, None);
        }
        nodes[slot.index()] = Some(node.clone());
        Ok(node)
    }
}

impl NodeClients {
    /// `None`: it did not answer, or nothing that can be used.
    pub(crate) async fn topology(&self, timeout: Duration) -> Option<Arc<Topology>> {
        let mut request = tonic::Request::new(v1::TopologyRequest {});
        request.set_timeout(timeout);
        let answer = self.cluster.clone().topology(request).await.ok()?.into_inner();
        Topology::try_from(answer).ok().map(Arc::new)
    }
}
