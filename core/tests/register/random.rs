//! Long random runs of larger worlds: up to five replicas, three keys, every node leading when it is asked, loss,
//! duplication, reordering, restarts, and a partition that begins to move (majorities of both lists) while it is written.
//!
//! Each seed is a safety phase with faults, then a liveness phase without: every key must be written.
//! `HOLDFAST_SEEDS` sets how many seeds of each kind run, `HOLDFAST_SEED` runs one.

use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::register::leader::AcceptReply;
use holdfast_core::register::{
    Answer, Attempt, Effect, Leader, Quorum, QuorumRead, ReadStep, Request, Token,
};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

use crate::check::{self, Call, End, Proposals};
use crate::world::{self, Message, Replica, node};

const KEYS: usize = 3;
const CLIENTS: usize = 4;
/// With the last put fewer than a key remembers, so that its history is its lineage.
const OPERATIONS_PER_KEY: usize = 14;
const STEPS: usize = 6000;

/// xorshift64*: the runs are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// How a world is made.
struct Kind {
    nodes: usize,
    replicas: &'static [usize],
    next: Option<&'static [usize]>,
}

/// A client and the mutation it is at.
#[derive(Clone, Default)]
struct Client {
    key: usize,
    op: u128,
    request: Option<Request>,
    /// Attempts that have not ended.
    open: Vec<u64>,
}

/// A quorum read under way.
struct Reader {
    call: u64,
    coordinator: usize,
    replies: Vec<(usize, Ballot)>,
}

struct Placed {
    key: usize,
    at: usize,
    call: Call,
}

struct World {
    random: Random,
    nodes: usize,
    /// Whom most requests go to, for a while.
    preferred: usize,
    /// By config: the first, and the one in which the partition moves.
    quorums: Vec<Arc<Quorum>>,
    /// The config that each node knows.
    configs: Vec<usize>,
    names: Vec<ObjectName>,
    disks: Vec<Replica>,
    leaders: Vec<Leader>,
    network: Vec<Message>,
    calls: Vec<Placed>,
    proposals: Vec<Proposals>,
    clients: Vec<Client>,
    readers: Vec<Reader>,
    operations: Vec<usize>,
    /// Per hundred messages.
    lost: usize,
    doubled: usize,
    answered: usize,
}

impl World {
    fn new(seed: u64, kind: &Kind) -> Self {
        let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut quorums = vec![world::quorum(1, kind.replicas, None)];
        if let Some(next) = kind.next {
            quorums.push(world::quorum(2, kind.replicas, Some(next)));
        }
        let (lost, doubled) = (random.below(20), random.below(20));
        let disk = |at| {
            // Some say of themselves that they hold something else: leaders that are not caught up.
            let differs_by = if random.percent(30) { at as u128 } else { 0 };
            Replica { differs_by, ..Replica::default() }
        };
        let disks = (0..kind.nodes).map(disk).collect();
        let leaders = (0..kind.nodes).map(|at| Leader::new(node(at), quorums[0].clone(), Term::ZERO));
        Self {
            random,
            nodes: kind.nodes,
            preferred: 0,
            leaders: leaders.collect(),
            quorums,
            configs: vec![0; kind.nodes],
            names: (0..KEYS).map(|at| ObjectName::new("b", &format!("k{at}")).expect("a name")).collect(),
            disks,
            network: Vec::new(),
            calls: Vec::new(),
            proposals: vec![Proposals::default(); KEYS],
            clients: vec![Client::default(); CLIENTS],
            readers: Vec::new(),
            operations: vec![0; KEYS],
            lost,
            doubled,
            answered: 0,
        }
    }

