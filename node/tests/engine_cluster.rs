//! Three engines in one process, on loopback, with the real store, peers and embedded registry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::Code;
use holdfast_core::ids::{BucketName, ObjectName, OpId};
use holdfast_core::listing::Query;
use node::engine::{Engine, EngineParts, Mutation, NewObject, OutcomeAnswer};
use node::env::real;
use node::peer::serve_peers;
use node::registry::embedded::EmbeddedStore;
use node::registry::{NodeEntry, Registration, Registry, RegistryTiming};
use node::store::{Store, StoreOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

struct Member {
    engine: Engine,
    _registration: Registration,
    _folder: TempDir,
}

struct Cluster {
    members: Vec<Member>,
    _registry: TempDir,
}

async fn member(registry_folder: &TempDir, nodes: usize) -> Member {
    let folder = TempDir::new().unwrap();
    let env = real::env(folder.path().to_owned()).unwrap();
    let store = Store::open(&env, StoreOptions::new("test")).await.unwrap();
    let embedded = EmbeddedStore::open(registry_folder.path(), env.ambient.clone()).unwrap();
    let registry = Registry::start(Arc::new(embedded), "test", RegistryTiming::default()).unwrap();
    let listener = env.net.listen("127.0.0.1:0".to_owned()).await.unwrap();
    let entry = NodeEntry {
        client_url: "http://127.0.0.1:1".to_owned(),
        peer_address: listener.local_address().unwrap(),
        zone: folder.path().file_name().unwrap().to_str().unwrap().to_owned(),
        capacity: 1 << 30,
        software_version: "test".to_owned(),
        started_unix_ms: 0,
    };
    let id = store.node_id();
    let parts = EngineParts {
        env,
        cluster: "test".to_owned(),
        store,
        registry: registry.clone(),
        bootstrap_nodes: nodes,
        replication: u8::try_from(nodes).unwrap(),
    };
    let engine = Engine::start(parts).unwrap();
    let handler = Arc::new(engine.clone());
    tokio::spawn(serve_peers(listener, engine.identity(), handler, CancellationToken::new()));
    let registration = registry.register(id, &entry).unwrap();
    Member { engine, _registration: registration, _folder: folder }
}

async fn cluster(nodes: usize) -> Cluster {
    let registry = TempDir::new().unwrap();
    let mut members = Vec::new();
    for _ in 0..nodes {
        members.push(member(&registry, nodes).await);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    for member in &members {
        while member.engine.ready().is_err() || !whole(&member.engine).await {
            assert!(Instant::now() < deadline, "the cluster does not become ready");
            sleep(Duration::from_millis(20)).await;
        }
    }
    Cluster { members, _registry: registry }
}

async fn whole(engine: &Engine) -> bool {
    engine.status().await.partitions.is_some_and(|counts| counts.whole == counts.total)
}

fn object(body: &str) -> NewObject {
    NewObject {
        content_type: "text/plain".to_owned(),
        metadata: BTreeMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        hash: *blake3::hash(body.as_bytes()).as_bytes(),
    }
}

fn mutation(op: u128, condition: Condition) -> Mutation {
    Mutation { op: OpId(op), condition, retry: false }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_serves_every_verb() {
    let cluster = cluster(3).await;
    let [a, b, c] = [0, 1, 2].map(|at| &cluster.members[at].engine);
    for key in 0..30_u32 {
        let name = ObjectName::new("bucket", &format!("key-{key:02}")).unwrap();
        let op = 1000 + u128::from(key) * 10;
        let absent = mutation(op, Condition::IfAbsent);
        let first = a.put(name.clone(), absent, object("one"), soon()).await.unwrap();
        let read = b.get(name.clone(), soon()).await.unwrap();
        assert_eq!(read.version, first.version);
        assert_eq!(read.object().unwrap().body.as_deref(), Some(b"one".as_slice()));
        // The same op id again, elsewhere, even though the condition would fail now.
        let again = c.put(name.clone(), absent, object("one"), soon()).await.unwrap();
        assert_eq!(again.version, first.version);
        let other = mutation(op + 1, Condition::IfAbsent);
        let refused = b.put(name.clone(), other, object("two"), soon()).await.unwrap_err();
        assert_eq!(refused.code, Code::ConditionFailed(Some(first.version)));
        let swap = mutation(op + 2, Condition::IfVersion(first.version));
        let second = c.put(name.clone(), swap, object("three"), soon()).await.unwrap();
        assert!(second.version > first.version);
        assert_eq!(a.head(name.clone(), soon()).await.unwrap().version, second.version);
        let outcome = b.outcome(name.clone(), OpId(op), soon()).await.unwrap();
        assert_eq!(outcome, OutcomeAnswer::Committed(first.version));
        assert_eq!(c.outcome(name.clone(), OpId(op + 5), soon()).await.unwrap(), OutcomeAnswer::Fenced);
        let fenced = mutation(op + 5, Condition::Always);
        let refused = a.put(name.clone(), fenced, object("no"), soon()).await.unwrap_err();
        assert_eq!(refused.code, Code::Fenced);
        if key % 3 == 0 {
            let deleted = b.delete(name.clone(), mutation(op + 6, Condition::Always), soon()).await.unwrap();
            assert!(deleted.found && deleted.version > Some(second.version));
            let nothing = a.delete(name.clone(), mutation(op + 7, Condition::Always), soon()).await.unwrap();
            assert!(!nothing.found && nothing.version == deleted.version);
            let gone = c.get(name.clone(), soon()).await.unwrap_err();
            assert_eq!((gone.code, gone.tombstone.as_deref().copied()), (Code::NotFound, deleted.version));
            let swap = mutation(op + 8, Condition::IfVersion(second.version));
            let refused = a.put(name, swap, object("late"), soon()).await.unwrap_err();
            assert_eq!(
                (refused.code, refused.tombstone.as_deref().copied()),
                (Code::ConditionFailed(None), deleted.version)
            );
        }
    }
    let expected: Vec<_> = (0..30).filter(|key| key % 3 != 0).map(|key| format!("key-{key:02}")).collect();
    for engine in [a, b, c] {
        let query = Query::new(BucketName::new("bucket").unwrap(), "key-", None, None, 1000).unwrap();
        let listing = engine.list(query, soon()).await.unwrap();
        let keys: Vec<_> = listing.objects.iter().map(|(key, ..)| key.as_str().to_owned()).collect();
        assert_eq!(keys, expected);
    }
}
