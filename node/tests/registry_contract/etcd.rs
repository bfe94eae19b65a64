//! The contract on a real etcd, and what can happen to an etcd only.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use holdfast_core::ids::NodeId;
use node::registry::etcd::{EtcdConfig, EtcdStore};
use node::registry::store::{RegistryStore, Revision, StoreError};
use node::registry::{LayoutWrite, Registry, RegistryError};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::etcd_process::{Etcd, running};
use crate::suite::{CLUSTER, Pair, SOON, layout, node, registry, see, timing};
use futures_util::StreamExt as _;

async fn start() -> (Etcd, Pair) {
    let etcd = running().await;
    let pair = Pair { one: etcd.store(), two: etcd.store() };
    (etcd, pair)
}

contract_suite!(start);

const A: NodeId = NodeId(0xa);

/// A registry on a running etcd with node A and layout 1 in its view.
async fn settled(etcd: &Etcd) -> (Registry, node::registry::Registration, Revision) {
    let registry = registry(&etcd.store());
    let registration = registry.register(A, &node("a")).unwrap();
    let LayoutWrite::Done(revision) = registry.create_layout(&layout(1, "a")).await.unwrap() else {
        panic!()
    };
    see(&registry, "node and layout", SOON, |view| view.nodes.len() == 1 && view.layout.is_some()).await;
    (registry, registration, revision)
}

/// Changes made now reach the view, and the node is registered for others.
async fn works(registry: &Registry, etcd: &Etcd, revision: Revision) {
    let limit = Duration::from_secs(5);
    let fresh = crate::suite::registry(&etcd.store());
    let (_, took) = see(&fresh, "registered again", limit, |view| view.nodes.contains_key(&A)).await;
    println!("registered again after {took:?}");
    let (now, _) = registry.layout().await.unwrap().unwrap();
    let next = layout(now.version + 1, "a");
    let LayoutWrite::Done(at) = registry.replace_layout(revision, &next).await.unwrap() else { panic!() };
    see(registry, "the next layout", limit, |view| view.layout.as_ref().is_some_and(|(_, r)| *r == at)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_is_survived_and_named() {
    let (etcd, pair) = start().await;
    let (registry, _registration, revision) = settled(&etcd).await;
    let mut etcdctl = Client::connect([etcd.url()], None).await.unwrap();
    for round in 0..5 {
        let mut last = Revision(0);
        for n in 0..50 {
            last =
                pair.one.put(&format!("/holdfast/{CLUSTER}/x"), &format!("{round} {n}"), None).await.unwrap();
        }
        etcdctl.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
    }
    let mut late = pair.one.watch("/holdfast/", revision).await.unwrap();
    let told = async {
        loop {
            if let Err(error) = late.next().await.expect("it ends with an error") {
                return error;
            }
        }
    };
    assert_eq!(timeout(SOON, told).await.unwrap(), StoreError::Compacted);
    works(&registry, &etcd, revision).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed_and_started_again() {
    let mut etcd = running().await;
    let (registry, _registration, revision) = settled(&etcd).await;
    etcd.kill();
    let (view, took) = see(&registry, "the outage", SOON, |view| !view.connected).await;
    println!("a killed etcd was noticed after {took:?}");
    assert!(view.nodes.contains_key(&A) && view.layout.is_some());
    assert!(matches!(registry.layout().await, Err(RegistryError::Unavailable(_))));
    let lost = registry.replace_layout(revision, &layout(2, "a")).await;
    assert!(matches!(lost, Err(RegistryError::OutcomeUnknown(_))), "{lost:?}");
    etcd.start();
    etcd.answers(&etcd.store()).await;
    let (_, took) = see(&registry, "the end of the outage", SOON, |view| view.connected).await;
    println!("connected {took:?} after etcd answered");
    works(&registry, &etcd, revision).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_emptied_while_nodes_run() {
    let mut etcd = running().await;
    let (registry, _registration, revision) = settled(&etcd).await;
    etcd.kill();
    std::fs::remove_dir_all(etcd.data()).unwrap();
    etcd.start();
    etcd.answers(&etcd.store()).await;
    see(&registry, "the end of the outage", SOON, |view| view.connected).await;
    let fresh = crate::suite::registry(&etcd.store());
    see(&fresh, "registered again", SOON, |view| view.nodes.contains_key(&A)).await;
    // What was in force stays in force until somebody writes it back.
    let view = registry.view().borrow().clone();
    assert_eq!(view.layout, Some((Arc::new(layout(1, "a")), revision)));
    assert_eq!(registry.layout().await, Ok(None));
    let LayoutWrite::Done(back) = registry.create_layout(&layout(1, "a")).await.unwrap() else { panic!() };
    see(&registry, "it back", SOON, |view| view.layout.as_ref().is_some_and(|(_, at)| *at == back)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_stopped_for_some_seconds() {
    let etcd = running().await;
    let (registry, _registration, revision) = settled(&etcd).await;
    let mut views = registry.view();
    let never_alone = tokio::spawn(async move {
        loop {
            assert!(views.borrow_and_update().nodes.contains_key(&A), "a node was removed for the outage");
            if views.changed().await.is_err() {
                break;
            }
        }
    });
    etcd.signal("STOP");
    let stopped = Instant::now();
    let (_, took) = see(&registry, "the outage", Duration::from_secs(6), |view| !view.connected).await;
    println!("a stopped etcd was noticed after {took:?}");
    sleep(Duration::from_secs(6).saturating_sub(stopped.elapsed())).await;
    etcd.signal("CONT");
    let (_, took) = see(&registry, "the end of the outage", SOON, |view| view.connected).await;
    println!("connected {took:?} after etcd went on");
    works(&registry, &etcd, revision).await;
    drop(registry);
    never_alone.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_absent_at_start() {
    let mut etcd = Etcd::new();
    let registry = registry(&etcd.store());
    let _registration = registry.register(A, &node("a")).unwrap();
    let began = Instant::now();
    assert!(matches!(registry.layout().await, Err(RegistryError::Unavailable(_))));
    assert!(began.elapsed() < timing().operation_timeout + Duration::from_millis(500));
    assert!(!registry.view().borrow().connected);
    etcd.start();
    see(&registry, "the node", Duration::from_secs(20), |view| view.connected && view.nodes.len() == 1).await;
    let LayoutWrite::Done(revision) = registry.create_layout(&layout(1, "a")).await.unwrap() else {
        panic!()
    };
    works(&registry, &etcd, revision).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_and_a_hung_member_are_left_for_a_live_one() {
    let etcd = running().await;
    // It takes connections and says nothing, as a stopped process does.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = format!("http://{dead},http://{},{}", hung.local_addr().unwrap(), etcd.url());
    let store: Arc<dyn RegistryStore> = Arc::new(EtcdStore::new(EtcdConfig::new(&endpoints)).unwrap());
    let registry = registry(&store);
    let _registration = registry.register(A, &node("a")).unwrap();
    let (_, took) =
        see(&registry, "the node", SOON, |view| view.connected && view.nodes.contains_key(&A)).await;
    println!("past a dead and a hung member in {took:?}");
    let LayoutWrite::Done(revision) = registry.create_layout(&layout(1, "a")).await.unwrap() else {
        panic!()
    };
    works(&registry, &etcd, revision).await;
}
