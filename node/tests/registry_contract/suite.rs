//! The contract: every function takes two handles on one empty registry, as two processes would have them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, Member, PartitionLayout};
use holdfast_core::term::ConfigVersion;
use node::registry::store::{Change, RegistryStore, Revision, StoreError, Swap, WATCH_HEARTBEAT};
use node::registry::{Keys, LayoutWrite, NodeEntry, Registry, RegistryTiming, RegistryView, encode_layout};
use tokio::time::{Instant, sleep, timeout};

use crate::faulty::{Faults, Faulty};

/// Two handles on one registry.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) one: Arc<dyn RegistryStore>,
    pub(crate) two: Arc<dyn RegistryStore>,
}

/// One test per promise, for a backend. `$start` makes a registry: `(guard, Pair)`.
macro_rules! contract_suite {
    ($start:path: $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let (_guard, pair) = $start().await;
            $crate::suite::$promise(pair).await;
        }
    )*};
    ($start:path) => {
        contract_suite! { $start:
            a_swap_names_its_predecessor
            a_lease_takes_its_keys_with_it
            a_key_under_a_new_lease_outlives_the_old_one
            a_key_written_without_a_lease_outlives_its_old_one
            what_expired_while_nobody_watched_is_told_later
            a_watch_tells_everything_in_order
            a_watch_never_goes_quiet
            registered_nodes_are_seen_and_expire
            a_lost_registration_comes_back
            who_knows_a_layout_registers_where_there_is_one
            one_of_many_creators_wins
            no_increment_is_lost
            a_lost_answer_is_settled
            a_bad_layout_leaves_the_last_good_one_in_force
            a_lost_revocation_is_sent_again
            what_watches_miss_is_found
            a_hung_registry_is_noticed_and_nobody_removed
        }
    };
}

pub(crate) const CLUSTER: &str = "contract";
const PREFIX: &str = "/holdfast/contract/";

/// etcd grants no lease shorter than 2 s.
pub(crate) fn timing() -> RegistryTiming {
    RegistryTiming { lease_ttl: Duration::from_secs(2), ..RegistryTiming::default() }
}

pub(crate) fn registry(store: &Arc<dyn RegistryStore>) -> Registry {
    Registry::start(store.clone(), CLUSTER, timing()).unwrap()
}

pub(crate) fn node(zone: &str) -> NodeEntry {
    NodeEntry {
        client_url: "http://127.0.0.1:7070".into(),
        peer_address: "127.0.0.1:7170".into(),
        zone: zone.into(),
        capacity: 1 << 30,
        software_version: "0.1.0".into(),
        started_unix_ms: 1_700_000_000_000,
    }
}

pub(crate) fn layout(version: u64, zone: &str) -> Layout {
    let ids = [NodeId(1 << 120), NodeId(2 << 120), NodeId(3 << 120)];
    let place = |_| PartitionLayout { config: ConfigVersion(version), replicas: ids.to_vec(), next: None };
    Layout {
        version,
        replication: 3,
        nodes: ids.map(|id| (id, Member { zone: zone.into(), capacity: 1 })).into(),
        partitions: Partition::all().map(place).collect(),
    }
}

/// Waits for a view that is as it should be. Answers it and how long that took.
pub(crate) async fn see(
    registry: &Registry,
    what: &str,
    limit: Duration,
    wanted: impl FnMut(&Arc<RegistryView>) -> bool,
) -> (Arc<RegistryView>, Duration) {
    let mut views = registry.view();
    let began = Instant::now();
    let seen = timeout(limit, views.wait_for(wanted)).await.map(|view| view.unwrap().clone());
    match seen {
        Ok(view) => (view, began.elapsed()),
        Err(_) => panic!("{what}: not within {limit:?}, the view is {:?}", short(&registry.view().borrow())),
    }
}

fn short(view: &RegistryView) -> String {
    let layout = view.layout.as_ref().map(|(layout, revision)| (layout.version, *revision));
    format!("connected {}, nodes {:?}, layout {layout:?}", view.connected, view.nodes.keys())
}

pub(crate) const SOON: Duration = Duration::from_secs(5);

async fn created(registry: &Registry, layout: &Layout) -> Revision {
    match registry.create_layout(layout).await.unwrap() {
        LayoutWrite::Done(revision) => revision,
        conflict @ LayoutWrite::Conflict(_) => panic!("{conflict:?}"),
    }
}

