//! The last act of a run: on the healed cluster one more thing happens, and clients hardly notice.
//!
//! Safety and liveness say that operations are right and that they end some time. Here they must end soon, as the product
//! promises for a node that is killed, hangs or is stopped in a healthy cluster under load; what the registry says, every
//! node must see soon, and not only when it lists everything again; and what reaches a node late, when everything has
//! changed meanwhile, must not take effect.

mod announced;
mod handover;
mod sudden;

use std::time::Duration;

use holdfast::{Code, Condition, Error};
use tokio::time::{Instant, sleep};

use crate::client::SimClient;
use crate::plan::Plan;
use crate::random::Random;
use crate::run::Failure;
use crate::workload::{key_name, keys};
use crate::world::{Job, World};

/// Operations that each client has under way.
const OPS: u64 = 6;
/// How long an operation may take when a node is killed, and when one hangs; beside the time of its messages.
const KILLED_WITHIN: Duration = Duration::from_millis(300);
const FROZEN_WITHIN: Duration = Duration::from_secs(1);
/// How long a put of a client of another make may take, where it has enough time.
const PATIENCE: Duration = Duration::from_secs(4);
/// What a page in a browser waits longer before it asks a second node.
const FAR_LONGER: Duration = Duration::from_secs(2);
/// Messages that follow one another in an operation that meets a node which is gone: it is passed on, another node takes
/// over, learns, proposes.
const MESSAGES: u32 = 14;
/// Clients with shorter deadlines are told of the deadline before: they do nothing here.
const TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// The last act, as the seed chooses; with a disk that has destroyed something there is none.
pub(crate) fn play(world: &mut World, plan: &Plan, mut random: Random) -> Result<(), Failure> {
    let nodes = world.nodes();
    if nodes.len() < 3 || world.sound_nodes().len() < nodes.len() {
        return Ok(());
    }
    let act = random.below(13);
    let stage = Stage { world, plan, random };
    match act {
        0 => stage.killed(),
        1 | 2 if !stage.is_patient() => stage.frozen_for_large_bodies(),
        1 | 2 => stage.frozen(),
        3 | 11 => stage.hung_while_nobody_answers(),
        4 | 5 => stage.stopped(),
        6 | 10 => stage.stop_cut_short(),
        7 => stage.deposed_in_the_middle(),
        8 => stage.passed_on_and_lost(),
        9 => stage.killed_after_a_takeover(),
        _ => stage.answered_to_nobody(),
    }
}

/// Where it happens.
struct Stage<'a> {
    world: &'a mut World,
    plan: &'a Plan,
    random: Random,
}

/// Operations of each client, on how many keys.
#[derive(Clone, Copy)]
struct Size {
    ops: u64,
    keys: usize,
    kinds: Kinds,
}

/// What operations are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// Puts, reads, and puts that must be refused while there is an object.
    Usual,
    /// Where all objects are gone: reads and deletes.
    OfNothing,
    /// Only puts that must be refused while there is an object.
    Refused,
}

type Load = Vec<(String, Job<Vec<Took>>)>;

/// One operation: what it was, how long it took, whether its end tells what became of it.
struct Took {
    what: String,
    time: Duration,
    result: Result<(), Error>,
}

impl Took {
    fn new(what: String, began: Instant, result: Result<(), Error>) -> Self {
        // Where so many others write the same key meanwhile, it does not remember this one: that is an answer too.
        let answers = |code: &Code| {
            matches!(
                code,
                Code::ConditionFailed(_) | Code::OutcomeUnknown | Code::StaleOpId(_) | Code::Fenced
            )
        };
        let result = result.or_else(|error| if answers(error.code()) { Ok(()) } else { Err(error) });
        Self { what, time: began.elapsed(), result }
    }
}

