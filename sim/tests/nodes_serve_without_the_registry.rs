//! The registry may be away: nodes serve on, come up with the layout they stored, and register again when it is back.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use holdfast::Condition;
use sim::client::SimClient;
use sim::{World, WorldOptions, scenario};
use tokio::time::sleep;

const S: Duration = Duration::from_secs(1);

async fn no_operation_fails(client: SimClient, count: usize) {
    for number in 0..count {
        let key = format!("key-{}", number % 10);
        let version = client.put(&key, Condition::Always, 100).await.unwrap();
        assert_eq!(client.get(&key).await.unwrap().unwrap().0, version);
        sleep(Duration::from_millis(1000)).await;
    }
}

/// All nodes are registered within this time, as each of them sees it.
fn all_registered_within(world: &mut World, time: Duration) {
    let deadline = world.now() + time;
    let nodes = world.nodes();
    let job = world.spawn("c0", move |client| async move {
        for node in nodes.clone() {
            loop {
                let status = client.status_of(&node).await.unwrap();
                if status.registry_connected
                    && status.nodes.iter().filter(|node| node.registered).count() == 3
                {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    world.wait(job);
    assert!(world.now() <= deadline, "registered too late");
}

scenario!(the_registry_is_unreachable_for_a_minute, WorldOptions::default(), |world| {
    world.wait_whole();
    let job = world.spawn("c0", |client| no_operation_fails(client, 60));
    world.run_for(S);
    for node in world.nodes() {
        world.cut(&node, "registry");
    }
    world.run_for(20 * S);
    // A node that restarts meanwhile comes up with the layout it has stored.
    world.kill("n1");
    world.run_for(S);
    world.restart("n1");
    world.wait_whole();
    world.run_for(38 * S);
    for node in world.nodes() {
        world.heal(&node, "registry");
    }
    all_registered_within(world, 5 * S);
    world.wait(job);
});

scenario!(the_registry_is_down_then_has_lost_every_lease, WorldOptions::default(), |world| {
    world.wait_whole();
    let job = world.spawn("c0", |client| no_operation_fails(client, 8));
    world.stop_registry();
    world.run_for(5 * S);
    world.registry().lock().revoke_all();
    world.registry().lock().compact();
    world.start_registry();
    all_registered_within(world, 5 * S);
    world.wait(job);
});
