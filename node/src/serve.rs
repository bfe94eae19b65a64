//! One node, from its opened environment to its stop: what `node serve` runs, and what the simulator runs too.
//!
//! Start: listen, open the store, follow the registry, start the engine, serve, register. Stop: the other way round.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdfast_core::error::Invalid;
use holdfast_core::sometimes;
use holdfast_proto::DESCRIPTORS;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Settings;
use crate::engine::{Engine, EngineParts};
use crate::env::{Env, Listener, tasks};
use crate::http::{ClientPort, StoreCheck, serve_connections};
use crate::metrics::Metrics;
use crate::peer::serve_peers;
use crate::registry::{NodeEntry, Registration, Registry, RegistryStore, RegistryTiming};
use crate::store::{OpenError, Store, StoreOptions};

/// After the leaderships were given up, peers have this long to hear of it before their connections end.
const HANDOVER: Duration = Duration::from_millis(100);
/// A stop waits this long for what peers have asked.
const PEERS_STOP_MAX: Duration = Duration::from_secs(1);
/// A stop waits this long for the store to write what it still has in memory.
const CLOSE_MAX: Duration = Duration::from_secs(20);

/// Why a node does not start, or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address}: {error}. Is another node running? Choose another with --{setting}")]
    Listen {
        /// What was asked for.
        address: String,
        /// The setting to change.
        setting: &'static str,
        /// The system's word.
        error: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The layout kept in the data folder cannot be read.
    #[error("the layout kept in the data folder cannot be read: {0}")]
    Layout(io::Error),
    /// A setting is refused by the registry's rules.
    #[error("{0}")]
    Registry(Invalid),
    /// The disk failed while the node ran.
    #[error("the store has failed, so this node stops: {0}. Restart it; replace the disk if it fails again")]
    StoreFailed(String),
}

/// Serves until `stop`, then hands over and ends. `capacity`: what the node offers, where the settings do not say.
pub async fn serve(
    env: Env,
    registry_store: Arc<dyn RegistryStore>,
    settings: &Settings,
    capacity: u64,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let started_unix_ms = env.ambient.unix_ms();
    if !settings.fsync {
        tracing::warn!("--no-fsync: a power loss takes acknowledged writes with it. For experiments only");
    }
    let clients = listen(&env, &settings.client_listen, "client-listen").await?;
    let peers = listen(&env, &settings.peer_listen, "peer-listen").await?;
    let addresses = addresses(settings, &*clients, &*peers)?;

    let mut options = StoreOptions::new(&settings.cluster);
    options.fsync = settings.fsync;
    options.checkpoint_log_bytes = settings.checkpoint_log;
    options.checkpoint_quiet = settings.checkpoint_quiet;
    let store = Store::open(&env, options).await?;
    let me = store.node_id();
    let timing = RegistryTiming { lease_ttl: settings.lease_ttl, ..RegistryTiming::default() };
    let registry =
        Registry::start(registry_store, &settings.cluster, timing).map_err(ServeError::Registry)?;
    let engine = Engine::start(EngineParts {
        env: env.clone(),
        cluster: settings.cluster.clone(),
        store: store.clone(),
        registry: registry.clone(),
        bootstrap_nodes: usize::from(settings.bootstrap_nodes),
        replication: settings.replication,
    })
    .map_err(ServeError::Layout)?;

    let entry = NodeEntry {
        client_url: addresses.client_url,
        peer_address: addresses.peer_address,
        zone: settings.zone.clone().unwrap_or_else(|| me.to_string()),
        capacity: settings.capacity.unwrap_or(capacity).max(1),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_ms,
    };
    let running = Running::start(&env, clients, peers, &engine, &store, settings);
    let registration = registry.register(me, &entry).map_err(ServeError::Registry)?;
    tracing::info!(
        node = %me,
        clients = entry.client_url,
        peers = entry.peer_address,
        zone = entry.zone,
        "serving"
    );
    let ended = running.until(&stop, &store).await;
    tracing::info!("stopping");
    running.stop(registration, &engine, &store, settings.stop_grace).await;
    tracing::info!("stopped");
    ended
}

async fn listen(env: &Env, address: &str, setting: &'static str) -> Result<Box<dyn Listener>, ServeError> {
    let listening = env.net.listen(address.to_owned()).await;
    listening.map_err(|error| ServeError::Listen { address: address.to_owned(), setting, error })
}

/// What others are told.
struct Addresses {
    client_url: String,
    peer_address: String,
}