pub(crate) async fn a_swap_names_its_predecessor(pair: Pair) {
    let key = format!("{PREFIX}x");
    let Swap::Done(first) = pair.one.compare_and_swap(&key, None, "1").await.unwrap() else { panic!() };
    let Swap::Conflict(Some(now)) = pair.two.compare_and_swap(&key, None, "2").await.unwrap() else {
        panic!()
    };
    assert_eq!((now.value.as_str(), now.revision, now.lease), ("1", first, None));
    let Swap::Done(second) = pair.two.compare_and_swap(&key, Some(first), "2").await.unwrap() else {
        panic!()
    };
    assert!(second > first);
    let Swap::Conflict(Some(now)) = pair.one.compare_and_swap(&key, Some(first), "3").await.unwrap() else {
        panic!()
    };
    assert_eq!((now.value.as_str(), now.revision), ("2", second));
    let absent = format!("{PREFIX}y");
    let missing = pair.one.compare_and_swap(&absent, Some(first), "3").await.unwrap();
    assert_eq!(missing, Swap::Conflict(None));
    assert_eq!(pair.one.get(&absent).await.unwrap(), None);
    let listing = pair.two.list(PREFIX).await.unwrap();
    assert_eq!(listing.entries, vec![pair.one.get(&key).await.unwrap().unwrap()]);
    assert!(listing.revision >= second);
}

pub(crate) async fn a_lease_takes_its_keys_with_it(pair: Pair) {
    let key = format!("{PREFIX}leased");
    let lease = pair.one.grant_lease(Duration::from_secs(2)).await.unwrap();
    pair.one.put(&key, "1", Some(lease)).await.unwrap();
    // Kept alive past its time...
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        pair.one.keep_alive(lease).await.unwrap();
        assert_eq!(pair.two.get(&key).await.unwrap().unwrap().lease, Some(lease));
        sleep(Duration::from_millis(300)).await;
    }
    // ... and then no more.
    let stopped = Instant::now();
    while pair.two.get(&key).await.unwrap().is_some() {
        assert!(stopped.elapsed() < Duration::from_secs(10), "it never expired");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(stopped.elapsed() > Duration::from_millis(1500), "it expired at once");
    assert_eq!(pair.one.keep_alive(lease).await, Err(StoreError::LeaseGone));
    assert_eq!(pair.one.put(&key, "2", Some(lease)).await, Err(StoreError::LeaseGone));
    assert_eq!(pair.one.revoke_lease(lease).await, Ok(()));
    assert_eq!(pair.two.get(&key).await.unwrap(), None);
}

pub(crate) async fn a_key_under_a_new_lease_outlives_the_old_one(pair: Pair) {
    let key = format!("{PREFIX}leased");
    let old = pair.one.grant_lease(Duration::from_secs(10)).await.unwrap();
    pair.one.put(&key, "1", Some(old)).await.unwrap();
    let new = pair.two.grant_lease(Duration::from_secs(10)).await.unwrap();
    pair.two.put(&key, "2", Some(new)).await.unwrap();
    pair.one.revoke_lease(old).await.unwrap();
    let entry = pair.one.get(&key).await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.lease), ("2", Some(new)));
    pair.two.revoke_lease(new).await.unwrap();
    assert_eq!(pair.one.get(&key).await.unwrap(), None);
}

pub(crate) async fn a_key_written_without_a_lease_outlives_its_old_one(pair: Pair) {
    let (put, swapped) = (format!("{PREFIX}put"), format!("{PREFIX}swapped"));
    let lease = pair.one.grant_lease(Duration::from_secs(10)).await.unwrap();
    pair.one.put(&put, "1", Some(lease)).await.unwrap();
    let leased = pair.one.put(&swapped, "1", Some(lease)).await.unwrap();
    pair.two.put(&put, "2", None).await.unwrap();
    let swap = pair.two.compare_and_swap(&swapped, Some(leased), "2").await.unwrap();
    assert!(matches!(swap, Swap::Done(_)), "{swap:?}");
    pair.one.revoke_lease(lease).await.unwrap();
    for key in [put, swapped] {
        let entry = pair.one.get(&key).await.unwrap().unwrap();
        assert_eq!((entry.value.as_str(), entry.lease), ("2", None));
    }
}

