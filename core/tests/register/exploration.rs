//! Every reachable state of small worlds: three replicas, two nodes whose leaders compete, a few calls.
//!
//! The network never forgets: a message that was once sent can be delivered at any time, any number of times, in any
//! order, or never. So loss, delay, reordering, duplication and resending are all there, without a bound. Any request may
//! expire at any moment. A restart keeps a replica's disk and loses the leader on it.
//!
//! States are small: leaders, disks, messages and answers are numbered, and each step of a leader or a replica is
//! computed once. `HOLDFAST_EXPLORE=deep` explores larger worlds (minutes, some GB).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use holdfast_core::condition::Condition;
use holdfast_core::ids::ObjectName;
use holdfast_core::register::Attempt::{Again, Only};
use holdfast_core::register::leader::AcceptReply;
use holdfast_core::register::{Effect, Leader, Quorum, QuorumRead, ReadStep, Request, Token};
use holdfast_core::term::{Ballot, Term};

use crate::check::{self, Call, End, Proposals};
use crate::world::{self, Message, Replica, delete, node, outcome, put};

const REPLICAS: usize = 3;
const LEADERS: usize = 2;

/// What a client does: one call, when it may begin.
struct Step {
    at: At,
    /// Not before this call has begun; and, for another attempt of the same operation, not once that one was answered.
    after: Option<usize>,
}

enum At {
    Leader(usize, Request),
    Read,
}

fn on(leader: usize, request: Request) -> Step {
    Step { at: At::Leader(leader, request), after: None }
}

fn read() -> Step {
    Step { at: At::Read, after: None }
}

impl Step {
    fn after(self, call: usize) -> Self {
        Self { after: Some(call), ..self }
    }
}

struct Scenario {
    name: &'static str,
    steps: Vec<Step>,
    restarts: u8,
    /// Whether chosen records may be installed anywhere, at any time.
    installs: bool,
}

/// A number for each distinct value.
struct Numbers<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }

    fn of(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer than 2^32 values");
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Progress {
    NotBegun,
    Open,
    /// A quorum read: what each replica answered so far, by the number of the ballot.
    Reading([Option<u32>; REPLICAS]),
    Ended(u32),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    disks: [u32; REPLICAS],
    leaders: [u32; LEADERS],
    /// Sorted.
    sent: Vec<u32>,
    calls: Vec<Progress>,
    /// For each call, which had ended when it began, as bits.
    after: Vec<u16>,
    restarts: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Delivered(u32),
    Begun(u8),
    Expired(u8),
}

/// What one step of a leader does: its next self, messages, ended calls.
type Stepped = (u32, Vec<u32>, Vec<(u64, u32)>);

struct Explorer<'a> {
    scenario: &'a Scenario,
    name: ObjectName,
    quorum: Arc<Quorum>,
    disks: Numbers<Replica>,
    leaders: Numbers<Leader>,
    messages: Numbers<Message>,
    ends: Numbers<End>,
    ballots: Numbers<Ballot>,
    leader_steps: HashMap<(u32, Event), Stepped>,
    disk_steps: HashMap<(u32, u32), (u32, Option<u32>)>,
    seen: HashSet<u128>,
    stack: Vec<State>,
    answers: BTreeSet<String>,
}

