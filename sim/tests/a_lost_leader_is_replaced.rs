//! Whoever leads a key may be cut off or die at any moment: another replica takes over, without a pause to speak of.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use holdfast::{Condition, Version};
use sim::client::{BUCKET, SimClient};
use sim::{World, WorldOptions, scenario};
use tokio::time::Instant;

const KEY: &str = "the-key";

/// The node that leads the key: the first of its replicas, once the cluster is whole.
fn leader(world: &mut World) -> String {
    let nodes = world.nodes();
    world.call("c0", move |client| async move {
        client.put(KEY, Condition::Always, 0).await.unwrap();
        let head = client.raw().head(BUCKET, KEY).await.unwrap();
        for node in nodes {
            if client.status_of(&node).await.unwrap().node_id == head.replicas[0] {
                return node;
            }
        }
        panic!("the key's first replica is no node");
    })
}

async fn swaps(client: SimClient, count: usize) -> Duration {
    let mut version: Version = client.head(KEY).await.unwrap().unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        version = client.put(KEY, Condition::IfVersion(version), 50).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    longest
}

scenario!(a_leader_cut_off_from_everything, WorldOptions::default(), |world| {
    world.wait_whole();
    let leader = leader(world);
    world.isolate(&leader, &[]);
    let longest = world.call("c0", |client| swaps(client, 30));
    assert!(longest < Duration::from_millis(1500), "a write took {longest:?}");
    world.rejoin(&leader);
    world.wait_whole();
    world.call("c0", |client| swaps(client, 30));
});

scenario!(a_leader_that_only_clients_reach, WorldOptions::default(), |world| {
    world.wait_whole();
    let leader = leader(world);
    world.isolate(&leader, &["c0"]);
    world.call("c0", |client| swaps(client, 30));
    world.rejoin(&leader);
    world.wait_whole();
    world.call("c0", |client| swaps(client, 5));
});

scenario!(a_leader_killed_in_the_middle_of_writes, WorldOptions::default(), |world| {
    world.wait_whole();
    let leader = leader(world);
    let job = world.spawn("c0", |client| swaps(client, 200));
    world.run_for(Duration::from_millis(300));
    assert!(!job.is_done());
    world.kill(&leader);
    let longest = world.wait(job);
    assert!(longest < Duration::from_millis(1500), "a write took {longest:?}");
    world.restart(&leader);
    world.wait_whole();
});

scenario!(a_leader_stopped_by_its_operator, WorldOptions::default(), |world| {
    world.wait_whole();
    let leader = leader(world);
    let job = world.spawn("c0", |client| swaps(client, 400));
    world.run_for(Duration::from_millis(300));
    world.ask_to_stop(&leader);
    let longest = world.wait(job);
    assert!(longest < Duration::from_millis(1500), "a write took {longest:?}");
    world.run_for(Duration::from_secs(2));
    assert!(!world.is_running(&leader));
    world.restart(&leader);
    world.wait_whole();
});