pub(crate) async fn what_expired_while_nobody_watched_is_told_later(pair: Pair) {
    let key = format!("{PREFIX}leased");
    let lease = pair.one.grant_lease(Duration::from_secs(2)).await.unwrap();
    let put = pair.one.put(&key, "1", Some(lease)).await.unwrap();
    let watch = pair.two.watch(PREFIX, put.next()).await.unwrap();
    // The watcher is gone, and so is who kept the lease.
    drop(watch);
    let began = Instant::now();
    while pair.two.get(&key).await.unwrap().is_some() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never expired");
        sleep(Duration::from_millis(100)).await;
    }
    // A put that comes too late changes nothing, and is told so.
    assert_eq!(pair.one.put(&key, "2", Some(lease)).await, Err(StoreError::LeaseGone));
    let mut watch = pair.two.watch(PREFIX, put.next()).await.unwrap();
    let told = async {
        loop {
            let batch = watch.next().await.unwrap().unwrap();
            if !batch.is_empty() {
                return batch;
            }
        }
    };
    let batch = timeout(SOON, told).await.expect("the end of the lease was not told");
    assert!(matches!(&batch[..], [Change::Delete { key: gone, .. }] if *gone == key), "{batch:?}");
}

/// Not on every backend alike: `compact` makes it forget everything up to a revision.
pub(crate) async fn a_compaction_during_watches(pair: Pair, compact: impl AsyncFnOnce(Revision)) {
    let lease = pair.one.grant_lease(Duration::from_secs(30)).await.unwrap();
    let first = pair.one.put(&format!("{PREFIX}first"), "1", Some(lease)).await.unwrap();
    let mut ahead = pair.two.watch(PREFIX, first.next()).await.unwrap();
    pair.one.revoke_lease(lease).await.unwrap();
    let last = pair.one.put(&format!("{PREFIX}second"), "1", None).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(timeout(SOON, ahead.next()).await.expect("the watch is quiet").unwrap().unwrap());
    }
    compact(last).await;
    // Who was told everything goes on...
    let third = pair.one.put(&format!("{PREFIX}third"), "1", None).await.unwrap();
    while told.len() < 3 {
        told.extend(timeout(SOON, ahead.next()).await.expect("the watch is quiet").unwrap().unwrap());
    }
    assert_eq!(told[2].revision(), third);
    // ... who would miss the deletion is told so and nothing else: at once, or by the watch.
    let mut behind = match pair.two.watch(PREFIX, first.next()).await {
        Ok(watch) => watch,
        Err(error) => return assert_eq!(error, StoreError::Compacted),
    };
    let error = async {
        loop {
            match behind.next().await.expect("it ends with an error") {
                Ok(batch) => assert_eq!(batch, Vec::new(), "it went on after a gap"),
                Err(error) => return error,
            }
        }
    };
    assert_eq!(timeout(SOON, error).await.unwrap(), StoreError::Compacted);
    assert!(behind.next().await.is_none(), "it goes on after its end");
}

pub(crate) async fn a_watch_tells_everything_in_order(pair: Pair) {
    pair.one.put(&format!("{PREFIX}before"), "1", None).await.unwrap();
    pair.one.put("/holdfast/contract2/other", "1", None).await.unwrap();
    let listing = pair.two.list(PREFIX).await.unwrap();
    let mut known: BTreeMap<String, String> =
        listing.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    // A change between listing and watching is told too.
    pair.one.put(&format!("{PREFIX}between"), "1", None).await.unwrap();
    let mut watch = pair.two.watch(PREFIX, listing.revision.next()).await.unwrap();
    let writer = tokio::spawn(async move {
        for n in 0..60 {
            let lease = pair.one.grant_lease(Duration::from_secs(30)).await.unwrap();
            let key = format!("{PREFIX}{}", n % 7);
            pair.one.put(&key, &n.to_string(), Some(lease)).await.unwrap();
            pair.one.put("/holdfast/contract2/other", &n.to_string(), None).await.unwrap();
            if n % 3 == 0 {
                pair.one.revoke_lease(lease).await.unwrap();
            }
        }
        pair.one.put(&format!("{PREFIX}last"), "1", None).await.unwrap();
        pair.one.list(PREFIX).await.unwrap()
    });
    let mut last = listing.revision;
    while !known.contains_key(&format!("{PREFIX}last")) {
        let batch = timeout(SOON, watch.next()).await.expect("the watch is quiet").unwrap().unwrap();
        for change in batch {
            assert!(change.revision() > last, "{change:?} came after {last:?}");
            last = change.revision();
            match change {
                Change::Put(entry) => {
                    assert!(entry.key.starts_with(PREFIX));
                    known.insert(entry.key, entry.value);
                }
                Change::Delete { key, .. } => {
                    assert!(known.remove(&key).is_some() || key.starts_with(PREFIX));
                }
            }
        }
    }
    let now = writer.await.unwrap();
    let wanted: BTreeMap<String, String> =
        now.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    assert_eq!(known, wanted);
    assert_eq!(last, now.revision);
}

