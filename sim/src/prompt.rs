//! Promptness: on a healed cluster one more node goes, and clients hardly notice.
//!
//! Safety and liveness say that operations are right and that they end some time. Here they must end soon: as the product
//! promises for a node that is killed, hangs or is stopped, under load. And what the registry then says, every node must
//! see soon, not only when it lists everything again.

use std::time::Duration;

use holdfast::{ClusterStatus, Code, Condition, Error};
use node::registry::RegistryTiming;
use tokio::time::{Instant, sleep};

use crate::client::SimClient;
use crate::plan::Plan;
use crate::random::Random;
use crate::registry::RegistryFault;
use crate::run::Failure;
use crate::workload::keys;
use crate::world::{Job, World, zone_of};

/// Operations that each client has under way when the node goes.
const OPS: u64 = 6;
/// They begin within this time, the node goes in the middle of it.
const LOAD: Duration = Duration::from_millis(40);
/// How long an operation may take when a node is killed, and when one hangs; beside the time of its messages.
const KILLED_WITHIN: Duration = Duration::from_millis(300);
const FROZEN_WITHIN: Duration = Duration::from_secs(1);
/// Messages that follow one another in an operation that meets a node which is gone: it is passed on, another node takes
/// over, learns, proposes.
const MESSAGES: u32 = 14;
/// Clients with shorter deadlines are told of the deadline before: they do nothing here.
const TIMEOUT_MIN: Duration = Duration::from_secs(2);
/// How soon a node sees what the registry says.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// Watches that were ended have been begun again.
const SETTLED: Duration = Duration::from_millis(500);
/// A node that is asked to stop ends within its grace and this.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// One operation: what it was, how long it took, whether its end tells what became of it.
struct Took {
    what: String,
    time: Duration,
    result: Result<(), Error>,
}

/// The ways in which a node goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goes {
    Killed,
    Frozen,
    Stopped,
}

/// What is wrong with the watches by which nodes see it.
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

/// Has a node of a whole cluster go, or none, as the seed chooses.
pub(crate) fn check(world: &mut World, plan: &Plan, mut random: Random) -> Result<(), Failure> {
    let nodes = world.nodes();
    if nodes.len() < 3 || world.sound_nodes().len() < nodes.len() {
        return Ok(());
    }
    let goes = match random.below(6) {
        0 => Goes::Killed,
        1 => Goes::Frozen,
        2 | 3 => Goes::Stopped,
        _ => return Ok(()),
    };
    let node = random.pick(&nodes);
    let trouble = random.pick(&Trouble::ALL);
    if goes == Goes::Stopped {
        trouble.before(world);
    }
    let patient = Duration::from_millis(plan.timeout_ms) >= TIMEOUT_MIN;
    let jobs: Vec<_> = plan
        .client_names()
        .into_iter()
        .filter(|_| patient)
        .map(|client| {
            let (random, keys) = (random.fork(&client), plan.keys);
            (client.clone(), world.spawn(&client, move |client| load(client, keys, random)))
        })
        .collect();
    world.run_for(LOAD / 2);
    match goes {
        Goes::Killed => world.kill(&node),
        Goes::Frozen => world.freeze(&node),
        Goes::Stopped => {
            // Its end is wanted.
            world.supervise(false);
            world.ask_to_stop(&node);
        }
    }
    let (how, within) = match goes {
        Goes::Killed => ("is killed", KILLED_WITHIN),
        Goes::Frozen => ("hangs", FROZEN_WITHIN),
        Goes::Stopped => ("is asked to stop", KILLED_WITHIN),
    };
    let within = within + MESSAGES * Duration::from_millis(plan.latency_ms + plan.jitter_ms);
    let although = format!("after {node} {how} in a healthy cluster");
    ended(world, jobs, within, &although)?;
    match goes {
        Goes::Frozen => _ = world.thaw(&node),
        Goes::Killed => world.restart(&node),
        Goes::Stopped => seen(world, plan, &node, trouble)?,
    }
    Ok(())
}

/// Puts, reads, and puts that must be refused, all at about the same time.
async fn load(client: SimClient, keys_count: usize, random: Random) -> Vec<Took> {
    let keys = keys(keys_count);
    let one = |number: u64| {
        let (client, mut random) = (client.clone(), random.fork(&format!("operation {number}")));
        let key = random.pick(&keys);
        async move {
            sleep(Duration::from_millis(random.below(LOAD.as_millis() as u64))).await;
            let began = Instant::now();
            let (what, result) = match number % 3 {
                0 => ("put", client.put(&key, Condition::Always, 100).await.map(drop)),
                1 => ("read", client.get(&key).await.map(drop)),
                _ => ("put on condition", client.put(&key, Condition::IfAbsent, 100).await.map(drop)),
            };
            let result = match result {
                // Where so many others write the same key meanwhile, it does not remember this one.
                Err(error) if matches!(error.code(), Code::ConditionFailed(_) | Code::OutcomeUnknown) => {
                    Ok(())
                }
                result => result,
            };
            Took { what: format!("a {what} of {key} by {}", client.name()), time: began.elapsed(), result }
        }
    };
    futures_util::future::join_all((0..OPS).map(one)).await
}

fn ended(
    world: &mut World,
    jobs: Vec<(String, Job<Vec<Took>>)>,
    within: Duration,
    although: &str,
) -> Result<(), Failure> {
    let limit = world.now() + within + LOAD;
    while jobs.iter().any(|(_, job)| !job.is_done()) && world.now() < limit {
        world.drive(limit);
    }
    let ms = within.as_millis();
    for (client, job) in jobs {
        if !job.is_done() {
            let why = format!("an operation of {client} is not over {ms} ms {although}");
            return Err(Failure::new("not prompt", why));
        }
        for Took { what, time, result } in world.wait(job) {
            if let Err(error) = result {
                return Err(Failure::new("not prompt", format!("{what} fails {although}: {error}")));
            }
            if time > within {
                let why = format!("{what} takes {} ms, more than {ms} ms, {although}", time.as_millis());
                return Err(Failure::new("not prompt", why));
            }
        }
    }
    Ok(())
}

/// The other nodes see that the node is not registered any more; and, when it is started again, that it is.
fn seen(world: &mut World, plan: &Plan, node: &str, trouble: Trouble) -> Result<(), Failure> {
    let limit = world.now() + Duration::from_millis(plan.stop_grace_ms) + STOPPED_WITHIN;
    while world.is_running(node) && world.now() < limit {
        world.drive(limit);
    }
    if world.is_running(node) {
        return Err(Failure::new("not prompt", format!("{node} does not end although it is asked to stop")));
    }
    let others: Vec<String> = world.nodes().into_iter().filter(|other| other != node).collect();
    // For the time of a lease after it was lost itself, the registry is not believed that a node is gone.
    let grace = Duration::from_millis(plan.lease_ttl_ms);
    all_see(world, &others, node, false, grace + trouble.within())?;
    trouble.after(world);
    world.supervise(true);
    world.restart(node);
    all_see(world, &others, node, true, SEEN_WITHIN)
}

fn all_see(
    world: &mut World,
    others: &[String],
    node: &str,
    registered: bool,
    within: Duration,
) -> Result<(), Failure> {
    let (zone, others) = (zone_of(node), others.to_vec());
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
    let not = if registered { "" } else { "not " };
    let why = format!("some node does not see within {} s that {node} is {not}registered", within.as_secs());
    Err(Failure::new("not prompt", why))
}