fn addresses(
    settings: &Settings,
    clients: &dyn Listener,
    peers: &dyn Listener,
) -> Result<Addresses, ServeError> {
    let bound = |listener: &dyn Listener, address: &String, setting| {
        listener.local_address().map_err(|error| ServeError::Listen {
            address: address.clone(),
            setting,
            error,
        })
    };
    let client_url = match &settings.client_advertise {
        Some(url) => url.clone(),
        None => format!("http://{}", bound(clients, &settings.client_listen, "client-listen")?),
    };
    let peer_address = match &settings.peer_advertise {
        Some(address) => address.clone(),
        None => bound(peers, &settings.peer_listen, "peer-listen")?,
    };
    Ok(Addresses { client_url, peer_address })
}

/// The tasks of a running node.
struct Running {
    clients: JoinHandle<()>,
    peers: JoinHandle<()>,
    health: JoinHandle<()>,
    stop_clients: CancellationToken,
    stop_peers: CancellationToken,
}

impl Running {
    fn start(
        env: &Env,
        clients: Box<dyn Listener>,
        peers: Box<dyn Listener>,
        engine: &Engine,
        store: &Store,
        settings: &Settings,
    ) -> Self {
        let (stop_clients, stop_peers) = (CancellationToken::new(), CancellationToken::new());
        let metrics = Metrics::new();
        metrics.register_store(store.clone());
        let (extra, health) = extra_services(engine);
        let checked = store.clone();
        let store_check: StoreCheck = Arc::new(move || match checked.failed() {
            None => Ok(()),
            Some(why) => Err(crate::store::StoreError::Failed(why.to_owned()).into()),
        });
        let port = ClientPort::new(engine, env.ambient.clone(), metrics.clone(), store_check, extra);
        let calls = port.clone();
        env.net.offer(
            &settings.client_listen,
            Arc::new(move |request| {
                let answer = calls.answer(request);
                Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
            }),
        );
        let clients = tasks::spawn(serve_connections(
            clients,
            port,
            metrics,
            stop_clients.clone(),
            settings.stop_grace,
        ));
        let peers =
            tasks::spawn(serve_peers(peers, engine.identity(), Arc::new(engine.clone()), stop_peers.clone()));
        Self { clients, peers, health, stop_clients, stop_peers }
    }

    /// Until somebody asks for a stop, or the store fails.
    async fn until(&self, stop: &CancellationToken, store: &Store) -> Result<(), ServeError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            why = store.until_failed() => {
                sometimes!("a node stops because its store has failed");
                tracing::error!(why, "the store has failed");
                Err(ServeError::StoreFailed(why.to_owned()))
            }
        }
    }

    /// Nobody new, finish what is in flight, hand over, close.
    async fn stop(self, registration: Registration, engine: &Engine, store: &Store, grace: Duration) {
        self.health.abort();
        self.stop_clients.cancel();
        let clients = async {
            // It keeps to the grace by itself.
            let _ = self.clients.await;
        };
        // The registry may be away: its own deadline is no reason to keep the node up longer than the grace.
        tokio::join!(clients, async {
            let _ = timeout(grace.max(Duration::from_secs(1)), registration.deregister()).await;
        });
        engine.leave();
        sleep(HANDOVER).await;
        self.stop_peers.cancel();
        let abort = self.peers.abort_handle();
        if timeout(PEERS_STOP_MAX, self.peers).await.is_err() {
            abort.abort();
        }
        match timeout(CLOSE_MAX, store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the store was not closed cleanly"),
            Err(_) => tracing::error!("the store takes too long to close: what is in its log is safe"),
        }
    }
}

/// gRPC health and reflection. The task keeps the health's answer true.
fn extra_services(engine: &Engine) -> (Routes, JoinHandle<()>) {
    let (reporter, health) = tonic_health::server::health_reporter();
    (reflection().clone().add_service(health), tasks::spawn(report_health(engine.readiness(), reporter)))
}

/// gRPC reflection. Its answers are worked out once: simulated nodes start by the thousand.
fn reflection() -> &'static Routes {
    static ROUTES: OnceLock<Routes> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let reflect = || {
            tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
        };
        match (reflect().build_v1(), reflect().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => Routes::new(v1).add_service(v1alpha),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "no gRPC reflection");
                Routes::default()
            }
        }
    })
}

async fn report_health(mut readiness: watch::Receiver<bool>, reporter: HealthReporter) {
    loop {
        let ready = *readiness.borrow_and_update();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "holdfast.v1.Objects", "holdfast.v1.Cluster"] {
            reporter.set_service_status(service, status).await;
        }
        tracing::info!(ready, "readiness changed");
        if readiness.changed().await.is_err() {
            return;
        }
    }
}
