//! etcd stops for a minute under load: nothing fails, a node restarts with the layout it stored, and when etcd is back
//! all nodes are registered again (bar: 5 s).

use std::time::{Duration, Instant};

use base64::Engine as _;
use holdfast::Client;
use holdfast_tests::cluster::{Cluster, READY_MAX, RegistryKind};
use holdfast_tests::http;

use crate::load::Load;
use crate::scale;
use crate::scene::{client_of, play, three_nodes, until};

const WORKERS: usize = 16;
/// The nodes' lease, by default.
const LEASE_TTL: Duration = Duration::from_secs(10);

#[test]
fn nothing_fails_while_etcd_is_away() {
    let mut cluster = three_nodes(RegistryKind::Etcd);
    play(async {
        let client = client_of(&cluster);
        let load = Load::start(&client, WORKERS, "etcd-away");
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.etcd.as_mut().expect("it has one").kill().unwrap();
        let away = Instant::now();
        let outage = scale::seconds(15, 60);
        // Longer than the lease: what is registered is forgotten, and must not matter.
        tokio::time::sleep(outage / 2).await;
        cluster.nodes[1].kill().unwrap();
        cluster.nodes[1].restart().unwrap();
        tokio::task::block_in_place(|| cluster.nodes[1].wait_ready(READY_MAX))
            .unwrap_or_else(|error| panic!("without etcd: {error}"));
        tokio::time::sleep(outage.saturating_sub(away.elapsed())).await;

        tokio::task::block_in_place(|| cluster.etcd.as_mut().expect("it has one").start()).unwrap();
        let took = until("all nodes are registered again", Duration::from_secs(30), || async {
            all_connected(&cluster).await && registered(&cluster) == 3
        })
        .await;
        println!(
            "etcd was away for {} s; all nodes were back {} ms after it",
            outage.as_secs(),
            took.as_millis()
        );
        // Registrations that nobody keeps alive would be gone by now.
        tokio::time::sleep(LEASE_TTL + Duration::from_secs(3)).await;
        assert_eq!(registered(&cluster), 3);

        let seen = load.finish().await;
        seen.print("etcd away, one node restarted meanwhile");
        seen.assert_flawless();
        seen.assert_kept(&client).await;
    });
}

/// Whether every node says that it has its registry.
async fn all_connected(cluster: &Cluster) -> bool {
    for url in cluster.urls() {
        let client = Client::connect([url]).expect("the address is valid");
        if !client.cluster_status().await.is_ok_and(|status| status.registry_connected) {
            return false;
        }
    }
    true
}

/// How many nodes etcd has, asked of etcd itself.
fn registered(cluster: &Cluster) -> u64 {
    let etcd = cluster.etcd.as_ref().expect("it has one");
    let prefix = "/holdfast/test/nodes/";
    let end = "/holdfast/test/nodes0";
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let body = serde_json::json!({ "key": encode(prefix), "range_end": encode(end), "count_only": true });
    let url = format!("{}/v3/kv/range", etcd.url());
    let answer = http::request("POST", &url, &[], body.to_string().as_bytes(), Duration::from_secs(2));
    let Ok(answer) = answer else { return 0 };
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    answer["count"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0)
}
