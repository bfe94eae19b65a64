//! One run of a plan, from an empty cluster to a verdict.
//!
//! First safety: faults and operations. Then liveness: of the nodes just enough are healed, the rest stays broken, and
//! every client must succeed soon. At last everything is healed, the cluster must become whole, every key is read through
//! every node, and what clients saw is checked.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use holdfast::Condition;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::checks;
use crate::client::BUCKET;
use crate::faults::{Fault, Step};
use crate::finale;
use crate::fired::fire;
use crate::hooks;
use crate::panics;
use crate::picture::picture;
use crate::plan::Plan;
use crate::random::Random;
use crate::report::RunRecord;
use crate::trace::Trace;
use crate::workload::{Program, keys};
use crate::world::{Job, World, zone_of};

/// A client that does not succeed within this time of a healed core does not live.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
/// Nor does a cluster that does not become whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// Nor one whose nodes are not all registered again. A change that a watch kept to itself is seen when the registry is
/// listed again, after 30 s.
const REGISTERED_WITHIN: Duration = Duration::from_secs(45);
/// An operation lives as long as its deadline says, a minute at most.
const AT_REST_WITHIN: Duration = Duration::from_secs(70);
/// A client's operation that is not over by then hangs.
const PROGRAM_WITHIN: Duration = Duration::from_secs(120);

/// The kind of failure of a run that had to be ended from outside.
pub(crate) const OUT_OF_TIME: &str = "out of time";

/// What came of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `None`: it passed.
    pub failure: Option<Failure>,
    /// The trace's hash.
    pub hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Simulated milliseconds.
    pub sim_ms: u64,
    /// Processor microseconds.
    pub cpu_us: u64,
    /// Operations that clients asked for, and those with an answer that tells what became of them.
    pub ops: usize,
    /// The latter.
    pub settled: usize,
    /// How often each kind of fault had an effect.
    pub fired: BTreeMap<String, u64>,
    /// Milliseconds that the slowest client needed after the core was healed.
    pub recovery_ms: u64,
    /// Points of the product's code that were reached.
    #[serde(default)]
    pub reached: Vec<String>,
    /// What a page shows, where lines were kept.
    pub record: Option<Box<RunRecord>>,
}

/// Why a run failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What was violated, in a word or two: runs that fail alike have the same.
    pub kind: String,
    /// What happened, for a person.
    pub sentence: String,
    /// The operations that cannot be, by their number in the history.
    pub guilty: Vec<usize>,
    /// The end of the trace, where lines were kept.
    pub lines: Vec<String>,
}

impl Failure {
    /// Whether the run had to be ended from outside: it may have been in a loop without end.
    pub fn is_out_of_time(&self) -> bool {
        self.kind == OUT_OF_TIME
    }

    /// Without operations.
    pub fn new(kind: &str, sentence: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), sentence: sentence.into(), guilty: Vec::new(), lines: Vec::new() }
    }
}

/// When the parts of a run began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunTimes {
    pub(crate) safety: Duration,
    pub(crate) liveness: Duration,
}

/// Runs a plan in this process, on this thread: both must be fresh.
///
/// With lines kept in the trace, the outcome has the record for the page.
pub fn run(plan: &Plan, trace: &Trace) -> (Outcome, World) {
    if !hooks::entered() {
        hooks::enter(plan.seed);
    }
    let mut run = Run::new(plan, trace);
    if trace.keeps_lines() {
        run.world.fabric().keep_messages();
    }
    // What a node did that must not be explains whatever came of it.
    let failure = match panic::catch_unwind(AssertUnwindSafe(|| run.all())) {
        Ok(result) => run.oracles().or(result.err()),
        Err(payload) => Some(panics::caught(payload)),
    };
    let record =
        trace.keeps_lines().then(|| Box::new(picture(plan, &run.world, trace, run.times, failure.as_ref())));
    let history = run.world.history();
    let (ops, settled) = (history.ops().len(), history.settled());
    trace.event("finished", [ops, settled], &hooks::draws().to_le_bytes());
    let (hash, events) = trace.digest();
    let outcome = Outcome {
        failure,
        record,
        reached: crate::reach::reached().into_iter().collect(),
        hash: format!("{hash:032x}"),
        events,
        sim_ms: u64::try_from(run.world.now().as_millis()).unwrap_or(u64::MAX),
        cpu_us: 0,
        ops,
        settled,
        fired: run.world.fired().into_iter().map(|(kind, times)| (kind.to_owned(), times)).collect(),
        recovery_ms: u64::try_from(run.recovery.as_millis()).unwrap_or(u64::MAX),
    };
    (outcome, run.world)
}

