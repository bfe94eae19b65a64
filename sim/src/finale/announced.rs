//! Nodes that say that they go: SIGTERM, and what the registry and the others make of it.

use std::time::Duration;

use holdfast::ClusterStatus;
use node::registry::RegistryTiming;
use tokio::time::sleep;

use super::{KILLED_WITHIN, PATIENCE, Stage, not_prompt};
use crate::registry::RegistryFault;
use crate::run::Failure;
use crate::workload::key_name;
use crate::world::{World, zone_of};

/// Operations begin within this time, and the node is asked in the middle of it.
const LOAD: Duration = Duration::from_millis(40);
/// How soon a node sees what the registry says.
const SEEN_WITHIN: Duration = Duration::from_millis(1_500);
/// Watches that were ended have been begun again.
const SETTLED: Duration = Duration::from_millis(500);
/// A node that is asked to stop ends within its grace and this.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
/// A node that is back takes part after this.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// A registry that was away is believed after a lease's time, and this.
const BELIEVED_AFTER: Duration = Duration::from_secs(1);

/// What is wrong with the watches by which nodes see the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// All of them end.
    Closed,
    /// And what the next ones would begin with is forgotten.
    Compacted,
    /// They are not told, and go on.
    Deaf,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Nothing, Self::Closed, Self::Compacted, Self::Deaf];

    fn before(self, world: &mut World) {
        let forgets = RegistryFault::CompactOften { percent: 100 };
        let registry = world.registry();
        match self {
            Self::Nothing => return,
            Self::Closed => registry.lock().begin(RegistryFault::CloseWatches),
            Self::Compacted => {
                registry.lock().begin(forgets);
                registry.lock().begin(RegistryFault::CloseWatches);
            }
            Self::Deaf => registry.lock().begin(RegistryFault::LoseEvents { percent: 100 }),
        }
        world.run_for(SETTLED);
        registry.lock().end(forgets);
        world.run_for(SETTLED);
    }

    fn after(self, world: &World) {
        world.registry().lock().end(RegistryFault::LoseEvents { percent: 100 });
    }

    /// How soon nodes see a change all the same.
    fn within(self) -> Duration {
        let listed_again = if self == Self::Deaf { RegistryTiming::default().resync } else { Duration::ZERO };
        SEEN_WITHIN + listed_again
    }
}

impl Stage<'_> {
    /// The others see that it is not registered any more; and, when it is started again, that it is.
    pub(super) fn stopped(mut self) -> Result<(), Failure> {
        let (node, trouble) = (self.node(), self.random.pick(&Trouble::ALL));
        // For the time of a lease after it was lost itself, the registry is not believed that a node is gone; and that it
        // was lost is noticed after a silence, perhaps.
        let lease = Duration::from_millis(self.plan.lease_ttl_ms);
        self.world.run_for(lease + RegistryTiming::default().silence + BELIEVED_AFTER);
        trouble.before(self.world);
        let load = self.some_load(LOAD);
        self.world.run_for(LOAD / 2);
        // Its end is wanted.
        self.world.supervise(false);
        self.world.ask_to_stop(&node);
        let within = KILLED_WITHIN + self.messages_under_some_load();
        self.ended(load, LOAD, within, &format!("after {node} is asked to stop in a healthy cluster"))?;
        let world = self.world;
        let limit = world.now() + Duration::from_millis(self.plan.stop_grace_ms) + STOPPED_WITHIN;
        while world.is_running(&node) && world.now() < limit {
            world.drive(limit);
        }
        if world.is_running(&node) {
            return not_prompt(format!("{node} does not end although it is asked to stop"));
        }
        all_see(world, &node, false, trouble.within())?;
        trouble.after(world);
        world.supervise(true);
        world.restart(&node);
        all_see(world, &node, true, SEEN_WITHIN)
    }

    /// A machine loses its power while its node stops, and is back at once; then another node is killed for good: nobody
    /// may go on taking the first one for one that is about to leave.
    pub(super) fn stop_cut_short(mut self) -> Result<(), Failure> {
        // Both keep the same key, so that it needs them.
        let mut replicas = self.world.usual_leaders(&key_name(0));
        if replicas.len() < 3 {
            return Ok(());
        }
        let mut one = || replicas.swap_remove(self.random.index(replicas.len()));
        let (node, other, third) = (one(), one(), one());
        self.world.supervise(false);
        self.world.ask_to_stop(&node);
        // The others have heard it, mostly.
        let after = self.plan.latency_ms + self.plan.jitter_ms / 2 + self.random.below(20);
        self.world.run_for(Duration::from_millis(after));
        self.world.power_loss(&node);
        self.world.restart(&node);
        self.world.kill(&other);
        let mut load = self.some_load(LOAD);
        // Whoever is not told by its client of another way has to find the first one again itself.
        let client = self.random.pick(&self.plan.client_names());
        load.push(self.one_put(&client, &key_name(0), &third, PATIENCE));
        let within = BACK_WITHIN + self.messages_under_some_load();
        let although =
            format!("after {node} lost its power while it stopped and is back, and {other} is killed");
        self.ended(load, LOAD, within, &although)?;
        self.world.supervise(true);
        self.world.restart(&other);
        Ok(())
    }
}

fn all_see(world: &mut World, node: &str, registered: bool, within: Duration) -> Result<(), Failure> {
    let others: Vec<_> = world.nodes().into_iter().filter(|other| other != node).collect();
    let zone = zone_of(node);
    let job = world.spawn("c0", move |client| async move {
        let sees = |status: ClusterStatus| {
            status.nodes.iter().any(|node| node.zone == zone && node.registered) == registered
        };
        for other in &others {
            while !client.status_of(other).await.is_ok_and(sees) {
                sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let limit = world.now() + within;
    while !job.is_done() && world.now() < limit {
        world.drive(limit);
    }
    if job.is_done() {
        return Ok(());
    }
    let (not, ms) = (if registered { "" } else { "not " }, within.as_millis());
    not_prompt(format!("some node does not see within {ms} ms that {node} is {not}registered"))
}