    fn key_of(&self, name: &ObjectName) -> usize {
        self.names.iter().position(|of| of == name).expect("one of ours")
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::Answer { token, answer } => self.on_answer(token.0, answer.clone()),
                Effect::Accept { name, ballot, record, .. } => {
                    let key = self.key_of(name);
                    self.proposals[key].on_accept(*ballot, record);
                }
                Effect::Prepare { .. } | Effect::Learn { .. } => {}
            }
            if let Some(message) = world::message_of(&effect) {
                self.send(message);
            }
        }
    }

    fn send(&mut self, message: Message) {
        if self.random.percent(self.lost) {
            return;
        }
        if self.random.percent(self.doubled) {
            self.network.push(message.clone());
        }
        self.network.push(message);
    }

    fn on_answer(&mut self, token: u64, answer: Answer) {
        let Placed { key, call, .. } = &mut self.calls[token as usize];
        assert!(call.end.is_none(), "{call:?} was answered twice");
        let end = End::of(answer);
        let says = end.says();
        let refused_first = matches!(
            &end,
            End::Answer(
                Answer::Refused(_) | Answer::ConditionFailed { .. } | Answer::Deleted { found: false, .. }
            )
        ) && matches!(&call.request, Some(Request::Put { attempt, .. } | Request::Delete { attempt, .. })
                if *attempt == Attempt::Only);
        let op = call.request.as_ref().and_then(check::writes);
        call.end = Some(end);
        self.answered += usize::from(says);
        for client in &mut self.clients {
            client.open.retain(|open| *open != token);
            // The refusal of a first attempt counts only while it is the only one.
            let counts = says && (!refused_first || client.open.is_empty());
            if counts && op == Some(OpId(client.op)) && client.key == *key {
                client.request = None;
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        let message = self.network.swap_remove(at);
        if let Some(to) = message.to_replica() {
            let at = (to.0 - 1) as usize;
            let Some(reply) = self.disks[at].handle(&message) else { return };
            if let Message::Accepted { name, ballot, reply: AcceptReply::Accepted, .. } = &reply {
                let key = self.key_of(name);
                self.proposals[key].on_vote(*ballot, to);
            }
            self.send(reply);
        } else {
            let at = (message.to_leader().expect("a reply").0 - 1) as usize;
            let mut effects = Vec::new();
            world::deliver(&mut self.leaders[at], &message, &mut effects);
            self.perform(effects);
        }
    }

    fn call(&mut self, key: usize, at: usize, request: Option<Request>) -> u64 {
        let says = |call: &Call| call.end.as_ref().is_some_and(End::says);
        let of_key = self.calls.iter().filter(|placed| placed.key == key);
        let after = of_key.enumerate().filter(|(_, placed)| says(&placed.call)).map(|(at, _)| at).collect();
        let token = self.calls.len() as u64;
        let call = Call { request: request.clone(), begun: true, end: None, after };
        self.calls.push(Placed { key, at, call });
        if let Some(request) = request {
            let mut effects = Vec::new();
            let name = self.names[key].clone();
            self.leaders[at].begin(Token(token), &name, request, &mut effects);
            self.perform(effects);
        }
        token
    }

    fn some_node(&mut self) -> usize {
        if self.random.percent(5) {
            self.preferred = self.random.below(self.nodes);
        }
        if self.random.percent(85) { self.preferred } else { self.random.below(self.nodes) }
    }

    /// A client begins its next operation, or another attempt of it, or asks what became of it.
    fn on_client(&mut self, client: usize) {
        let at = self.some_node();
        let mut now = self.clients[client].clone();
        if let Some(request) = &mut now.request {
            if now.open.len() > 1 {
                return;
            }
            match request {
                Request::Put { attempt, .. } | Request::Delete { attempt, .. } => *attempt = Attempt::Again,
                Request::Outcome { .. } | Request::Resolve => unreachable!("clients begin with mutations"),
            }
            if self.random.percent(15) {
                self.call(now.key, at, Some(world::outcome(now.op)));
                return;
            }
        } else {
            now.key = self.random.below(KEYS);
            if self.operations[now.key] == OPERATIONS_PER_KEY {
                return;
            }
            self.operations[now.key] += 1;
            now.op = (self.operations[now.key] * 8 + self.random.below(8)) as u128;
            let condition = self.condition(now.key);
            now.open.clear();
            now.request = Some(if self.random.percent(30) {
                world::delete(now.op, Attempt::Only, condition)
            } else {
                world::put(now.op, Attempt::Only, condition)
            });
        }
        let (key, request) = (now.key, now.request.clone());
        now.open.push(self.calls.len() as u64);
        self.clients[client] = now;
        self.call(key, at, request);
    }

    fn condition(&mut self, key: usize) -> Condition {
        let written = self.calls.iter().rev().find_map(|placed| match &placed.call.end {
            Some(End::Answer(Answer::Put { version, .. })) if placed.key == key => Some(*version),
            _ => None,
        });
        match self.random.below(6) {
            0 => Condition::IfAbsent,
            1 => Condition::IfPresent,
            2 => written.map_or(Condition::Always, Condition::IfVersion),
            _ => Condition::Always,
        }
    }

    /// A quorum read begins, or one more replica answers one.
    fn on_reader(&mut self) {
        if self.readers.len() < 2 {
            let (key, coordinator) = (self.random.below(KEYS), self.random.below(self.nodes));
            let call = self.call(key, coordinator, None);
            self.readers.push(Reader { call, coordinator, replies: Vec::new() });
            return;
        }
        let which = self.random.below(self.readers.len());
        let key = self.calls[self.readers[which].call as usize].key;
        let at = self.random.below(self.nodes);
        let held = self.disks[at].accepted.get(&self.names[key]);
        let ballot = held.map_or(Ballot::ZERO, |(ballot, _)| *ballot);
        let quorum = self.quorums[self.configs[self.readers[which].coordinator]].clone();
        let reader = &mut self.readers[which];
        if !quorum.contains(node(at)) || reader.replies.iter().any(|(from, _)| *from == at) {
            return;
        }
        reader.replies.push((at, ballot));
        let mut read = QuorumRead::new(&quorum);
        let mut step = ReadStep::Wait;
        for (from, ballot) in &reader.replies {
            step = read.on_reply(node(*from), *ballot, quorum.voters());
        }
        let end = match step {
            ReadStep::Chosen(chosen, _) => End::Read(chosen, self.version_under(key, chosen)),
            ReadStep::Resolve => End::Unknown,
            ReadStep::Ask(_) | ReadStep::Wait => return,
            ReadStep::Unavailable => unreachable!("nobody failed to answer"),
        };
        let call = self.readers.swap_remove(which).call;
        self.calls[call as usize].call.end = Some(end);
    }

    fn version_under(&self, key: usize, ballot: Ballot) -> Option<Version> {
        self.proposals[key].record(ballot).and_then(|record| record.object_version())
    }

    fn restart(&mut self, at: usize) {
        let quorum = self.quorums[self.configs[at]].clone();
        self.leaders[at] = Leader::new(node(at), quorum, self.disks[at].promised);
        for token in 0..self.calls.len() {
            let Placed { at: on, call, .. } = &self.calls[token];
            if *on == at && call.end.is_none() && call.request.is_some() {
                self.on_answer(token as u64, Answer::OutcomeUnknown);
            }
        }
    }

    /// A record that is known to be chosen reaches a replica that may lag behind.
    fn install(&mut self) {
        let (key, at) = (self.random.below(KEYS), self.random.below(self.nodes));
        let chosen = self.proposals[key].chosen(|config| by_config(&self.quorums, config)).pop();
        if let Some((ballot, record)) = chosen {
            let message = Message::Install { to: node(at), name: self.names[key].clone(), ballot, record };
            self.disks[at].handle(&message);
        }
    }

    fn expire(&mut self) {
        let open = |(token, placed): (usize, &Placed)| {
            (placed.call.end.is_none() && placed.call.request.is_some()).then_some(token)
        };
        let open: Vec<usize> = self.calls.iter().enumerate().filter_map(open).collect();
        if !open.is_empty() {
            let token = open[self.random.below(open.len())];
            let mut effects = Vec::new();
            self.leaders[self.calls[token].at].on_expired(Token(token as u64), &mut effects);
            self.perform(effects);
        }
    }

    fn reconfigure(&mut self, at: usize, config: usize) {
        self.configs[at] = config;
        let mut effects = Vec::new();
        self.leaders[at].reconfigure(self.quorums[config].clone(), &mut effects);
        self.perform(effects);
    }

    fn tick(&mut self, at: usize) {
        let mut effects = Vec::new();
        self.leaders[at].on_tick(&mut effects);
        self.perform(effects);
    }

    fn step(&mut self) {
        let at = self.random.below(self.nodes);
        match self.random.below(100) {
            0..76 if !self.network.is_empty() => {
                let message = self.random.below(self.network.len());
                self.deliver(message);
            }
            76..84 => self.tick(at),
            84..90 => {
                let client = self.random.below(CLIENTS);
                self.on_client(client);
            }
            90..96 => self.on_reader(),
            96 => self.expire(),
            97 if self.random.percent(20) => self.restart(at),
            98 if self.random.percent(20) && self.configs[at] + 1 < self.quorums.len() => {
                self.reconfigure(at, self.configs[at] + 1);
            }
            99 => self.install(),
            _ => {}
        }
    }

    fn check(&self) {
        for (key, proposals) in self.proposals.iter().enumerate() {
            let current = proposals.check(|config| by_config(&self.quorums, config));
            let calls = self.calls.iter().filter(|placed| placed.key == key);
            let calls: Vec<Call> = calls.map(|placed| placed.call.clone()).collect();
            check::check_answers(current.as_deref(), &calls);
        }
    }

    /// No faults any more: whoever asks the nodes in turn writes each key before long.
    fn settle(&mut self) {
        (self.lost, self.doubled) = (0, 0);
        for at in 0..self.nodes {
            self.reconfigure(at, self.quorums.len() - 1);
        }
        for key in 0..KEYS {
            let request = world::put(1000, Attempt::Again, Condition::Always);
            let mut at = 0;
            for attempt in 0.. {
                assert!(
                    attempt < 20,
                    "{} cannot be written, with every node and message there",
                    self.names[key]
                );
                let token = self.call(key, at, Some(request.clone()));
                for _ in 0..5 {
                    while !self.network.is_empty() {
                        self.deliver(0);
                    }
                    self.tick(at);
                }
                match &self.calls[token as usize].call.end {
                    Some(End::Answer(Answer::Put { .. })) => break,
                    Some(end) if !end.says() => at = (at + usize::from(attempt % 2 == 1)) % self.nodes,
                    other => panic!("the put ended with {other:?}: {:?}", self.leaders[at]),
                }
            }
        }
    }
}

fn by_config(quorums: &[Arc<Quorum>], config: ConfigVersion) -> &Quorum {
    quorums.iter().find(|quorum| quorum.config() == config).expect("a config of this world")
}

fn run(name: &str, kind: &Kind) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let all = || 0..number("HOLDFAST_SEEDS").unwrap_or(300);
    let seeds = number("HOLDFAST_SEED").map_or_else(all, |seed| seed..seed + 1);
    let count = seeds.end - seeds.start;
    let (mut answered, mut asked) = (0, 0);
    for seed in seeds {
        let world = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, kind);
            for step in 0..STEPS {
                world.step();
                if step % 500 == 0 {
                    world.check();
                }
            }
            world.settle();
            world.check();
            (world.answered, world.calls.len())
        });
        let Ok((these, of)) = world else { panic!("{name}: HOLDFAST_SEED={seed} shows it") };
        answered += these;
        asked += of;
    }
    println!("{name}: {count} seeds, {asked} calls, {answered} answers of leaders that say something");
    assert!(answered as u64 >= count * 20, "the runs have become empty: {answered} answers");
}

#[test]
fn three_replicas() {
    run("three replicas", &Kind { nodes: 3, replicas: &[0, 1, 2], next: None });
}

#[test]
fn five_replicas() {
    run("five replicas", &Kind { nodes: 5, replicas: &[0, 1, 2, 3, 4], next: None });
}

#[test]
fn a_partition_that_begins_to_move() {
    run("moving", &Kind { nodes: 5, replicas: &[0, 1, 2], next: Some(&[2, 3, 4]) });
}
