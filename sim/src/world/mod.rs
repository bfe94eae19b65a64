//! A world: a registry, nodes and clients on a simulated network, and what can be done to them.
//!
//! A scenario is ordinary code outside the hosts: it gives clients jobs, lets time pass, breaks things and heals them.
//! Everything runs on one tokio runtime whose clock is paused: when nothing can run, it jumps to whatever is next.

mod harm;
mod health;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use holdfast_core::ids::{ObjectName, Partition};
use holdfast_core::placement::Layout;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ambient::WallClock;
use crate::checks;
use crate::client::{ClientPlace, SimClient};
use crate::cluster_node::{CLIENT_PORT, NodePlace, ProcessEnd, settings};
use crate::disk::SimDisk;
use crate::history::History;
use crate::hooks;
use crate::host::HostId;
use crate::net::{Fabric, LinkOptions, SimNet, Wire};
use crate::oracles::Oracles;
use crate::panics;
use crate::random::Random;
use crate::registry;
use crate::trace::Trace;

/// The registry's host.
pub const REGISTRY: &str = "registry";
/// The registry's key of the layout.
pub(crate) const LAYOUT: &str = "/holdfast/sim/layout";
/// A cluster that takes longer to become whole is broken.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// A job that takes longer hangs.
const JOB_TIME_MAX: Duration = Duration::from_secs(300);

/// A machine whose power fails at a change of its disk is noticed so late at most: nodes live on with an error meanwhile.
const POWER_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a supervisor waits before it starts again what has ended; twice as long each time, up to 64 times.
const SUPERVISOR_PAUSE: Duration = Duration::from_millis(100);
const SUPERVISOR_DOUBLINGS: u32 = 6;

/// How long [`World::step`] is.
const STEP: Duration = Duration::from_millis(10);

/// How true the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Calls and streams, without HTTP/2 and packets. Several times as fast.
    #[default]
    Direct,
    /// tonic and HTTP/2 on TCP, packet by packet.
    Wire,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// How true the network is.
    pub mode: Mode,
    /// Nodes, named `n0`, `n1` and so on.
    pub nodes: usize,
    /// Clients, named `c0`, `c1` and so on.
    pub clients: usize,
    /// How long packets take.
    pub link: LinkOptions,
    /// How long a node's registration outlives its last sign of life.
    pub lease_ttl: Duration,
    /// Whether nodes write their log through to the disk before they answer. Off, acknowledged writes are lost with the
    /// power: what a simulation has to find.
    pub fsync: bool,
    /// How many of the clients, the last ones, are pages in browsers.
    pub browsers: usize,
    /// Of a hundred requests of pages, so many are sent twice by the browser, until something is healed.
    pub doubled_percent: u64,
    /// How long a client tries.
    pub timeout: Duration,
    /// Bytes of the log after which a node makes a checkpoint.
    pub checkpoint_log: u64,
    /// How long a node that stops waits for what is under way.
    pub stop_grace: Duration,
    /// Keys whose partitions an operator's change of the layout is to concern.
    pub hot: Vec<String>,
    /// Processes that one machine starts at most, in the wire mode: each costs a little in every step.
    pub processes_max: usize,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            nodes: 3,
            clients: 1,
            link: LinkOptions::default(),
            lease_ttl: Duration::from_secs(10),
            fsync: true,
            browsers: 0,
            doubled_percent: 0,
            timeout: Duration::from_secs(10),
            checkpoint_log: 64 << 10,
            stop_grace: Duration::from_secs(5),
            hot: Vec::new(),
            processes_max: 16,
        }
    }
}

type ClientJob = Box<dyn FnOnce(SimClient) -> BoxFuture<'static, ()> + Send>;

/// What a client's job ends with, once it has.
#[derive(Debug)]
pub struct Job<T>(Arc<Mutex<Option<T>>>);

impl<T> Job<T> {
    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.0.lock().is_some()
    }
}

