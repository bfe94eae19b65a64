//! A world: a registry, nodes and clients on a simulated network, and what can be done to them.
//!
//! A scenario is ordinary code outside the hosts: it gives clients jobs, lets time pass, breaks things and heals them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use turmoil::{Builder, Sim};

use crate::checks;
use crate::client::{ClientPlace, SimClient};
use crate::cluster_node::{CLIENT_PORT, NodePlace, Process, settings};
use crate::disk::SimDisk;
use crate::faults::Plan;
use crate::history::History;
use crate::hooks;
use crate::net::{LinkState, Links, SimNet};
use crate::oracles::Oracles;
use crate::random::Random;
use crate::registry;
use crate::trace::Trace;

/// The registry's host.
const REGISTRY: &str = "registry";
/// A cluster that takes longer to become whole is broken.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// A job that takes longer hangs.
const JOB_TIME_MAX: Duration = Duration::from_secs(300);
/// turmoil panics when more connections wait to be accepted.
const TCP_CAPACITY: usize = 4096;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// Nodes, named `n0`, `n1` and so on.
    pub nodes: usize,
    /// Clients, named `c0`, `c1` and so on.
    pub clients: usize,
    /// Simulated time passes in steps of this length. Not longer than the least latency, so that nothing arrives before
    /// it was sent.
    pub tick: Duration,
    /// Least and most time that a packet takes.
    pub latency: (Duration, Duration),
    /// How long a node's registration outlives its last sign of life.
    pub lease_ttl: Duration,
}

impl Default for WorldOptions {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { nodes: 3, clients: 1, tick: ms(1), latency: (ms(1), ms(3)), lease_ttl: ms(10_000) }
    }
}

type ClientJob = Box<dyn FnOnce(SimClient) -> LocalBoxFuture<'static, ()>>;

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
    sim: Sim<'static>,
    trace: Trace,
    history: History,
    links: Links,
    nodes: BTreeMap<String, NodePlace>,
    clients: BTreeMap<String, mpsc::UnboundedSender<ClientJob>>,
    registry: Arc<Mutex<registry::State>>,
    registry_up: bool,
    oracles: Oracles,
    plan: Plan,
    /// Whether a node's process that ends by itself is started again.
    supervised: bool,
    random: Random,
}

impl World {
    /// A world with everything switched on.
    pub fn new(seed: u64, options: &WorldOptions, trace: Trace) -> Self {
        assert!(options.tick <= options.latency.0, "a packet could arrive before it was sent");
        let random = Random::new(seed, "world");
        let sim = Builder::new()
            .rng_seed(seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_secs(hooks::EPOCH_UNIX_S))
            .simulation_duration(Duration::from_secs(1 << 30))
            .tick_duration(options.tick)
            .min_message_latency(options.latency.0)
            .max_message_latency(options.latency.1)
            .tcp_capacity(TCP_CAPACITY)
            .ephemeral_ports(10_000..=65_535)
            .enable_random_order()
            .build();
        let mut world = Self {
            sim,
            history: History::new(trace.clone()),
            trace,
            links: Links::default(),
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            registry: Arc::default(),
            registry_up: true,
            oracles: Oracles::new(),
            plan: Plan::default(),
            supervised: false,
            random,
        };
        world.trace.line(format_args!("seed {seed}: {options:?}"));
        world.add_registry();
        for number in 0..options.nodes {
            world.add_node(number, options);
        }
        for number in 0..options.clients {
            world.add_client(number, options);
        }
        world
    }

    fn net(&self, host: &str) -> SimNet {
        SimNet::new(host, self.links.clone(), self.trace.clone())
    }

    fn add_registry(&mut self) {
        let (net, state, trace) = (self.net(REGISTRY), self.registry.clone(), self.trace.clone());
        self.sim.host(REGISTRY, move || {
            let serving = registry::serve(net.clone(), state.clone(), trace.clone());
            async move { Ok(serving.await?) }
        });
    }

    fn add_node(&mut self, number: usize, options: &WorldOptions) {
        let name = format!("n{number}");
        let mut random = self.random.fork(&name);
        let place = NodePlace {
            name: name.clone(),
            disk: SimDisk::new(&name, random.fork("disk"), self.trace.clone()),
            net: self.net(&name),
            clock_ahead: random.log_ms(1, 2_000),
            settings: Arc::new(settings(options.nodes, &format!("zone-{number}"), options.lease_ttl)),
            trace: self.trace.clone(),
            process: Arc::new(Mutex::new(Process::default())),
            oracles: self.oracles.clone(),
            random,
        };
        let process = place.clone();
        self.sim.host(name.as_str(), move || process.clone().run());
        self.nodes.insert(name, place);
    }

