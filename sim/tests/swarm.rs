//! Random operations under random faults: whatever happens, what clients saw is linearizable, and after the faults every
//! client succeeds again.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use holdfast::Condition;
use sim::faults::Plan;
use sim::trace::Trace;
use sim::workload::{Workload, keys};
use sim::{World, WorldOptions, isolate};
use tokio::time::timeout;

/// Seeds of one `cargo test`.
const SEEDS: u64 = 24;
/// So many of them run twice, and their traces are compared.
const COMPARED: u64 = 4;
/// Each client has this many answers, at the very least.
const SETTLED_MIN: usize = 10;
/// The time in which faults begin.
const FAULTS: Duration = Duration::from_secs(6);
/// After the faults every client succeeds within this time.
const RECOVERY: Duration = Duration::from_secs(10);

#[test]
fn random_operations_under_random_faults() {
    isolate::sweep(
        concat!(module_path!(), "::random_operations_under_random_faults"),
        0..SEEDS,
        COMPARED,
        seed,
    );
}

fn seed(seed: u64, trace: Trace) {
    let mut random = sim::Random::new(seed, "swarm");
    let ms = Duration::from_millis;
    let tick = ms(random.pick(&[1, 1, 2, 5]));
    let options = WorldOptions {
        nodes: random.pick(&[3, 3, 3, 4, 5]),
        clients: random.pick(&[1, 2, 3, 3]),
        tick,
        latency: (tick, tick + ms(random.pick(&[0, 1, 5, 30]))),
        lease_ttl: ms(random.pick(&[2_000, 10_000])),
    };
    let latency = options.latency.0;
    let mut world = World::new(seed, &options, trace);
    world.wait_whole();
    let (nodes, clients) = (world.nodes(), world.clients());
    let workload = Workload { keys: keys("key", 1 + random.index(4)), time: FAULTS, ops_max: 60 };
    world.plan(Plan::random(random.fork("plan"), FAULTS, &nodes, &clients, latency));
    let jobs: Vec<_> = clients
        .iter()
        .map(|client| {
            let workload = workload.clone();
            world.spawn(client, move |client| workload.run(client))
        })
        .collect();
    world.run_for(FAULTS);
    while !world.plan_is_over() {
        world.step();
    }
    world.heal_all(latency);
    recovered(&mut world, &workload.keys);
    for job in jobs {
        world.wait(job);
    }
    world.wait_whole();
    read_everywhere(&mut world, &workload.keys);
    let (settled, wanted) = (world.history().settled(), SETTLED_MIN * clients.len());
    assert!(settled >= wanted, "only {settled} operations had an answer: nothing was tested");
    world.finish();
}

/// Every client writes and reads again, soon.
fn recovered(world: &mut World, keys: &[String]) {
    for client in world.clients() {
        let keys = keys.to_vec();
        world.call(&client, move |client| async move {
            let again = async {
                while client.put(&keys[0], Condition::Always, 0).await.is_err() {}
                while client.get(&keys[0]).await.is_err() {}
            };
            timeout(RECOVERY, again).await.expect("a client does not succeed after the faults are over");
        });
    }
}

/// Every key through every node, into the history, which is then checked as a whole.
fn read_everywhere(world: &mut World, keys: &[String]) {
    let (nodes, keys) = (world.nodes(), keys.to_vec());
    world.call("c0", move |client| async move {
        for node in nodes {
            let through = client.only(&node);
            for key in &keys {
                client.get_through(&through, key).await.unwrap();
            }
        }
        client.list("", &keys).await.unwrap();
    });
}
