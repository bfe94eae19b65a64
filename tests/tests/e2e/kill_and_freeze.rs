//! A node that dies or hangs costs no failed operation (bar: longest gap 300 ms and 500 ms).
//!
//! 16 workers go on through clients that know all three nodes, while one node after the other is killed, or frozen
//! with its connections open.

use std::time::Duration;

use holdfast_tests::cluster::{Cluster, RegistryKind};

use crate::load::Load;
use crate::scale;
use crate::scene::{client_of, play, three_nodes};

const WORKERS: usize = 16;
/// Before the fault, so that connections and leaderships are settled.
const BEFORE: Duration = Duration::from_secs(2);

#[test]
fn a_killed_node_fails_nothing() {
    let mut cluster = three_nodes(RegistryKind::Etcd);
    play(async {
        for victim in 0..cluster.nodes.len() {
            let client = client_of(&cluster);
            let load = Load::start(&client, WORKERS, &format!("kill-{victim}"));
            tokio::time::sleep(BEFORE).await;
            cluster.nodes[victim].kill().unwrap();
            tokio::time::sleep(scale::seconds(4, 20)).await;
            cluster.nodes[victim].restart().unwrap();
            ready(&mut cluster);
            tokio::time::sleep(BEFORE).await;
            let seen = load.finish().await;
            seen.print(&format!("node {} killed and restarted", victim + 1));
            seen.assert_flawless();
            seen.assert_kept(&client).await;
        }
    });
}

#[test]
fn a_frozen_node_fails_nothing() {
    let cluster = three_nodes(RegistryKind::Etcd);
    play(async {
        for victim in 0..scale::choose(1, cluster.nodes.len()) {
            let client = client_of(&cluster);
            let load = Load::start(&client, WORKERS, &format!("freeze-{victim}"));
            tokio::time::sleep(BEFORE).await;
            cluster.nodes[victim].freeze().unwrap();
            tokio::time::sleep(scale::seconds(12, 20)).await;
            cluster.nodes[victim].thaw().unwrap();
            tokio::time::sleep(BEFORE).await;
            let seen = load.finish().await;
            seen.print(&format!("node {} frozen and thawed", victim + 1));
            seen.assert_flawless();
            seen.assert_kept(&client).await;
        }
    });
}

/// Waiting blocks its thread: the runtime must know.
fn ready(cluster: &mut Cluster) {
    tokio::task::block_in_place(|| cluster.wait_ready()).unwrap_or_else(|error| panic!("{error}"));
}
