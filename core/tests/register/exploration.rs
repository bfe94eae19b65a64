//! Every reachable state of small worlds: three replicas, two nodes whose leaders compete, a few calls.
//!
//! The network never forgets: a message that was once sent can be delivered at any time, any number of times, in any
//! order, or never. So loss, delay, reordering, duplication and resending are all there, without a bound. Any request may
//! expire at any moment. A restart keeps a replica's disk and loses the leader on it.
//!
//! What keeps it small:
//! * leaders, disks, messages and answers are numbered, and each step of a leader or a replica is computed once;
//! * a leader takes the replies of a phase together, once they suffice: a part of them changes nothing that others see;
//! * a message that can do nothing any more is dropped: a reply that its leader ignores, a request that would change
//!   no disk and that its leader would not send again.
//!

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use holdfast_core::error::Code;
use holdfast_core::ids::ObjectName;
use holdfast_core::record::Record;
use holdfast_core::register::leader::AcceptReply;
use holdfast_core::register::{Answer, Effect, Leader, Quorum, QuorumRead, ReadStep, Token};
use holdfast_core::term::{Ballot, Term};

use crate::check::{self, Call, End};
use crate::numbers::{Mix, Numbers, Quick};
use crate::scenarios::{At, Scenario};
use crate::world::{self, Message, Replica, node};