impl Stage<'_> {
    fn node(&mut self) -> String {
        self.random.pick(&self.world.nodes())
    }

    fn others(&self, node: &str) -> Vec<String> {
        self.world.nodes().into_iter().filter(|other| other != node).collect()
    }

    /// Of the key that all clients write in such an act, perhaps: then it leads it.
    fn node_of_interest(&mut self) -> String {
        let leader = self.world.usual_leader(&key_name(0));
        let other = self.node();
        leader.filter(|_| !self.random.one_in(3)).unwrap_or(other)
    }

    fn is_patient(&self) -> bool {
        Duration::from_millis(self.plan.timeout_ms) >= TIMEOUT_MIN
    }

    /// All clients begin operations within the time.
    fn load(&mut self, within: Duration, size: Size) -> Load {
        if !self.is_patient() {
            return Vec::new();
        }
        let began = self.world.now();
        let start = |client: String| {
            let random = self.random.fork(&format!("{client} at {began:?}"));
            let job = self.world.spawn(&client, move |client| load(client, size, within, random));
            (client, job)
        };
        self.plan.client_names().into_iter().map(start).collect()
    }

    /// The usual load.
    fn some_load(&mut self, within: Duration) -> Load {
        self.load(within, self.usual_size())
    }

    fn usual_size(&self) -> Size {
        Size { ops: OPS, keys: self.plan.keys, kinds: Kinds::Usual }
    }

    /// Time of an operation's messages, beside what nodes take.
    fn messages(&self) -> Duration {
        MESSAGES * Duration::from_millis(self.plan.latency_ms + self.plan.jitter_ms)
    }

    /// And of those of the writes of the same key that it waits for, under such a load.
    fn messages_under(&self, size: Size) -> Duration {
        let clients = u64::try_from(self.plan.client_names().len()).expect("few");
        let of_all = clients * size.ops;
        let writes = if size.kinds == Kinds::Usual { of_all * 2 / 3 } else { of_all - 1 };
        let writes_before = writes / u64::try_from(size.keys).expect("few").max(1);
        let usual_us = self.plan.latency_ms * 1_000 + self.plan.jitter_ms * 500;
        self.messages() + Duration::from_micros(2 * writes_before * usual_us)
    }

    /// And under the usual one.
    fn messages_under_some_load(&self) -> Duration {
        self.messages_under(self.usual_size())
    }

    /// Waits for the load, which was begun within `began_within`. No operation may have taken longer than `within`.
    fn ended(
        &mut self,
        load: Load,
        began_within: Duration,
        within: Duration,
        although: &str,
    ) -> Result<(), Failure> {
        let world = &mut *self.world;
        let limit = world.now() + within + began_within;
        while load.iter().any(|(_, job)| !job.is_done()) && world.now() < limit {
            world.drive(limit);
        }
        let ms = within.as_millis();
        for (client, job) in load {
            if !job.is_done() {
                return not_prompt(format!("an operation of {client} is not over {ms} ms {although}"));
            }
            for Took { what, time, result } in world.wait(job) {
                if let Err(error) = result {
                    return not_prompt(format!("{what} fails {although}: {error}"));
                }
                if time > within {
                    let took = time.as_millis();
                    return not_prompt(format!("{what} takes {took} ms, more than {ms} ms, {although}"));
                }
            }
        }
        Ok(())
    }
}

fn not_prompt<T>(why: String) -> Result<T, Failure> {
    Err(Failure::new("not prompt", why))
}

async fn load(client: SimClient, size: Size, within: Duration, random: Random) -> Vec<Took> {
    let keys = keys(size.keys);
    let within_ms = u64::try_from(within.as_millis()).expect("short");
    let one = |number: u64| {
        let (client, mut random) = (client.clone(), random.fork(&format!("operation {number}")));
        let key = random.pick(&keys);
        async move {
            sleep(Duration::from_millis(random.below(within_ms))).await;
            let began = Instant::now();
            let (what, result) = match (number % 3, size.kinds) {
                (0, Kinds::Usual) => ("put", client.put(&key, Condition::Always, 100).await.map(drop)),
                (1, Kinds::Usual | Kinds::OfNothing) => ("read", client.get(&key).await.map(drop)),
                (_, Kinds::Usual | Kinds::Refused) => {
                    ("put on condition", client.put(&key, Condition::IfAbsent, 100).await.map(drop))
                }
                (_, Kinds::OfNothing) => ("delete", client.delete(&key, Condition::Always).await.map(drop)),
            };
            Took::new(format!("a {what} of {key} by {}", client.name()), began, result)
        }
    };
    futures_util::future::join_all((0..size.ops).map(one)).await
}
