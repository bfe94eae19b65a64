//! The contract on a real etcd, and what can happen to an etcd only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::Client;
use holdfast_core::ids::NodeId;
use node::registry::etcd::{EtcdConfig, EtcdStore, EtcdTls, EtcdUser};
use node::registry::store::{RegistryStore, Revision, StoreError};
use node::registry::{LayoutWrite, Registry, RegistryError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
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
async fn a_compaction_during_watches() {
    let (etcd, pair) = start().await;
    let mut etcdctl = Client::connect([etcd.url()], None).await.unwrap();
    let compact = async |revision: Revision| {
        etcdctl.compact(i64::try_from(revision.0).unwrap(), None).await.unwrap();
    };
    crate::suite::a_compaction_during_watches(pair, compact).await;
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

/// Passes everything on to `target`, until it is told to hold everything back. Answers its own address.
async fn passage(target: String, hung: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&target).await else { continue };
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(pass(near_read, far_write, hung.clone()));
            tokio::spawn(pass(far_read, near_write, hung.clone()));
        }
    });
    address
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hung: Arc<AtomicBool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        while hung.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_left_without_an_outage() {
    let etcd = running().await;
    let hung = Arc::new(AtomicBool::new(false));
    let target = etcd.url().trim_start_matches("http://").to_string();
    let endpoints = format!("http://{},{}", passage(target, hung.clone()).await, etcd.url());
    let store: Arc<dyn RegistryStore> = Arc::new(EtcdStore::new(EtcdConfig::new(&endpoints)).unwrap());
    let registry = registry(&store);
    let LayoutWrite::Done(revision) = registry.create_layout(&layout(1, "a")).await.unwrap() else {
        panic!()
    };
    see(&registry, "the layout", SOON, |view| view.connected && view.layout.is_some()).await;
    let mut views = registry.view();
    let never_away = tokio::spawn(async move {
        loop {
            assert!(views.borrow_and_update().connected, "a member's hanging was an outage");
            if views.changed().await.is_err() {
                break;
            }
        }
    });
    hung.store(true, Ordering::SeqCst);
    // Registering asks the hung member first, and the watch is on it.
    let registration = registry.register(A, &node("a")).unwrap();
    let (_, took) = see(&registry, "the node", SOON, |view| view.nodes.contains_key(&A)).await;
    println!("a hung member was left after {took:?}");
    works(&registry, &etcd, revision).await;
    registration.deregister().await;
    drop(registry);
    never_away.await.unwrap();
}

/// A CA, and what it signs for `name`: certificate and key, in PEM.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
        use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        params.extended_key_usages = vec![ServerAuth, ClientAuth];
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// An etcd that takes only clients with a certificate of `authority`.
fn secure_etcd(authority: &Authority) -> Etcd {
    let etcd = Etcd::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    let write = |name: &str, pem: &str| {
        let path = etcd.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_string()
    };
    let extra = [
        ("--trusted-ca-file", write("ca.pem", &authority.pem())),
        ("--cert-file", write("cert.pem", &certificate)),
        ("--key-file", write("key.pem", &key)),
    ];
    let mut extra: Vec<String> =
        extra.into_iter().flat_map(|(flag, path)| [flag.to_string(), path]).collect();
    extra.push("--client-cert-auth".into());
    etcd.secure(extra)
}

/// Makes a user `node` that may do only what the cluster's prefix needs, and asks for users from then on.
async fn ask_for_users(etcd: &Etcd, tls: &EtcdTls) {
    let (certificate, key) = tls.identity.clone().unwrap();
    let certificates = etcd_client::TlsOptions::new()
        .ca_certificate(etcd_client::Certificate::from_pem(&tls.ca))
        .identity(etcd_client::Identity::from_pem(certificate, key));
    let options = etcd_client::ConnectOptions::new().with_tls(certificates);
    let mut client = Client::connect([etcd.url()], Some(options)).await.unwrap();
    client.user_add("root", "rooted", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("node").await.unwrap();
    let prefix = etcd_client::Permission::read_write(format!("/holdfast/{CLUSTER}/")).with_prefix();
    client.role_grant_permission("node", prefix).await.unwrap();
    client.user_add("node", "secret", None).await.unwrap();
    client.user_grant_role("node", "node").await.unwrap();
    client.auth_enable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_users() {
    let authority = Authority::new();
    let mut etcd = secure_etcd(&authority);
    etcd.start();
    let (certificate, key) = authority.sign("node");
    let identity = Some((certificate.into_bytes(), key.into_bytes()));
    let tls = EtcdTls { ca: authority.pem().into_bytes(), identity };
    let open = |tls: &EtcdTls, password: Option<&str>| -> Arc<dyn RegistryStore> {
        let user = password.map(|password| EtcdUser { name: "node".into(), password: password.into() });
        let config = EtcdConfig { tls: Some(tls.clone()), user, ..EtcdConfig::new(&etcd.url()) };
        Arc::new(EtcdStore::new(config).unwrap())
    };
    let store = open(&tls, Some("secret"));
    let refused = |answer: Result<_, StoreError>| match answer {
        Err(StoreError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    etcd.answers(&open(&tls, None)).await;
    ask_for_users(&etcd, &tls).await;
    let prefix = format!("/holdfast/{CLUSTER}/");
    // Who is nobody, gives a wrong password or reaches too far is told so.
    let nobody = refused(open(&tls, None).list(&prefix).await);
    assert!(nobody.contains("permission denied"), "{nobody}");
    let wrong = refused(open(&tls, Some("guess")).list(&prefix).await);
    assert!(wrong.contains("invalid user ID or password"), "{wrong}");
    let too_far = refused(store.list("/").await);
    assert!(too_far.contains("permission denied"), "{too_far}");
    let stranger = EtcdTls { ca: Authority::new().pem().into_bytes(), identity: tls.identity.clone() };
    let untrusted = open(&stranger, Some("secret")).list(&prefix).await;
    assert!(
        matches!(&untrusted, Err(StoreError::Unreachable(why)) if why.contains("certificate")),
        "{untrusted:?}"
    );

    let one = registry(&store);
    let registration = one.register(A, &node("a")).unwrap();
    let LayoutWrite::Done(revision) = one.create_layout(&layout(1, "a")).await.unwrap() else { panic!() };
    see(&one, "node and layout", SOON, |view| view.nodes.len() == 1 && view.layout.is_some()).await;
    // A restart forgets every token.
    etcd.kill();
    see(&one, "the outage", SOON, |view| !view.connected).await;
    etcd.start();
    see(&one, "the end of the outage", Duration::from_secs(20), |view| view.connected).await;
    let next = one.replace_layout(revision, &layout(2, "a")).await.unwrap();
    assert!(matches!(next, LayoutWrite::Done(_)), "{next:?}");
    registration.deregister().await;
    see(&one, "deregistered", Duration::from_secs(6), |view| view.nodes.is_empty()).await;
}