const REPLICAS: usize = 3;
const LEADERS: usize = 2;

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
    /// Proposals that may still be chosen, sorted: the numbers of the ballot and the record, and who acknowledged, as
    /// bits. Only the checks look at it.
    proposals: Vec<(u32, u32, u8)>,
    /// The highest that was.
    chosen: Option<(u32, u32)>,
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
    records: Numbers<Arc<Record>>,
    /// What a leader would send again.
    wanted: Quick<u32, Vec<u32>>,
    leader_steps: Quick<(u32, Event), Stepped>,
    disk_steps: Quick<(u32, u32), (u32, Option<u32>)>,
    /// Two 64 bit hashes of each state.
    seen: Quick<u128, ()>,
    stack: Vec<State>,
    answers: BTreeSet<&'static str>,
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
            records: Numbers::new(),
            wanted: Quick::default(),
            leader_steps: Quick::default(),
            disk_steps: Quick::default(),
            seen: Quick::default(),
            stack: Vec::new(),
            answers: BTreeSet::new(),
        }
    }

    fn run(&mut self) -> usize {
        let differ = if self.scenario.digests { 0 } else { 1 };
        let disks = [0, 1, 2]
            .map(|at| self.disks.of(Replica { differs_by: differ * (at + 1), ..Replica::default() }));
        let leaders =
            [0, 1].map(|at| self.leaders.of(Leader::new(node(at), self.quorum.clone(), Term::default())));
        let calls = self.scenario.steps.len();
        let first = State {
            disks,
            leaders,
            sent: Vec::new(),
            proposals: Vec::new(),
            chosen: None,
            calls: vec![Progress::NotBegun; calls],
            after: vec![0; calls],
            restarts: self.scenario.restarts,
        };
        self.visit(first);
        while let Some(state) = self.stack.pop() {
            self.expand(&state);
        }
        self.seen.len()
    }

    fn visit(&mut self, state: State) {
        let half = |salt: u64| {
            let mut hasher = Mix(salt);
            state.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        if self.seen.insert(half(0x243f_6a88_85a3_08d3) << 64 | half(0x1319_8a2e_0370_7344), ()).is_none() {
            self.stack.push(state);
        }
    }

    fn expand(&mut self, state: &State) {
        for message in &state.sent {
            if let Some(to) = self.messages.value(*message).to_replica() {
                self.on_request(state, *message, (to.0 - 1) as usize);
            }
        }
        for leader in 0..LEADERS {
            self.on_replies(state, leader);
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
                            self.on_leader(&next, *leader, &[Event::Begun(number)]);
                        }
                        At::Read => self.poll(&next, call, [None; REPLICAS]),
                    }
                }
                (Progress::Open, At::Leader(leader, _)) => self.expire(state, *leader, number),
                (Progress::Reading(replies), _) => self.poll(state, call, replies),
                _ => {}
            }
        }
        if state.restarts > 0 {
            for leader in 0..LEADERS {
                self.restart(state, leader);
            }
        }
        if let Some((ballot, record)) = state.chosen.filter(|_| scenario.installs) {
            let (ballot, record) = (*self.ballots.value(ballot), self.records.value(record).clone());
            for at in 0..REPLICAS {
                let (to, name, record) = (node(at), self.name.clone(), record.clone());
                let message = self.messages.of(Message::Install { to, name, ballot, record });
                self.on_request(state, message, at);
            }
        }
    }

    fn may_begin(&self, state: &State, call: usize) -> bool {
        self.scenario.steps[call].after.is_none_or(|before| match state.calls[before] {
            Progress::NotBegun | Progress::Reading(_) => false,
            Progress::Open => true,
            // A client that has its answer does not try again.
            Progress::Ended(end) => {
                let op = |at: usize| match &self.scenario.steps[at].at {
                    At::Leader(_, request) => check::writes(request),
                    At::Read => None,
                };
                op(before).is_none() || op(before) != op(call) || !self.ends.value(end).says()
            }
        })
    }

    /// The calls that have ended and said something, as bits.
    fn ended(&self, state: &State) -> u16 {
        let said = |progress: &Progress| match progress {
            Progress::Ended(end) => self.ends.value(*end).says(),
            _ => false,
        };
        let ended = state.calls.iter().enumerate().filter(|(_, progress)| said(progress));
        ended.map(|(call, _)| 1 << call).sum()
    }

    fn disk_step(&mut self, disk: u32, message: u32) -> (u32, Option<u32>) {
        if let Some(step) = self.disk_steps.get(&(disk, message)) {
            return *step;
        }
        let mut after = self.disks.value(disk).clone();
        let reply = after.handle(self.messages.value(message));
        let step = (self.disks.of(after), reply.map(|reply| self.messages.of(reply)));
        self.disk_steps.insert((disk, message), step);
        step
    }

    fn on_request(&mut self, state: &State, message: u32, to: usize) {
        let (disk, reply) = self.disk_step(state.disks[to], message);
        if disk == state.disks[to] && reply.is_none_or(|reply| state.sent.binary_search(&reply).is_ok()) {
            return;
        }
        let mut next = state.clone();
        self.on_disk(&mut next, message, to);
        self.settle(next);
    }

    fn on_disk(&mut self, state: &mut State, message: u32, to: usize) -> Option<u32> {
        let (disk, reply) = self.disk_step(state.disks[to], message);
        state.disks[to] = disk;
        let reply = reply?;
        state.send(&[reply]);
        if let Message::Accepted { ballot, reply: AcceptReply::Accepted, .. } = self.messages.value(reply) {
            let ballot = *ballot;
            self.on_vote(state, ballot, to);
        }
        Some(reply)
    }

    fn on_vote(&mut self, state: &mut State, ballot: Ballot, from: usize) {
        let number = self.ballots.of(ballot);
        let Some(at) = state.proposals.iter().position(|proposal| proposal.0 == number) else {
            let chosen = state.chosen.map(|chosen| *self.ballots.value(chosen.0));
            assert!(Some(ballot) <= chosen, "a vote for a dead proposal");
            return;
        };
        state.proposals[at].2 |= 1 << from;
        let (_, record, votes) = state.proposals[at];
        if votes.count_ones() as usize * 2 <= REPLICAS {
            return;
        }
        state.proposals.remove(at);
        let found = (ballot, &**self.records.value(record));
        for (other, later, _) in &state.proposals {
            check::check_lineage(found, (*self.ballots.value(*other), self.records.value(*later)));
        }
        let highest =
            state.chosen.map(|(ballot, record)| (*self.ballots.value(ballot), &**self.records.value(record)));
        if let Some(highest) = highest {
            check::check_lineage(found, highest);
            check::check_lineage(highest, found);
        }
        if highest.is_none_or(|highest| ballot > highest.0) {
            state.chosen = Some((number, record));
        }
        self.check_answers(state);
    }

    fn on_proposal(&mut self, state: &mut State, ballot: Ballot, record: &Arc<Record>) {
        let proposal = (self.ballots.of(ballot), self.records.of(record.clone()));
        if state.chosen == Some(proposal) {
            return;
        }
        if let Some(known) = state.proposals.iter().find(|known| known.0 == proposal.0) {
            assert_eq!(known.1, proposal.1, "two records under ballot {ballot:?}");
            return;
        }
        if let Some((chosen, earlier)) = state.chosen {
            check::check_lineage(
                (*self.ballots.value(chosen), self.records.value(earlier)),
                (ballot, record),
            );
        }
        state.proposals.push((proposal.0, proposal.1, 0));
        state.proposals.sort_unstable();
    }

    /// The replies that a leader has: each alone, and each two of different replicas.
    fn on_replies(&mut self, state: &State, leader: usize) {
        let to = Some(node(leader));
        let replies =
            state.sent.iter().copied().filter(|reply| self.messages.value(*reply).to_leader() == to);
        let replies: Vec<u32> = replies.collect();
        let before = self.wanted(state.leaders[leader]).len();
        for (at, first) in replies.iter().enumerate() {
            let one = [Event::Delivered(*first)];
            if !self.is_part(state.leaders[leader], before, &one) {
                self.on_leader(state, leader, &one);
                continue;
            }
            for second in &replies[at + 1..] {
                let two = [one[0], Event::Delivered(*second)];
                if !self.is_part(state.leaders[leader], before, &two) {
                    self.on_leader(state, leader, &two);
                }
            }
        }
    }

    /// Whether these replies only make the leader wait for fewer others.
    fn is_part(&mut self, leader: u32, before: usize, replies: &[Event]) -> bool {
        let (after, messages, ends) = self.steps(leader, replies);
        before > 0
            && messages.is_empty()
            && ends.is_empty()
            && self.wanted(after).len() + replies.len() >= before
    }

    /// What the leader would send again, being not answered.
    fn wanted(&mut self, leader: u32) -> &[u32] {
        if !self.wanted.contains_key(&leader) {
            let mut later = self.leaders.value(leader).clone();
            let mut effects = Vec::new();
            later.on_tick(&mut effects);
            later.on_tick(&mut effects);
            let messages = effects.iter().filter_map(world::message_of);
            let mut messages: Vec<u32> = messages.map(|message| self.messages.of(message)).collect();
            messages.sort_unstable();
            self.wanted.insert(leader, messages);
        }
        &self.wanted[&leader]
    }

    fn leader_step(&mut self, leader: u32, event: Event) -> &Stepped {
        let key = (leader, event);
        if !self.leader_steps.contains_key(&key) {
            let step = self.step(leader, event);
            self.leader_steps.insert(key, step);
        }
        &self.leader_steps[&key]
    }

    fn steps(&mut self, leader: u32, events: &[Event]) -> Stepped {
        let mut all: Stepped = (leader, Vec::new(), Vec::new());
        for event in events {
            let (after, messages, ends) = self.leader_step(all.0, *event);
            all.0 = *after;
            all.1.extend(messages);
            all.2.extend(ends);
        }
        all
    }

    fn on_leader(&mut self, state: &State, leader: usize, events: &[Event]) {
        let (after, messages, ends) = self.steps(state.leaders[leader], events);
        if after == state.leaders[leader] && messages.is_empty() && ends.is_empty() {
            return;
        }
        let mut next = state.clone();
        next.leaders[leader] = after;
        self.apply(&mut next, leader, &messages, &ends);
        self.settle(next);
    }

    fn apply(&mut self, state: &mut State, leader: usize, messages: &[u32], ends: &[(u64, u32)]) {
        state.send(messages);
        for message in messages {
            if let Message::Accept { ballot, record, .. } = self.messages.value(*message).clone() {
                self.on_proposal(state, ballot, &record);
            }
        }
        for (call, end) in ends {
            state.calls[*call as usize] = Progress::Ended(*end);
        }
        if !ends.is_empty() {
            self.check_answers(state);
        }
        let own = |message: &&u32| self.messages.value(**message).to_replica() == Some(node(leader));
        let own: Vec<u32> = messages.iter().filter(own).copied().collect();
        for message in own.into_iter().filter(|_| self.scenario.lean) {
            let reply = self.on_disk(state, message, leader).expect("leaders ask for replies");
            let (after, messages, ends) = self.steps(state.leaders[leader], &[Event::Delivered(reply)]);
            state.leaders[leader] = after;
            self.apply(state, leader, &messages, &ends);
        }
    }

    /// Drops what can do nothing any more, and visits.
    fn settle(&mut self, mut state: State) {
        let mut sent = std::mem::take(&mut state.sent);
        sent.retain(|message| self.matters(&state, *message));
        state.sent = sent;
        let held = |state: &State, ballot: Ballot| {
            state.disks.iter().any(|disk| {
                self.disks.value(*disk).accepted.get(&self.name).is_some_and(|(held, _)| *held == ballot)
            })
        };
        let mut proposals = std::mem::take(&mut state.proposals);
        proposals.retain(|(number, _, _)| {
            let ballot = *self.ballots.value(*number);
            let is_sent = |message: &u32| {
                matches!(self.messages.value(*message), Message::Accept { ballot: of, .. } if *of == ballot)
            };
            held(&state, ballot) || state.sent.iter().any(is_sent)
        });
        state.proposals = proposals;
        self.visit(state);
    }

    fn matters(&mut self, state: &State, message: u32) -> bool {
        let value = self.messages.value(message);
        let replica = value.to_replica();
        let sender = match value {
            Message::Prepare { term, .. } | Message::Learn { term, .. } => term.node,
            Message::Accept { ballot, .. } => ballot.term.node,
            reply => reply.to_leader().expect("no install is kept"),
        };
        let leader = state.leaders[(sender.0 - 1) as usize];
        let Some(replica) = replica else {
            let (after, messages, ends) = self.leader_step(leader, Event::Delivered(message));
            return *after != leader || !messages.is_empty() || !ends.is_empty();
        };
        let disk = state.disks[(replica.0 - 1) as usize];
        self.disk_step(disk, message).0 != disk || self.wanted(leader).contains(&message)
    }

    fn step(&mut self, leader: u32, event: Event) -> Stepped {
        let mut leader = self.leaders.value(leader).clone();
        let mut effects = Vec::new();
        match event {
            Event::Delivered(message) => {
                world::deliver(&mut leader, self.messages.value(message), &mut effects);
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
                    self.answers.insert(kind_of(answer));
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
            let (ballot, version) =
                held.map_or((Ballot::ZERO, None), |(ballot, record)| (*ballot, record.object_version()));
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
                // The last answer made it so: it has that ballot.
                ReadStep::Chosen(chosen, _) => {
                    assert_eq!(chosen, ballot, "an earlier answer would have done");
                    Progress::Ended(self.ends.of(End::Read(ballot, version)))
                }
                ReadStep::Resolve => Progress::Ended(self.ends.of(End::Unknown)),
                ReadStep::Ask(_) | ReadStep::Wait => Progress::Reading(replies),
                ReadStep::Unavailable => unreachable!("nobody failed to answer"),
            };
            if let ReadStep::Chosen(..) = step {
                self.check_answers(&next);
            }
            self.visit(next);
        }
    }

    fn expire(&mut self, state: &State, leader: usize, call: u8) {
        let event = Event::Expired(call);
        let unavailable = self.ends.of(End::Answer(Answer::Unavailable));
        let not_proposed =
            self.leader_step(state.leaders[leader], event).2.iter().any(|end| end.1 == unavailable);
        if !(self.scenario.lean && not_proposed) {
            self.on_leader(state, leader, &[event]);
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
        self.settle(next);
    }

    fn check_answers(&self, state: &State) {
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
        let current = state.chosen.map(|(_, record)| &**self.records.value(record));
        check::check_answers(current, &calls);
    }
}