impl<'a> Explorer<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            name: ObjectName::new("b", "k").expect("a name"),
            quorum: world::quorum(1, &[0, 1, 2], None),
            disks: Numbers::new(),
            leaders: Numbers::new(),
            messages: Numbers::new(),
            ends: Numbers::new(),
            ballots: Numbers::new(),
            leader_steps: HashMap::new(),
            disk_steps: HashMap::new(),
            seen: HashSet::new(),
            stack: Vec::new(),
            answers: BTreeSet::new(),
        }
    }

    fn run(&mut self) -> usize {
        let disk = self.disks.of(Replica::default());
        let leaders =
            [0, 1].map(|at| self.leaders.of(Leader::new(node(at), self.quorum.clone(), Term::default())));
        let calls = self.scenario.steps.len();
        let first = State {
            disks: [disk; REPLICAS],
            leaders,
            sent: Vec::new(),
            calls: vec![Progress::NotBegun; calls],
            after: vec![0; calls],
            restarts: self.scenario.restarts,
        };
        self.visit(first, false);
        while let Some(state) = self.stack.pop() {
            self.expand(&state);
        }
        self.seen.len()
    }

    fn visit(&mut self, state: State, check: bool) {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            state.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        if self.seen.insert(half(1) << 64 | half(2)) {
            if check {
                self.check(&state);
            }
            self.stack.push(state);
        }
    }

    fn expand(&mut self, state: &State) {
        for message in &state.sent {
            if let Some(to) = self.messages.value(*message).to_replica() {
                self.on_request(state, *message, (to.0 - 1) as usize);
            } else {
                let to = self.messages.value(*message).to_leader().expect("a reply goes to a leader");
                self.on_leader(state, (to.0 - 1) as usize, Event::Delivered(*message));
            }
        }
        let scenario = self.scenario;
        for (call, step) in scenario.steps.iter().enumerate() {
            let number = u8::try_from(call).expect("few calls");
            match (state.calls[call], &step.at) {
                (Progress::NotBegun, at) if self.may_begin(state, call) => {
                    let mut next = state.clone();
                    next.after[call] = self.ended(state);
                    match at {
                        At::Leader(leader, _) => {
                            next.calls[call] = Progress::Open;
                            self.on_leader(&next, *leader, Event::Begun(number));
                        }
                        At::Read => {
                            next.calls[call] = Progress::Reading([None; REPLICAS]);
                            self.visit(next, false);
                        }
                    }
                }
                (Progress::Open, At::Leader(leader, _)) => {
                    self.on_leader(state, *leader, Event::Expired(number))
                }
                (Progress::Reading(replies), _) => self.poll(state, call, replies),
                _ => {}
            }
        }
        if state.restarts > 0 {
            for leader in 0..LEADERS {
                self.restart(state, leader);
            }
        }
        if scenario.installs {
            self.install(state);
        }
    }

    fn may_begin(&self, state: &State, call: usize) -> bool {
        self.scenario.steps[call].after.is_none_or(|before| match state.calls[before] {
            Progress::NotBegun => false,
            Progress::Open | Progress::Reading(_) => true,
            // A client that has its answer does not try again.
            Progress::Ended(end) => {
                let op = |at: usize| match &self.scenario.steps[at].at {
                    At::Leader(_, request) => check::writes(request),
                    At::Read => None,
                };
                op(before).is_none() || op(before) != op(call) || *self.ends.value(end) == End::Unknown
            }
        })
    }

    /// The calls that have ended and said something, as bits.
    fn ended(&self, state: &State) -> u16 {
        let said = |progress: &Progress| match progress {
            Progress::Ended(end) => *self.ends.value(*end) != End::Unknown,
            _ => false,
        };
        let ended = state.calls.iter().enumerate().filter(|(_, progress)| said(progress));
        ended.map(|(call, _)| 1 << call).sum()
    }

    fn on_request(&mut self, state: &State, message: u32, to: usize) {
        let key = (state.disks[to], message);
        if !self.disk_steps.contains_key(&key) {
            let mut disk = self.disks.value(key.0).clone();
            let reply = disk.handle(&self.messages.value(message).clone());
            let step = (self.disks.of(disk), reply.map(|reply| self.messages.of(reply)));
            self.disk_steps.insert(key, step);
        }
        let (disk, reply) = self.disk_steps[&key];
        let new_reply = reply.is_some_and(|reply| state.sent.binary_search(&reply).is_err());
        if disk == state.disks[to] && !new_reply {
            return;
        }
        let mut next = state.clone();
        next.disks[to] = disk;
        let vote = reply.is_some_and(|reply| {
            matches!(self.messages.value(reply), Message::Accepted { reply: AcceptReply::Accepted, .. })
        });
        next.send(reply);
        self.visit(next, new_reply && vote);
    }

    fn on_leader(&mut self, state: &State, leader: usize, event: Event) {
        let key = (state.leaders[leader], event);
        if !self.leader_steps.contains_key(&key) {
            let step = self.step(key.0, event);
            self.leader_steps.insert(key, step);
        }
        let (after, messages, ends) = &self.leader_steps[&key];
        let proposes = messages.iter().any(|m| matches!(self.messages.value(*m), Message::Accept { .. }));
        if *after == key.0 && messages.is_empty() && ends.is_empty() {
            return;
        }
        let mut next = state.clone();
        next.leaders[leader] = *after;
        next.send(messages.iter().copied());
        for (call, end) in ends {
            next.calls[*call as usize] = Progress::Ended(*end);
        }
        let check = proposes || !ends.is_empty();
        self.visit(next, check);
    }

    fn step(&mut self, leader: u32, event: Event) -> Stepped {
        let mut leader = self.leaders.value(leader).clone();
        let mut effects = Vec::new();
        match event {
            Event::Delivered(message) => {
                world::deliver(&mut leader, self.messages.value(message), &mut effects)
            }
            Event::Begun(call) => {
                let At::Leader(_, request) = &self.scenario.steps[usize::from(call)].at else {
                    unreachable!("reads do not begin at a leader")
                };
                leader.begin(Token(u64::from(call)), &self.name, request.clone(), &mut effects);
            }
            Event::Expired(call) => leader.on_expired(Token(u64::from(call)), &mut effects),
        }
        let mut messages = Vec::new();
        let mut ends = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Answer { token, answer } => {
                    self.answers.insert(kind_of(&format!("{answer:?}")));
                    ends.push((token.0, self.ends.of(End::of(answer.clone()))));
                }
                effect => messages.push(self.messages.of(world::message_of(effect).expect("not an answer"))),
            }
        }
        (self.leaders.of(leader), messages, ends)
    }

    fn poll(&mut self, state: &State, call: usize, replies: [Option<u32>; REPLICAS]) {
        for at in (0..REPLICAS).filter(|at| replies[*at].is_none()) {
            let held = self.disks.value(state.disks[at]).accepted.get(&self.name);
            let ballot = held.map_or(Ballot::ZERO, |(ballot, _)| *ballot);
            let mut replies = replies;
            replies[at] = Some(self.ballots.of(ballot));
            let quorum = self.quorum.clone();
            let mut read = QuorumRead::new(&quorum);
            let mut step = ReadStep::Wait;
            for (at, ballot) in replies.iter().enumerate().filter_map(|(at, ballot)| Some((at, (*ballot)?))) {
                step = read.on_reply(node(at), *self.ballots.value(ballot), quorum.voters());
            }
            let mut next = state.clone();
            next.calls[call] = match step {
                ReadStep::Chosen(ballot, _) => Progress::Ended(self.ends.of(End::Read(ballot))),
                ReadStep::Resolve => Progress::Ended(self.ends.of(End::Unknown)),
                ReadStep::Ask(_) | ReadStep::Wait => Progress::Reading(replies),
                ReadStep::Unavailable => unreachable!("a majority answered"),
            };
            self.visit(next, matches!(step, ReadStep::Chosen(..)));
        }
    }

    fn restart(&mut self, state: &State, leader: usize) {
        let promised = self.disks.value(state.disks[leader]).promised;
        let mut next = state.clone();
        next.leaders[leader] = self.leaders.of(Leader::new(node(leader), self.quorum.clone(), promised));
        next.restarts -= 1;
        for (call, step) in self.scenario.steps.iter().enumerate() {
            if state.calls[call] == Progress::Open && matches!(step.at, At::Leader(at, _) if at == leader) {
                next.calls[call] = Progress::Ended(self.ends.of(End::Unknown));
            }
        }
        self.visit(next, false);
    }

    fn install(&mut self, state: &State) {
        for (ballot, record) in self.proposals(state).chosen(&self.quorum) {
            for at in 0..REPLICAS {
                let (to, name, record) = (node(at), self.name.clone(), record.clone());
                let message = self.messages.of(Message::Install { to, name, ballot, record });
                self.on_request(state, message, at);
            }
        }
    }

    fn proposals(&self, state: &State) -> Proposals {
        let mut proposals = Proposals::default();
        for message in &state.sent {
            match self.messages.value(*message) {
                Message::Accept { ballot, record, .. } => proposals.on_accept(*ballot, record),
                Message::Accepted { from, ballot, reply: AcceptReply::Accepted, .. } => {
                    proposals.on_vote(*ballot, *from);
                }
                _ => {}
            }
        }
        proposals
    }

    fn check(&self, state: &State) {
        let calls: Vec<Call> = (0..state.calls.len())
            .map(|at| Call {
                request: match &self.scenario.steps[at].at {
                    At::Leader(_, request) => Some(request.clone()),
                    At::Read => None,
                },
                begun: state.calls[at] != Progress::NotBegun,
                end: match state.calls[at] {
                    Progress::Ended(end) => Some(self.ends.value(end).clone()),
                    _ => None,
                },
                after: (0..state.calls.len()).filter(|before| state.after[at] & 1 << before != 0).collect(),
            })
            .collect();
        check::check_answers(&self.proposals(state), &self.quorum, &calls);
    }
}