pub(crate) async fn a_watch_never_goes_quiet(pair: Pair) {
    let listing = pair.one.list(PREFIX).await.unwrap();
    let mut watch = pair.one.watch(PREFIX, listing.revision.next()).await.unwrap();
    let until = Instant::now() + WATCH_HEARTBEAT * 2;
    while Instant::now() < until {
        // The rest of the second is for a loaded machine.
        let limit = WATCH_HEARTBEAT + Duration::from_millis(900);
        let batch = timeout(limit, watch.next()).await.expect("the watch is quiet").unwrap().unwrap();
        assert_eq!(batch, Vec::new());
    }
}

pub(crate) async fn registered_nodes_are_seen_and_expire(pair: Pair) {
    let (one, two) = (registry(&pair.one), registry(&pair.two));
    let (a, b) = (NodeId(0xa), NodeId(0xb));
    let first = one.register(a, &node("a")).unwrap();
    let second = two.register(b, &node("b")).unwrap();
    for registry in [&one, &two] {
        let (view, _) = see(registry, "both nodes", SOON, |view| view.nodes.len() == 2).await;
        assert_eq!(view.nodes[&a], node("a"));
        assert!(view.connected && view.layout.is_none());
    }
    second.deregister().await;
    let (_, after) = see(&one, "b left", SOON, |view| !view.nodes.contains_key(&b)).await;
    assert!(after < Duration::from_secs(1), "leaving took {after:?}");
    // Longer than a lease: it is kept alive.
    sleep(Duration::from_secs(3)).await;
    assert!(two.view().borrow().nodes.contains_key(&a));
    drop(first);
    see(&two, "a expired", Duration::from_secs(10), |view| view.nodes.is_empty()).await;
}

pub(crate) async fn a_lost_registration_comes_back(pair: Pair) {
    let (one, two) = (registry(&pair.one), registry(&pair.two));
    let id = NodeId(0xa);
    let key = Keys::new(CLUSTER).unwrap().node(id);
    let registration = one.register(id, &node("a")).unwrap();
    see(&two, "registered", SOON, |view| view.nodes.contains_key(&id)).await;
    let lease = pair.two.get(&key).await.unwrap().unwrap().lease.unwrap();
    pair.two.revoke_lease(lease).await.unwrap();
    see(&two, "gone", SOON, |view| !view.nodes.contains_key(&id)).await;
    see(&two, "registered after a lost lease", SOON, |view| view.nodes.contains_key(&id)).await;
    pair.two.put(&key, "{}", None).await.unwrap();
    see(&two, "spoilt", SOON, |view| !view.nodes.contains_key(&id)).await;
    see(&two, "registered after it was spoilt", SOON, |view| view.nodes.contains_key(&id)).await;
    registration.deregister().await;
    assert_eq!(pair.two.get(&key).await.unwrap(), None);
}

pub(crate) async fn who_knows_a_layout_registers_where_there_is_one(pair: Pair) {
    let (one, two) = (registry(&pair.one), registry(&pair.two));
    let key = Keys::new(CLUSTER).unwrap().node(NodeId(0xa));
    let registration = one.register(NodeId(0xa), &node("a")).unwrap();
    see(&two, "the new node", SOON, |view| view.nodes.len() == 1).await;
    // It learns a layout, and the registry loses everything.
    one.on_layout_known();
    let lease = pair.two.get(&key).await.unwrap().unwrap().lease.unwrap();
    pair.two.revoke_lease(lease).await.unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert_eq!(pair.two.get(&key).await.unwrap(), None, "it registered next to no layout");
        sleep(Duration::from_millis(100)).await;
    }
    created(&two, &layout(1, "a")).await;
    see(&two, "the node", SOON, |view| view.nodes.len() == 1).await;
    registration.deregister().await;
}