    fn add_client(&mut self, number: usize, options: &WorldOptions) {
        let name = format!("c{number}");
        let mut random = self.random.fork(&name);
        let place = ClientPlace {
            name: name.clone(),
            net: self.net(&name),
            endpoints: (0..options.nodes.max(1))
                .map(|node| format!("http://n{node}:{CLIENT_PORT}"))
                .collect(),
            clock_ahead: random.log_ms(1, 2_000),
            history: self.history.clone(),
            trace: self.trace.clone(),
            random,
        };
        let (jobs, mut given) = mpsc::unbounded_channel::<ClientJob>();
        self.sim.client(name.as_str(), async move {
            let client = SimClient::new(place);
            while let Some(job) = given.recv().await {
                tokio::task::spawn_local(job(client.clone()));
            }
            Ok(())
        });
        self.clients.insert(name, jobs);
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
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

    /// What the registry holds, to be changed behind everybody's back.
    pub fn registry(&self) -> Arc<Mutex<registry::State>> {
        self.registry.clone()
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.trace.line(format_args!("scenario: {what}"));
    }

    /// One step of simulated time: planned faults first, then every host.
    pub fn step(&mut self) {
        for fault in self.plan.take_due(self.sim.elapsed()) {
            fault.apply(self);
        }
        hooks::set_now(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            panic!("a host failed: {error}");
        }
        if let Some(violation) = self.oracles.violation() {
            panic!("{violation}");
        }
        self.bury_ended();
    }

    /// A process that has ended by itself leaves nothing running.
    fn bury_ended(&mut self) {
        let ended = |place: &&NodePlace| place.process.lock().ended.is_some();
        let names: Vec<String> = self.nodes.values().filter(ended).map(|place| place.name.clone()).collect();
        for name in names {
            if self.sim.is_host_running(name.as_str()) {
                self.end_process(&name);
            }
            if self.supervised {
                self.restart(&name);
            }
        }
    }

    fn end_process(&mut self, node: &str) {
        self.place(node).disk.process_kill();
        self.links.set_vacant(node, true);
        self.sim.crash(node);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.step();
        }
    }