/// A running world.
pub struct World {
    runtime: Option<Runtime>,
    start: Instant,
    fabric: Arc<Fabric>,
    trace: Trace,
    history: History,
    nodes: BTreeMap<String, NodePlace>,
    clients: BTreeMap<String, ClientHost>,
    registry_host: HostId,
    registry: Arc<Mutex<registry::State>>,
    registry_up: bool,
    /// Partitions that a change of the layout is to concern.
    hot: Vec<Partition>,
    /// All layouts that an operator has written.
    layouts: Vec<Layout>,
    oracles: Oracles,
    /// Whether a node's process that ends by itself is started again.
    supervised: bool,
    /// Those to come.
    restarts: Vec<(Duration, String)>,
    /// How often each was started again by its supervisor.
    restarted: BTreeMap<String, u32>,
    random: Random,
}

struct ClientHost {
    place: ClientPlace,
    jobs: mpsc::UnboundedSender<ClientJob>,
}

impl World {
    /// A world with everything switched on.
    pub fn new(seed: u64, options: &WorldOptions, trace: Trace) -> Self {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        // The clock jumps while the thread is parked.
        let start = Arc::new(Mutex::new(None::<Instant>));
        let begun = start.clone();
        builder.on_thread_unpark(move || {
            let start = *begun.lock();
            if let Some(start) = start {
                hooks::set_now(Instant::now() - start);
            }
        });
        let runtime = builder.build().expect("a runtime without threads needs nothing");
        let now = runtime.block_on(async { Instant::now() });
        *start.lock() = Some(now);
        hooks::set_now(Duration::ZERO);
        let machines = 1 + options.nodes + options.clients;
        let wire = (options.mode == Mode::Wire).then(|| Wire::enter(machines, options.processes_max));
        let fabric = Fabric::new(seed, trace.clone(), wire);
        let registry_host = fabric.add_machine(REGISTRY, options.link);
        let mut world = Self {
            runtime: Some(runtime),
            start: now,
            fabric,
            history: History::new(trace.clone()),
            registry: Arc::new(Mutex::new(registry::State::new(seed, trace.clone()))),
            trace,
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            registry_host,
            registry_up: false,
            hot: options.hot.iter().map(|key| partition_of(key)).collect(),
            layouts: Vec::new(),
            oracles: Oracles::new(),
            supervised: false,
            restarts: Vec::new(),
            restarted: BTreeMap::new(),
            random: Random::new(seed, "world"),
        };
        world.trace.line(format_args!("seed {seed}: {options:?}"));
        world.start_registry();
        for number in 0..options.nodes {
            world.add_node(number, options);
        }
        for number in 0..options.clients {
            world.add_client(number, options);
        }
        world
    }

    fn add_node(&mut self, number: usize, options: &WorldOptions) {
        let name = format!("n{number}");
        let host = self.fabric.add_machine(&name, options.link);
        let mut random = self.random.fork(&name);
        let mut settings = settings(options.nodes, &zone_of(&name), options.lease_ttl);
        settings.fsync = options.fsync;
        settings.checkpoint_log = options.checkpoint_log;
        settings.stop_grace = options.stop_grace;
        let place = NodePlace {
            host,
            disk: SimDisk::new(&name, random.fork("disk"), self.trace.clone()),
            net: SimNet::new(self.fabric.clone(), host),
            clock: WallClock::ahead(random.log_ms(1, 2_000)),
            settings: Arc::new(settings),
            trace: self.trace.clone(),
            end: Arc::new(Mutex::new(ProcessEnd::default())),
            fabric: self.fabric.clone(),
            oracles: self.oracles.clone(),
            next_version: Arc::default(),
            random,
            name: name.clone(),
        };
        self.nodes.insert(name.clone(), place);
        self.start_node(&name);
    }

    fn start_node(&mut self, node: &str) {
        let place = self.place(node).clone();
        place.end.lock().ended = None;
        let process = self.fabric.start_process(place.host);
        self.run_on(&process, place.run());
    }

    /// Spawns a task of a process.
    fn run_on(&self, process: &Arc<crate::host::Process>, task: impl Future<Output = ()> + Send + 'static) {
        let _runtime = self.runtime().enter();
        process.enter(|| drop(holdfast::tasks::spawn(task)));
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the world ends")
    }

