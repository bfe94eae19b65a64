//! What most scenes begin with: a runtime, a cluster of three, a client that knows all of them.

use std::future::Future;
use std::time::{Duration, Instant};

use holdfast::Client;
use holdfast_tests::cluster::{Cluster, RegistryKind};

/// The bucket of all scenes.
pub(crate) const BUCKET: &str = "scene";

/// Runs a scene on two threads, as a client beside the nodes would.
pub(crate) fn play<T>(scene: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime needs only threads")
        .block_on(scene)
}

/// Three nodes, ready.
pub(crate) fn three_nodes(registry: RegistryKind) -> Cluster {
    Cluster::start(3, registry, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// A client that knows all nodes of a cluster.
pub(crate) fn client_of(cluster: &Cluster) -> Client {
    Client::connect(cluster.urls()).expect("the addresses are valid")
}

/// Asks again and again until it is so; how long that took. Panics with `what` when it is not so `within` that time.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> F,
) -> Duration {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}