impl State {
    fn send(&mut self, messages: &[u32]) {
        for message in messages {
            if let Err(at) = self.sent.binary_search(message) {
                self.sent.insert(at, *message);
            }
        }
    }
}

fn kind_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::Put { .. } => "put",
        Answer::Deleted { found: true, .. } => "deleted",
        Answer::Deleted { found: false, .. } => "nothing to delete",
        Answer::Committed(_) => "committed",
        Answer::Fenced => "fenced",
        Answer::Forgotten => "forgotten",
        Answer::Chosen(_) => "chosen",
        Answer::ConditionFailed { .. } => "condition failed",
        Answer::Refused(Code::StaleOpId(_)) => "stale op id",
        Answer::Refused(Code::Fenced) => "refused: fenced",
        Answer::Refused(_) => "refused",
        Answer::NotLeader(_) => "not leader",
        Answer::Unavailable => "unavailable",
        Answer::OutcomeUnknown => "outcome unknown",
    }
}

/// Explores it all, and makes sure that it was not empty: at least so many states, and these answers among them.
pub fn explore(scenario: &Scenario, states_min: usize, answers: &[&str]) {
    let mut explorer = Explorer::new(scenario);
    let states = explorer.run();
    let digests = if scenario.digests { ", with digests" } else { "" };
    println!(
        "{}{digests}: {states} states, {} leaders, {} disks, {} messages, answers {:?}",
        scenario.name,
        explorer.leaders.len(),
        explorer.disks.len(),
        explorer.messages.len(),
        explorer.answers,
    );
    assert!(states >= states_min, "{}: only {states} states", scenario.name);
    for answer in answers {
        assert!(
            explorer.answers.contains(answer),
            "{}: nobody was answered {answer}: {:?}",
            scenario.name,
            explorer.answers
        );
    }
}
