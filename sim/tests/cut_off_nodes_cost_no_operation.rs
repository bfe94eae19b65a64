//! A node that is cut off, or a leader that is, costs clients of the others no failed operation.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use holdfast::Condition;
use sim::client::SimClient;
use sim::{World, WorldOptions, scenario};
use tokio::time::{Instant, sleep};

const S: Duration = Duration::from_secs(1);

/// Writes and reads until the time is over; every operation must succeed. Answers the keys, and the longest operation.
async fn busy(client: SimClient, time: Duration) -> (Vec<String>, Duration) {
    let (end, mut keys, mut longest) = (Instant::now() + time, Vec::new(), Duration::ZERO);
    while Instant::now() < end {
        let key = format!("{}-{}", client.name(), keys.len());
        let began = Instant::now();
        let version = client.put(&key, Condition::IfAbsent, 100).await.unwrap();
        longest = longest.max(began.elapsed());
        let began = Instant::now();
        assert_eq!(client.get(&key).await.unwrap().unwrap().0, version);
        longest = longest.max(began.elapsed());
        keys.push(key);
        sleep(Duration::from_millis(60)).await;
    }
    (keys, longest)
}

/// Every key through every node.
fn all_read_everywhere(world: &mut World, keys: Vec<String>) {
    let nodes = world.nodes();
    world.call("c0", move |client| async move {
        for node in nodes {
            let through = client.only(&node);
            for key in &keys {
                assert!(client.get_through(&through, key).await.unwrap().is_some(), "{key} through {node}");
            }
        }
    });
}

fn two_clients() -> WorldOptions {
    WorldOptions { clients: 2, ..WorldOptions::default() }
}

scenario!(a_node_cut_off_from_everything_and_back, two_clients(), |world| {
    world.wait_whole();
    let jobs = ["c0", "c1"].map(|client| world.spawn(client, |client| busy(client, 6 * S)));
    world.run_for(S);
    world.isolate("n2", &[]);
    world.run_for(4 * S);
    world.rejoin("n2");
    let mut keys = Vec::new();
    for job in jobs {
        let (written, longest) = world.wait(job);
        assert!(written.len() > 50, "only {} writes got through", written.len());
        assert!(longest < S, "an operation took {longest:?}");
        keys.extend(written);
    }
    world.wait_whole();
    all_read_everywhere(world, keys);
});

scenario!(nodes_cut_off_from_each_other_but_not_from_clients, two_clients(), |world| {
    world.wait_whole();
    let jobs = ["c0", "c1"].map(|client| world.spawn(client, |client| busy(client, 6 * S)));
    world.run_for(S);
    // Clients still reach it, and it must pass on what it cannot serve, or be avoided.
    world.isolate("n0", &["c0", "c1", "registry"]);
    world.run_for(4 * S);
    world.rejoin("n0");
    let mut keys = Vec::new();
    for job in jobs {
        keys.extend(world.wait(job).0);
    }
    world.wait_whole();
    all_read_everywhere(world, keys);
});

scenario!(a_lagging_replica_catches_up_on_read, WorldOptions::default(), |world| {
    world.wait_whole();
    world.call("c0", |client| async move {
        client.put("key", Condition::Always, 10).await.unwrap();
    });
    world.isolate("n1", &[]);
    world.call("c0", |client| async move {
        for _ in 0..5 {
            client.put("key", Condition::Always, 10).await.unwrap();
        }
    });
    world.rejoin("n1");
    world.wait_whole();
    let last = world.call("c0", |client| async move {
        let last = client.get("key").await.unwrap().unwrap();
        for _ in 0..10 {
            let read = client.get_through(&client.only("n1"), "key").await.unwrap().unwrap();
            assert_eq!(read, last);
        }
        last
    });
    // Its own copy is the new one now: with another node gone it is half of every majority.
    world.kill("n0");
    let alone = world.call("c0", |client| async move {
        client.get_through(&client.only("n1"), "key").await.unwrap().unwrap()
    });
    assert_eq!(alone, last);
    world.restart("n0");
    world.wait_whole();
});