    fn add_client(&mut self, number: usize, options: &WorldOptions) {
        let name = format!("c{number}");
        let host = self.fabric.add_machine(&name, options.link);
        let mut random = self.random.fork(&name);
        let place = ClientPlace {
            host,
            net: SimNet::new(self.fabric.clone(), host),
            endpoints: (0..options.nodes.max(1))
                .map(|node| format!("http://n{node}:{CLIENT_PORT}"))
                .collect(),
            clock: WallClock::ahead(random.log_ms(1, 2_000)),
            timeout: options.timeout,
            is_browser: number + options.browsers >= options.clients,
            doubled_percent: options.doubled_percent,
            history: self.history.clone(),
            oracles: self.oracles.clone(),
            trace: self.trace.clone(),
            random,
            name: name.clone(),
            puts: Arc::default(),
        };
        let (jobs, _) = mpsc::unbounded_channel();
        self.clients.insert(name.clone(), ClientHost { place, jobs });
        self.start_client(&name);
    }

    /// A client's program, which has learnt nothing yet.
    fn start_client(&mut self, client: &str) {
        let (jobs, mut given) = mpsc::unbounded_channel::<ClientJob>();
        let host = self.clients.get_mut(client).unwrap_or_else(|| panic!("there is no client {client}"));
        host.jobs = jobs;
        let place = host.place.clone();
        let process = self.fabric.start_process(place.host);
        self.run_on(&process, async move {
            let client = SimClient::new(place);
            while let Some(job) = given.recv().await {
                holdfast::tasks::spawn(job(client.clone()));
            }
        });
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        hooks::now()
    }

    /// A stream of choices.
    pub fn random(&self, consumer: &str) -> Random {
        self.random.fork(consumer)
    }

    /// What clients saw so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The names of the clients.
    pub fn clients(&self) -> Vec<String> {
        self.clients.keys().cloned().collect()
    }

    /// A node's disk.
    pub fn disk(&self, node: &str) -> SimDisk {
        self.place(node).disk.clone()
    }

    /// A node's wall clock.
    pub fn clock(&self, node: &str) -> WallClock {
        self.place(node).clock.clone()
    }

    /// What the registry holds, to be changed behind everybody's back.
    pub fn registry(&self) -> Arc<Mutex<registry::State>> {
        self.registry.clone()
    }