impl State {
    fn send(&mut self, messages: impl IntoIterator<Item = u32>) {
        for message in messages {
            if let Err(at) = self.sent.binary_search(&message) {
                self.sent.insert(at, message);
            }
        }
    }
}

/// An answer without its numbers, such as `Refused(ConditionFailed`.
fn kind_of(answer: &str) -> String {
    answer.chars().take_while(|c| c.is_alphabetic() || *c == '(').collect()
}

fn deep() -> bool {
    std::env::var("HOLDFAST_EXPLORE").is_ok_and(|value| value == "deep")
}

fn explore(scenario: &Scenario, states_min: usize, answers: &[&str]) {
    let mut explorer = Explorer::new(scenario);
    let begun = std::time::Instant::now();
    let states = explorer.run();
    println!(
        "{}: {states} states, {} leaders, {} disks, {} messages, {:.1?}, answers {:?}",
        scenario.name,
        explorer.leaders.values.len(),
        explorer.disks.values.len(),
        explorer.messages.values.len(),
        begun.elapsed(),
        explorer.answers,
    );
    assert!(states >= states_min, "{}: only {states} states", scenario.name);
    for answer in answers {
        assert!(
            explorer.answers.iter().any(|seen| seen.starts_with(answer)),
            "{}: nobody was answered {answer}: {:?}",
            scenario.name,
            explorer.answers
        );
    }
}

#[test]
fn one_op_id_at_two_leaders() {
    let scenario = Scenario {
        name: "one op id at two leaders",
        steps: vec![on(0, put(1, Only, Condition::Always)), on(1, put(1, Again, Condition::Always)).after(0)],
        restarts: 0,
        installs: false,
    };
    explore(&scenario, 1000, &["Put"]);
}