    /// Gives a client a job, which begins at the next step.
    pub fn spawn<T, F>(&mut self, client: &str, job: impl FnOnce(SimClient) -> F + 'static) -> Job<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let done = Job(Arc::new(Mutex::new(None)));
        let result = done.0.clone();
        let job: ClientJob = Box::new(move |client| {
            Box::pin(async move {
                let value = job(client).await;
                *result.lock() = Some(value);
            })
        });
        let jobs = self.clients.get(client).unwrap_or_else(|| panic!("there is no client {client}"));
        assert!(jobs.send(job).is_ok(), "clients run as long as the world");
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
            self.step();
        }
    }

    /// Gives a client a job and waits for its end.
    pub fn call<T, F>(&mut self, client: &str, job: impl FnOnce(SimClient) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let job = self.spawn(client, job);
        self.wait(job)
    }

    /// Lets time pass until every node sees every other node and all partitions whole.
    pub fn wait_whole(&mut self) {
        let client = self.clients.keys().next().expect("a world without clients sees nothing").clone();
        let nodes = self.nodes();
        let deadline = self.now() + WHOLE_WITHIN;
        let job = self.spawn(&client, move |client| async move {
            for node in nodes {
                loop {
                    let status = client.status_of(&node).await;
                    if status.is_ok_and(|status| {
                        status.partitions.total > 0 && status.partitions.whole == status.partitions.total
                    }) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        while !job.is_done() {
            assert!(self.now() < deadline, "the cluster is not whole after {WHOLE_WITHIN:?}");
            self.step();
        }
        self.note("the cluster is whole");
    }

    /// Plans faults, to happen at their times from now on.
    pub fn plan(&mut self, plan: Plan) {
        self.plan = plan.from(self.now());
        for line in self.plan.describe() {
            self.trace.line(format_args!("plan: {line}"));
        }
    }

    /// Whether all planned faults have happened.
    pub fn plan_is_over(&self) -> bool {
        self.plan.is_over()
    }

    /// Cuts the link between two hosts: packets wait until it is healed, connecting hangs.
    pub fn cut(&mut self, a: &str, b: &str) {
        if self.links.state(a, b) == LinkState::Up {
            self.trace.line(format_args!("fault: {a} and {b} are cut off from each other"));
            self.links.set(a, b, LinkState::Cut);
            self.sim.hold(a, b);
        }
    }

    /// Heals the link between two hosts.
    pub fn heal(&mut self, a: &str, b: &str) {
        if self.links.state(a, b) == LinkState::Cut {
            self.trace.line(format_args!("fault over: {a} and {b} reach each other again"));
            self.links.set(a, b, LinkState::Up);
            self.sim.release(a, b);
        }
    }

    /// Cuts a host off from all others, but for those in `except`.
    pub fn isolate(&mut self, host: &str, except: &[&str]) {
        for other in self.hosts() {
            if other != host && !except.contains(&other.as_str()) {
                self.cut(host, &other);
            }
        }
    }

    /// Heals all links of a host.
    pub fn rejoin(&mut self, host: &str) {
        for other in self.hosts() {
            if other != host {
                self.heal(host, &other);
            }
        }
    }

    /// Sets how long packets take between two hosts, both ways.
    pub fn set_latency(&mut self, a: &str, b: &str, latency: Duration) {
        self.trace.line(format_args!("fault: packets between {a} and {b} take {latency:?}"));
        self.sim.set_link_latency(a, b, latency);
    }

    /// Whether a node's process runs.
    pub fn is_running(&mut self, node: &str) -> bool {
        self.sim.is_host_running(node)
    }

    /// `kill -9`: the process is gone at once, its peers see their connections reset; what it wrote is in the page cache.
    pub fn kill(&mut self, node: &str) {
        if self.sim.is_host_running(node) {
            self.trace.line(format_args!("fault: {node} is killed"));
            self.end_process(node);
        }
    }

    /// Power loss: nobody is told, and of what was not synced any part survives.
    pub fn power_loss(&mut self, node: &str) {
        for other in self.hosts() {
            if other != node {
                self.links.set(node, &other, LinkState::Dead);
                self.sim.partition(node, other.as_str());
            }
        }
        // Before the process: what it does while it is torn down must not reach the disk.
        self.place(node).disk.power_loss();
        if self.sim.is_host_running(node) {
            self.sim.crash(node);
        }
    }

    /// Starts a node's process again, after a kill, a power loss or a stop.
    pub fn restart(&mut self, node: &str) {
        if self.sim.is_host_running(node) {
            return;
        }
        self.trace.line(format_args!("fault over: {node} starts"));
        let hosts = self.hosts();
        for other in hosts.iter().filter(|other| *other != node) {
            // A host without power stays out of reach.
            if self.links.state(node, other) == LinkState::Dead {
                self.links.set(node, other, LinkState::Up);
                self.sim.repair(node, other.as_str());
            }
        }
        self.links.set_vacant(node, false);
        self.sim.bounce(node);
    }

    /// Asks a node to stop, as SIGTERM does.
    pub fn ask_to_stop(&mut self, node: &str) {
        self.trace.line(format_args!("fault: {node} is asked to stop"));
        self.place(node).process.lock().stop.cancel();
    }

    /// Ends the registry's process. What it holds is on its disk.
    pub fn stop_registry(&mut self) {
        if self.registry_up {
            self.trace.line(format_args!("fault: the registry stops"));
            self.links.set_vacant(REGISTRY, true);
            self.sim.crash(REGISTRY);
            self.registry_up = false;
        }
    }

    /// Starts the registry's process again.
    pub fn start_registry(&mut self) {
        if !self.registry_up {
            self.trace.line(format_args!("fault over: the registry starts"));
            self.links.set_vacant(REGISTRY, false);
            self.sim.bounce(REGISTRY);
            self.registry_up = true;
        }
    }

    /// Ends every fault that lasts. From here on a node's process that ends by itself is started again.
    pub fn heal_all(&mut self, latency: Duration) {
        self.plan = Plan::default();
        self.supervised = true;
        for node in self.nodes.values() {
            node.disk.power_on();
        }
        let hosts = self.hosts();
        for (at, host) in hosts.iter().enumerate() {
            for other in &hosts[at + 1..] {
                self.heal(host, other);
                self.sim.set_link_latency(host.as_str(), other.as_str(), latency);
            }
        }
        self.start_registry();
        for node in self.nodes() {
            self.restart(&node);
        }
        self.note("everything is healed");
    }

    /// Checks what clients saw, and that no process ended by itself. The end of every scenario.
    pub fn finish(self) {
        for place in self.nodes.values() {
            if let Some(Err(error)) = &place.process.lock().ended {
                panic!("{} ended by itself: {error}", place.name);
            }
        }
        if let Err(violation) = checks::check(&self.history.ops()) {
            panic!("not linearizable: {violation}");
        }
        let ops = self.history.ops().len();
        let facts = self.oracles.facts();
        self.trace.line(format_args!("finished: {ops} operations, {facts} facts, {} draws", hooks::draws()));
        // Nothing may be written while the hosts are torn down: that is no part of the scenario.
        for place in self.nodes.values() {
            place.disk.process_kill();
        }
    }

    fn place(&self, node: &str) -> &NodePlace {
        self.nodes.get(node).unwrap_or_else(|| panic!("there is no node {node}"))
    }

    fn hosts(&self) -> Vec<String> {
        let names = self.nodes.keys().chain(self.clients.keys()).cloned();
        names.chain([REGISTRY.to_owned()]).collect()
    }
}
