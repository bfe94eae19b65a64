//! What was acknowledged is there: after a killed process, after power loss, of one node or of all.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use holdfast::Condition;
use sim::client::SimClient;
use sim::{World, WorldOptions, scenario};
use tokio::time::sleep;

/// Writes for ever; answers nothing, the history has it.
async fn writes(client: SimClient) {
    for number in 0.. {
        let key = format!("{}-{}", client.name(), number % 30);
        // What fails while nodes are down is in the history as well.
        let _ = client.put(&key, Condition::Always, 200).await;
        sleep(Duration::from_millis(15)).await;
    }
}

/// After every node was down and is back, all that was acknowledged is read through each of them.
fn all_is_there(world: &mut World) {
    world.wait_whole();
    let mut acknowledged: Vec<String> = Vec::new();
    for op in world.history().ops() {
        if matches!(op.seen, sim::history::Seen::Wrote(_)) && !acknowledged.contains(&op.key) {
            acknowledged.push(op.key);
        }
    }
    assert!(acknowledged.len() > 20, "only {} keys were written", acknowledged.len());
    let nodes = world.nodes();
    world.call("c0", move |client| async move {
        for node in nodes {
            let through = client.only(&node);
            for key in &acknowledged {
                assert!(client.get_through(&through, key).await.unwrap().is_some(), "{key} through {node}");
            }
        }
    });
}

fn under_load(world: &mut World) {
    world.wait_whole();
    for client in world.clients() {
        world.spawn(&client, writes);
    }
    world.run_for(Duration::from_millis(1000));
}

fn two_clients() -> WorldOptions {
    WorldOptions { clients: 2, ..WorldOptions::default() }
}

scenario!(one_node_is_killed_and_restarted, two_clients(), |world| {
    under_load(world);
    world.kill("n1");
    world.run_for(Duration::from_secs(1));
    world.restart("n1");
    world.run_for(Duration::from_millis(500));
    all_is_there(world);
});

scenario!(all_nodes_are_killed_at_once, two_clients(), |world| {
    under_load(world);
    for node in world.nodes() {
        world.kill(&node);
    }
    world.run_for(Duration::from_millis(200));
    for node in world.nodes() {
        world.restart(&node);
    }
    all_is_there(world);
});

scenario!(all_nodes_lose_power_at_once_three_times, two_clients(), |world| {
    under_load(world);
    for _ in 0..3 {
        for node in world.nodes() {
            world.power_loss(&node);
        }
        world.run_for(Duration::from_millis(300));
        for node in world.nodes() {
            world.restart(&node);
        }
        world.run_for(Duration::from_secs(1));
    }
    all_is_there(world);
});

scenario!(nodes_lose_power_one_after_the_other, two_clients(), |world| {
    under_load(world);
    for node in world.nodes() {
        world.power_loss(&node);
        world.run_for(Duration::from_millis(700));
        world.restart(&node);
        world.wait_whole();
    }
    all_is_there(world);
});