    /// Which faults had an effect, and how often.
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        let mut fired = crate::fired::fired();
        fired.extend(self.registry.lock().fired());
        for place in self.nodes.values() {
            for (kind, times) in place.disk.fired() {
                // Counted where a fault of the plan did it.
                if kind != "power-loss" {
                    *fired.entry(kind).or_default() += times;
                }
            }
        }
        fired
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.trace.event("note", [0, 0], what.as_bytes());
        self.trace.line(format_args!("scenario: {what}"));
    }

    /// Lets time pass until `end`, or until something wants the world's attention.
    pub(crate) fn drive(&mut self, end: Duration) {
        let power_may_fail = self.nodes.values().any(|place| place.disk.power_may_fail());
        let end = if power_may_fail { end.min(self.now() + POWER_LOOK_EVERY) } else { end };
        let (fabric, start) = (self.fabric.clone(), self.start);
        self.runtime().block_on(async move { fabric.run_until(start, end).await });
        panics::leave_if_any();
        self.bury_ended();
    }

    /// A process that has ended by itself leaves nothing running.
    fn bury_ended(&mut self) {
        let now = self.now();
        let due: Vec<_> = self.restarts.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, node) in due {
            self.restart(&node);
        }
        let mut failed = Vec::new();
        for place in self.nodes.values() {
            if place.disk.power_failed() && self.fabric.process(place.host).is_some() {
                failed.push((place.name.clone(), true));
            } else if place.end.lock().ended.is_some() && self.fabric.process(place.host).is_some() {
                failed.push((place.name.clone(), false));
            }
        }
        for (name, power) in failed {
            if power {
                self.power_loss(&name);
            } else {
                self.end_process(&name);
            }
            if self.supervised {
                self.restart_later(&name);
            }
        }
    }

    /// Whether nodes that end by themselves, or have ended, are started again.
    pub(crate) fn supervise(&mut self, supervised: bool) {
        self.supervised = supervised;
    }

    /// As a supervisor does: after a pause, so that a node that cannot start does not keep it busy.
    fn restart_later(&mut self, node: &str) {
        let times = self.restarted.entry(node.to_owned()).or_default();
        let due = hooks::now() + SUPERVISOR_PAUSE * (1 << (*times).min(SUPERVISOR_DOUBLINGS));
        *times += 1;
        self.restarts.push((due, node.to_owned()));
        self.fabric.at(due, |fabric| fabric.want_driver());
    }

    fn end_process(&mut self, node: &str) {
        let place = self.place(node);
        place.disk.process_kill();
        self.fabric.end_process(place.host, false);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, end: Duration) {
        while self.now() < end {
            self.drive(end);
        }
    }

    /// Lets a little time pass.
    pub fn step(&mut self) {
        self.drive(self.now() + STEP);
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Gives a client a job, which begins at once.
    pub fn spawn<T, F>(&mut self, client: &str, job: impl FnOnce(SimClient) -> F + Send + 'static) -> Job<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let done = Job(Arc::new(Mutex::new(None)));
        let (result, fabric) = (done.0.clone(), self.fabric.clone());
        let job: ClientJob = Box::new(move |client| {
            Box::pin(async move {
                let value = job(client).await;
                *result.lock() = Some(value);
                fabric.want_driver();
            })
        });
        let host = self.clients.get(client).unwrap_or_else(|| panic!("there is no client {client}"));
        assert!(host.jobs.send(job).is_ok(), "{client} is not running");
        done
    }

    /// Lets time pass until a job has ended.
    pub fn wait<T>(&mut self, job: Job<T>) -> T {
        let Job(result) = job;
        let limit = self.now() + JOB_TIME_MAX;
        loop {
            if let Some(value) = result.lock().take() {
                return value;
            }
            assert!(self.now() < limit, "a client's job did not end within {JOB_TIME_MAX:?}");
            self.drive(limit);
        }
    }

    /// Gives a client a job and waits for its end.
    pub fn call<T, F>(&mut self, client: &str, job: impl FnOnce(SimClient) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let job = self.spawn(client, job);
        self.wait(job)
    }

    /// What a node did that must not be.
    pub fn oracle_violation(&self) -> Option<crate::oracles::Violation> {
        self.oracles.violation()
    }

    /// Checks what clients saw, what nodes did, and that no process ended by itself. The end of every scenario.
    pub fn finish(self) {
        if let Some(ended) = self.ended_by_itself() {
            panic!("{ended}");
        }
        if let Some(violation) = self.oracle_violation() {
            panic!("{violation}");
        }
        let ops = self.history.ops();
        if let Err(violation) = checks::check(&ops) {
            panic!("not linearizable: {}", violation.report(&ops));
        }
        let ops = ops.len();
        self.trace.event("finished", [ops, 0], &hooks::draws().to_le_bytes());
    }

    fn place(&self, node: &str) -> &NodePlace {
        self.nodes.get(node).unwrap_or_else(|| panic!("there is no node {node}"))
    }

    /// What the driver of a run needs: messages for its picture.
    pub(crate) fn fabric(&self) -> &Arc<Fabric> {
        &self.fabric
    }

    fn host(&self, name: &str) -> HostId {
        if name == REGISTRY {
            return self.registry_host;
        }
        let node = self.nodes.get(name).map(|place| place.host);
        let client = || self.clients.get(name).map(|client| client.place.host);
        node.or_else(client).unwrap_or_else(|| panic!("there is no host {name}"))
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> Vec<String> {
        let names = self.nodes.keys().chain(self.clients.keys()).cloned();
        names.chain([REGISTRY.to_owned()]).collect()
    }
}

fn partition_of(key: &str) -> Partition {
    ObjectName::new(crate::client::BUCKET, key).expect("plain names").partition()
}

/// Each node is a zone, which says whose a registration is.
pub(crate) fn zone_of(node: &str) -> String {
    node.replacen('n', "zone-", 1)
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing may be written while the hosts are torn down: that is no part of the scenario.
        for place in self.nodes.values() {
            place.disk.process_kill();
        }
        if let Some(runtime) = self.runtime.take() {
            {
                let _runtime = runtime.enter();
                self.fabric.dissolve();
            }
            drop(runtime);
        }
    }
}