pub(crate) async fn one_of_many_creators_wins(pair: Pair) {
    let (one, two) = (registry(&pair.one), registry(&pair.two));
    assert_eq!(one.layout().await, Ok(None));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let registry = if n % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move { registry.create_layout(&layout(1, &format!("zone{n}"))).await })
        })
        .collect();
    let mut winners = Vec::new();
    let mut seen = Vec::new();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap().unwrap() {
            LayoutWrite::Done(revision) => winners.push((layout(1, &format!("zone{n}")), revision)),
            LayoutWrite::Conflict(now) => seen.push(now.unwrap()),
        }
    }
    assert_eq!((winners.len(), seen.len()), (1, 7));
    let (won, revision) = winners.remove(0);
    assert!(seen.iter().all(|(layout, at)| **layout == won && *at == revision));
    for registry in [&one, &two] {
        let (view, _) = see(registry, "the layout", SOON, |view| view.layout.is_some()).await;
        assert_eq!(view.layout, Some((Arc::new(won.clone()), revision)));
    }
}

pub(crate) async fn no_increment_is_lost(pair: Pair) {
    let (one, two) = (registry(&pair.one), registry(&pair.two));
    created(&one, &layout(1, "a")).await;
    let count = |registry: Registry| async move {
        for _ in 0..12 {
            loop {
                let (now, revision) = registry.layout().await.unwrap().unwrap();
                let next = layout(now.version + 1, "a");
                if let LayoutWrite::Done(_) = registry.replace_layout(revision, &next).await.unwrap() {
                    break;
                }
            }
        }
    };
    tokio::join!(count(one.clone()), count(two.clone()), count(one.clone()));
    assert_eq!(two.layout().await.unwrap().unwrap().0.version, 37);
    see(&one, "the last layout", SOON, |view| view.layout.as_ref().is_some_and(|(l, _)| l.version == 37))
        .await;
}

pub(crate) async fn a_lost_answer_is_settled(pair: Pair) {
    let faults = Arc::new(Faults::default());
    let faulty: Arc<dyn RegistryStore> = Arc::new(Faulty { inner: pair.one.clone(), faults: faults.clone() });
    let (one, two) = (registry(&faulty), registry(&pair.two));
    // Made, but nobody said so.
    faults.swap_answers_lost.store(1, Ordering::SeqCst);
    let first = created(&one, &layout(1, "a")).await;
    assert_eq!(two.layout().await.unwrap().unwrap().1, first);
    // Never arrived, twice.
    faults.swaps_lost.store(2, Ordering::SeqCst);
    let LayoutWrite::Done(second) = one.replace_layout(first, &layout(2, "a")).await.unwrap() else {
        panic!()
    };
    assert_eq!(two.layout().await.unwrap(), Some((Arc::new(layout(2, "a")), second)));
    // Somebody else's was made meanwhile.
    faults.swaps_lost.store(1, Ordering::SeqCst);
    let LayoutWrite::Done(third) = two.replace_layout(second, &layout(3, "b")).await.unwrap() else {
        panic!()
    };
    let lost = one.replace_layout(second, &layout(3, "a")).await.unwrap();
    assert_eq!(lost, LayoutWrite::Conflict(Some((Arc::new(layout(3, "b")), third))));
    assert_eq!(two.layout().await.unwrap().unwrap().1, third);
}

pub(crate) async fn a_bad_layout_leaves_the_last_good_one_in_force(pair: Pair) {
    let registry = registry(&pair.one);
    let key = Keys::new(CLUSTER).unwrap().layout();
    let version = |view: &Arc<RegistryView>| view.layout.as_ref().map(|(layout, _)| layout.version);
    created(&registry, &layout(5, "a")).await;
    see(&registry, "version 5", SOON, |view| version(view) == Some(5)).await;
    let id = NodeId(0xa);
    let older = encode_layout(&layout(4, "a")).unwrap();
    let twin = encode_layout(&layout(5, "other")).unwrap();
    for bad in ["{}".to_string(), "no JSON".into(), older, twin] {
        pair.two.put(&key, &bad, None).await.unwrap();
        // A change that comes later is seen, so the bad one was too.
        let registration = registry.register(id, &node("a")).unwrap();
        let (view, _) = see(&registry, "the node", SOON, |view| view.nodes.contains_key(&id)).await;
        assert_eq!(version(&view), Some(5));
        registration.deregister().await;
        see(&registry, "no node", SOON, |view| view.nodes.is_empty()).await;
    }
    assert!(registry.replace_layout(Revision(1), &layout(0, "a")).await.is_err());
    pair.two.put(&key, &encode_layout(&layout(6, "b")).unwrap(), None).await.unwrap();
    see(&registry, "version 6", SOON, |view| version(view) == Some(6)).await;
}