struct Run<'p> {
    plan: &'p Plan,
    world: World,
    random: Random,
    programs: Vec<Program>,
    jobs: Vec<(String, Job<()>)>,
    recovery: Duration,
    times: RunTimes,
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan, trace: &Trace) -> Self {
        let world = World::new(plan.seed, &plan.world_options(), trace.clone());
        let random = Random::new(plan.seed, "run");
        Self {
            plan,
            world,
            random,
            programs: Vec::new(),
            jobs: Vec::new(),
            recovery: Duration::ZERO,
            times: RunTimes { safety: Duration::MAX, liveness: Duration::MAX },
        }
    }

    fn all(&mut self) -> Result<(), Failure> {
        self.first_start()?;
        self.safety();
        self.is_lawful()?;
        self.liveness()?;
        self.is_lawful()?;
        self.heal()?;
        self.is_lawful()?;
        finale::play(&mut self.world, self.plan, self.random.fork("finale"))?;
        self.is_lawful()?;
        self.read_everywhere()?;
        self.is_lawful()?;
        self.at_rest()?;
        self.check()
    }

    fn first_start(&mut self) -> Result<(), Failure> {
        for fault in &self.plan.faults {
            match &fault.fault {
                Fault::TornStart { node, changes } => self.world.tear_start(node, *changes),
                Fault::RegistryStart { fault } => self.world.registry().lock().begin(*fault),
                _ => {}
            }
        }
        for fault in &self.plan.faults {
            if let Fault::RegistryStart { fault: wrong } = &fault.fault {
                self.world.run_for(Duration::from_millis(fault.lasts_ms));
                self.world.registry().lock().end(*wrong);
            }
        }
        self.whole("a new cluster")?;
        fire("torn-start", self.world.started().len() as u64);
        Ok(())
    }

    fn whole(&mut self, what: &str) -> Result<(), Failure> {
        if self.world.becomes_whole(WHOLE_WITHIN) {
            return Ok(());
        }
        Err(Failure::new("not whole", format!("{what} is not whole after {} s", WHOLE_WITHIN.as_secs())))
    }

    /// Faults and operations, until the time is over.
    fn safety(&mut self) {
        let (nodes, clients) = (self.plan.node_names(), self.plan.client_names());
        let ms = Duration::from_millis;
        let begin = self.world.now();
        self.times.safety = begin;
        let start = self.world.instant();
        for (number, client) in clients.iter().enumerate() {
            let ops = self.plan.ops.iter().filter(|op| op.client == number).cloned();
            let program = Program::new(keys(self.plan.keys), ops, start);
            self.programs.push(program.clone());
            self.spawn_program(client, program);
        }
        let mut steps: Vec<(Duration, Step)> = self
            .plan
            .faults
            .iter()
            .flat_map(|fault| fault.fault.steps(ms(fault.at_ms), ms(fault.lasts_ms), &nodes, &clients))
            .collect();
        steps.sort_by_key(|(at, _)| *at);
        for (at, step) in steps {
            if at > ms(self.plan.time_ms) {
                break;
            }
            self.world.run_until(begin + at);
            step.apply(&mut self.world);
            match step {
                Step::ReplaceClient(client) => {
                    let number = clients.iter().position(|name| *name == client).expect("it is one of them");
                    self.jobs.retain(|(name, _)| *name != client);
                    self.spawn_program(&client, self.programs[number].clone());
                }
                Step::Storm(storm, client) => {
                    let program = self.programs[0].clone();
                    let job = self.world.spawn(&client, move |client| program.storm(client, storm));
                    self.jobs.push((client, job));
                }
                _ => {}
            }
        }
        self.world.run_until(begin + ms(self.plan.time_ms));
    }

    fn spawn_program(&mut self, client: &str, program: Program) {
        let job = self.world.spawn(client, move |client| program.run(client));
        self.jobs.push((client.to_owned(), job));
    }

    /// Just enough is healed, the rest is broken for good.
    fn liveness(&mut self) -> Result<(), Failure> {
        self.times.liveness = self.world.now();
        let core = self.core();
        let rest: Vec<String> = self.world.nodes().into_iter().filter(|node| !core.contains(node)).collect();
        self.world.note(&format!("only {core:?} are healed"));
        self.world.heal_nodes(&core);
        for node in &rest {
            match self.random.below(4) {
                0 => self.world.kill(node),
                1 => self.world.power_loss(node),
                2 => self.world.isolate(node, &[]),
                _ => {
                    self.world.restart(node);
                    self.world.freeze(node);
                }
            }
        }
        let mut although = format!("although {} are healthy", core.join(" and "));
        // Nodes serve without the registry: with the layout that they have kept, also after a start.
        if self.random.one_in(3) {
            self.world.darken_registry();
            although += " (the registry is away)";
        }
        self.succeed(&although)
    }

    /// The smallest set of nodes, as the seed chooses, that has the majorities that every key needs. A disk that has
    /// destroyed something is not counted on.
    fn core(&mut self) -> Vec<String> {
        let mut core = self.world.sound_nodes();
        let Some(groups) = self.world.voters(&keys(self.plan.keys)) else { return core };
        let mut candidates = core.clone();
        while !candidates.is_empty() {
            let node = candidates.remove(self.random.index(candidates.len()));
            let without: Vec<String> = core.iter().filter(|other| **other != node).cloned().collect();
            let enough = |of: &Vec<String>| {
                2 * of.iter().filter(|replica| without.contains(replica)).count() > of.len()
            };
            if groups.iter().all(enough) {
                core = without;
            }
        }
        core
    }

    /// Every client writes and reads again, soon.
    fn succeed(&mut self, although: &str) -> Result<(), Failure> {
        let began = self.world.now();
        let key = keys(1).remove(0);
        let jobs: Vec<_> = self
            .plan
            .client_names()
            .into_iter()
            .map(|client| {
                let key = key.clone();
                let job = self.world.spawn(&client, move |client| async move {
                    while client.put(&key, Condition::Always, 0).await.is_err() {}
                    while client.get(&key).await.is_err() {}
                });
                (client, job)
            })
            .collect();
        let limit = began + LIVE_WITHIN;
        while jobs.iter().any(|(_, job)| !job.is_done()) && self.world.now() < limit {
            self.world.drive(limit);
        }
        self.recovery = self.recovery.max(self.world.now() - began);
        match jobs.iter().find(|(_, job)| !job.is_done()) {
            None => Ok(()),
            Some((client, _)) => Err(Failure::new(
                "liveness",
                format!("{client} neither writes nor reads within {} s, {although}", LIVE_WITHIN.as_secs()),
            )),
        }
    }

    fn heal(&mut self) -> Result<(), Failure> {
        self.world.heal_all();
        self.succeed("although everything is healed")?;
        let limit = self.world.now() + PROGRAM_WITHIN;
        while self.jobs.iter().any(|(_, job)| !job.is_done()) && self.world.now() < limit {
            self.world.drive(limit);
        }
        if let Some((client, _)) = self.jobs.iter().find(|(_, job)| !job.is_done()) {
            return Err(Failure::new("hang", format!("an operation of {client} never ends")));
        }
        if self.world.sound_nodes().len() == self.world.nodes().len() {
            self.whole("the healed cluster")?;
        } else if !self.world.becomes_available(WHOLE_WITHIN) {
            let why = format!("the sound nodes see no majorities after {} s", WHOLE_WITHIN.as_secs());
            return Err(Failure::new("not whole", why));
        }
        self.registered()
    }

    /// Every node sees that every node is registered: leases that were lost are taken again, and nobody misses it.
    fn registered(&mut self) -> Result<(), Failure> {
        let nodes = self.world.sound_nodes();
        let zones: Vec<String> = nodes.iter().map(|node| zone_of(node)).collect();
        let job = self.world.spawn("c0", move |client| async move {
            for node in &nodes {
                let all = |status: holdfast::ClusterStatus| {
                    let registered =
                        |zone: &String| status.nodes.iter().any(|node| node.registered && node.zone == *zone);
                    zones.iter().all(registered)
                };
                while !client.status_of(node).await.is_ok_and(all) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        });
        let limit = self.world.now() + REGISTERED_WITHIN;
        while !job.is_done() && self.world.now() < limit {
            self.world.drive(limit);
        }
        if job.is_done() {
            return Ok(());
        }
        let seconds = REGISTERED_WITHIN.as_secs();
        Err(Failure::new(
            "not registered",
            format!("some node is not registered, or not seen to be, after {seconds} s"),
        ))
    }

    /// Every key through every node, into the history. Who has a disk that has destroyed something may answer with an
    /// error, and must not answer anything else that is wrong.
    fn read_everywhere(&mut self) -> Result<(), Failure> {
        let mut all = self.world.history().keys();
        all.extend(keys(self.plan.keys));
        let (nodes, keys) = (self.world.nodes(), Vec::from_iter(all));
        let sound = self.world.sound_nodes();
        let told = self.world.call("c0", move |client| async move {
            for node in nodes {
                let through = client.only(&node);
                for key in &keys {
                    match client.get_through(&through, key).await {
                        Err(error) if sound.contains(&node) => {
                            return Err(format!("{node}, {key}: {error}"));
                        }
                        // The next key would be asked for as long as this one.
                        Err(_) => break,
                        Ok(_) => {}
                    }
                }
            }
            // With a deadline that is hardly enough, not always at the first try.
            let end = Instant::now() + LIVE_WITHIN;
            while let Err(error) = client.list("", &keys).await {
                if Instant::now() > end {
                    return Err(format!("listing {BUCKET}: {error}"));
                }
            }
            Ok::<_, String>(())
        });
        told.map_err(|why| Failure::new("liveness", format!("a read on the healed cluster fails: {why}")))
    }

    /// Nobody asks for anything any more: soon no node has anything under way. What is never given back runs out some day.
    fn at_rest(&mut self) -> Result<(), Failure> {
        let nodes = self.world.sound_nodes();
        let job = self.world.spawn("c0", move |client| async move {
            for node in nodes {
                let rests = |status: holdfast::ClusterStatus| status.operations + status.repairs == 0;
                while !client.status_of(&node).await.is_ok_and(rests) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        });
        let limit = self.world.now() + AT_REST_WITHIN;
        while !job.is_done() && self.world.now() < limit {
            self.world.drive(limit);
        }
        if job.is_done() {
            return Ok(());
        }
        let why = format!(
            "some node still has operations or repairs under way {} s after the last",
            AT_REST_WITHIN.as_secs()
        );
        Err(Failure::new("not at rest", why))
    }

    /// What follows on a violation may take long, and tells nothing.
    fn is_lawful(&self) -> Result<(), Failure> {
        self.oracles().map_or(Ok(()), Err)
    }

    fn oracles(&self) -> Option<Failure> {
        let violation = self.world.oracle_violation()?;
        Some(Failure::new(&format!("oracle: {}", violation.oracle), violation.sentence))
    }

    fn check(&mut self) -> Result<(), Failure> {
        if let Some(ended) = self.world.ended_by_itself() {
            return Err(Failure::new("ended by itself", ended));
        }
        let ops = self.world.history().ops();
        checks::check(&ops).map_err(|violation| Failure {
            guilty: violation.guilty.clone(),
            ..Failure::new("not linearizable", violation.to_string())
        })
    }
}

impl World {
    /// The same as the simulated time, as tokio has it.
    pub(crate) fn instant(&self) -> Instant {
        self.start() + self.now()
    }
}
