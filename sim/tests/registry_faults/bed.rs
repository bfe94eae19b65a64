//! A cluster under load whose registry misbehaves, and what must be true of it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast::Condition;
use sim::client::SimClient;
use sim::registry::RegistryFault;
use sim::{Job, World, WorldOptions};
use tokio::time::{sleep, timeout};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const LAYOUT: &str = "/holdfast/sim/layout";
pub(crate) const NODES: &str = "/holdfast/sim/nodes/";

/// Leases are short, so that they run out within a scenario.
pub(crate) fn short_leases() -> WorldOptions {
    WorldOptions { lease_ttl: 2 * S, ..WorldOptions::default() }
}

/// A client at work, and the layout that must be the same at the end.
pub(crate) struct Serving {
    stop: Arc<AtomicBool>,
    job: Job<u64>,
    layout: String,
}

/// Waits for a whole cluster and begins to use it.
pub(crate) fn serving(world: &mut World) -> Serving {
    world.wait_whole();
    all_registered_within(world, 5 * S);
    let layout = world.registry().lock().value(LAYOUT).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let job = world.spawn("c0", |client| no_operation_fails(client, asked));
    Serving { stop, job, layout }
}

async fn no_operation_fails(client: SimClient, stop: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("key-{}", count % 10);
        // The registry is on no operation's path: none is slower for it.
        let both = async {
            let version = client.put(&key, Condition::Always, 100).await.unwrap();
            assert_eq!(client.get(&key).await.unwrap().unwrap().0, version);
        };
        timeout(S, both).await.expect("an operation took a second");
        count += 1;
        sleep(S / 5).await;
    }
    count
}

impl Serving {
    /// The layout as it was in the registry at the beginning.
    pub(crate) fn layout(&self) -> &str {
        &self.layout
    }

    /// Everything is well again within this time, and no operation has failed.
    pub(crate) fn well_within(self, world: &mut World, time: Duration) {
        all_registered_within(world, time);
        world.run_for(3 * S);
        let now = world.registry().lock().value(LAYOUT);
        assert_eq!(now.as_deref(), Some(self.layout.as_str()), "the layout is another one");
        self.stop.store(true, Ordering::Relaxed);
        assert!(world.wait(self.job) >= 10, "nothing was tested");
    }
}

/// All nodes are registered within this time: in the registry, and as each of them sees it.
pub(crate) fn all_registered_within(world: &mut World, time: Duration) {
    let deadline = world.now() + time;
    let nodes = world.nodes();
    let count = nodes.len();
    while world.registry().lock().keys(NODES).len() < count {
        assert!(world.now() < deadline, "a node did not register again");
        world.step();
    }
    let job = world.spawn("c0", move |client| async move {
        for node in nodes {
            loop {
                let status = client.status_of(&node).await.unwrap();
                let registered = status.nodes.iter().filter(|node| node.registered).count();
                if status.registry_connected && registered == count {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    while !job.is_done() {
        assert!(world.now() < deadline, "not every node sees every registration");
        world.step();
    }
}

/// Lets a fault last for a time, under load. It must have bitten.
pub(crate) fn survives(
    world: &mut World,
    fault: RegistryFault,
    time: Duration,
    meanwhile: impl Fn(&mut World),
) {
    let serving = serving(world);
    world.registry().lock().begin(fault);
    let end = world.now() + time;
    while world.now() < end {
        meanwhile(world);
        world.run_for(S);
    }
    world.registry().lock().end(fault);
    bitten(world, fault);
    serving.well_within(world, 5 * S);
}

pub(crate) fn bitten(world: &World, fault: RegistryFault) {
    let fired = world.registry().lock().fired();
    assert!(fired.contains_key(fault.name()), "{fault} did not bite: {fired:?}");
}