/// As after a restart of the registry, when the connection from before ends with the first call on it.
pub(crate) async fn a_lost_revocation_is_sent_again(pair: Pair) {
    let faults = Arc::new(Faults::default());
    let faulty: Arc<dyn RegistryStore> = Arc::new(Faulty { inner: pair.one.clone(), faults: faults.clone() });
    let patient = RegistryTiming { lease_ttl: Duration::from_secs(60), ..timing() };
    let one = Registry::start(faulty, CLUSTER, patient).unwrap();
    let two = registry(&pair.two);
    let id = NodeId(0xa);
    let registration = one.register(id, &node("a")).unwrap();
    see(&two, "the node", SOON, |view| view.nodes.contains_key(&id)).await;
    faults.revocations_lost.store(1, Ordering::SeqCst);
    registration.deregister().await;
    see(&two, "no node", SOON, |view| view.nodes.is_empty()).await;
}

pub(crate) async fn what_watches_miss_is_found(pair: Pair) {
    let faults = Arc::new(Faults::default());
    let faulty: Arc<dyn RegistryStore> = Arc::new(Faulty { inner: pair.one.clone(), faults: faults.clone() });
    let patient = RegistryTiming { resync: Duration::from_secs(2), ..timing() };
    let one = Registry::start(faulty, CLUSTER, patient).unwrap();
    let two = registry(&pair.two);
    let id = NodeId(0xa);
    // Deletions that a watch never tells are found by listing again.
    let registration = two.register(id, &node("a")).unwrap();
    see(&one, "the node", SOON, |view| view.nodes.contains_key(&id)).await;
    faults.deletions_lost.store(true, Ordering::SeqCst);
    registration.deregister().await;
    see(&one, "the lost deletion", SOON, |view| view.nodes.is_empty()).await;
    // Watches that break are taken up again, and that is no outage.
    let opened = faults.watches.load(Ordering::SeqCst);
    faults.watches_ended.store(3, Ordering::SeqCst);
    let mut views = one.view();
    let watching = tokio::spawn(async move {
        while views.changed().await.is_ok() {
            assert!(views.borrow().connected, "a broken watch was taken for an outage");
        }
    });
    let registration = two.register(id, &node("b")).unwrap();
    see(&one, "the node", SOON, |view| view.nodes.contains_key(&id)).await;
    let deadline = Instant::now() + SOON;
    while faults.watches.load(Ordering::SeqCst) < opened + 3 {
        assert!(Instant::now() < deadline, "the watch was not opened again");
        sleep(Duration::from_millis(20)).await;
    }
    registration.deregister().await;
    drop(one);
    watching.await.unwrap();
}

pub(crate) async fn a_hung_registry_is_noticed_and_nobody_removed(pair: Pair) {
    let faults = Arc::new(Faults::default());
    let faulty: Arc<dyn RegistryStore> = Arc::new(Faulty { inner: pair.one.clone(), faults: faults.clone() });
    let (one, two) = (registry(&faulty), registry(&pair.two));
    let (a, b) = (NodeId(0xa), NodeId(0xb));
    let first = one.register(a, &node("a")).unwrap();
    let second = two.register(b, &node("b")).unwrap();
    created(&two, &layout(1, "a")).await;
    see(&one, "all", SOON, |view| view.nodes.len() == 2 && view.layout.is_some()).await;
    let before = one.view().borrow().clone();
    faults.hung.store(true, Ordering::SeqCst);
    let (view, _) = see(&one, "the outage", Duration::from_secs(6), |view| !view.connected).await;
    assert_eq!((&view.nodes, &view.layout), (&before.nodes, &before.layout));
    // Meanwhile the lease of the one that hangs runs out, and the other one leaves for good.
    see(&two, "a expired", Duration::from_secs(10), |view| !view.nodes.contains_key(&a)).await;
    second.deregister().await;
    assert_eq!(one.view().borrow().nodes.len(), 2);
    faults.hung.store(false, Ordering::SeqCst);
    see(&one, "the end of the outage", SOON, |view| view.connected).await;
    assert!(one.view().borrow().nodes.contains_key(&a), "a node was dropped at once after an outage");
    see(&two, "a registered again", SOON, |view| view.nodes.contains_key(&a)).await;
    see(&one, "b gone after the grace", SOON, |view| !view.nodes.contains_key(&b)).await;
    assert!(one.view().borrow().nodes.contains_key(&a));
    first.deregister().await;
}
