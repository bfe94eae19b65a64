//! The leader of one partition: it orders the writes of each key, different keys in parallel.
//!
//! Something happened goes in (`begin`, `on_*`), effects come out, to be performed in any order. Messages may be lost, late,
//! doubled and reordered. It keeps no clock: `on_tick` sends again what was not answered, `on_expired` ends a request
//! whose deadline passed.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::Code;
use crate::ids::{NodeId, ObjectName};
use crate::register::counted::{Counted, Counts};
use crate::register::decide::{Answer, Decision, Request, decide};
use crate::register::digest::Digest;
use crate::register::quorum::Quorum;
use crate::register::slot::{Busy, Held, Known, Slot, Waiting};
use crate::sometimes;
use crate::term::{Ballot, Term};

pub use crate::register::message::{AcceptReply, Effect, LearnReply, Token};

/// Keys remembered per partition before the oldest idle ones are forgotten (and learnt again when needed). With 1024
/// partitions and some 400 bytes a head this stays below 60 MB on a node that leads everything.
pub const SLOTS_REMEMBERED_MAX: usize = 128;
/// Keys with unfinished business per partition; beyond it requests are refused as overload.
pub const SLOTS_MAX: usize = 4096;
/// Requests waiting on one key; beyond it they are refused as overload.
pub const QUEUE_MAX: usize = 1024;
/// Proposals that nobody waits for and too few replicas acknowledge. They keep their bodies, so they are bounded: a leader
/// with more of them has no majority and ends its term, which lets it drop them.
pub const ORPHANS_MAX: usize = 32;
/// Ticks without progress before messages are sent again.
const RESEND_TICKS: u8 = 2;

const _: () = assert!(ORPHANS_MAX < SLOTS_REMEMBERED_MAX && SLOTS_REMEMBERED_MAX < SLOTS_MAX);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Not leading.
    Standby,
    /// Waiting for promises.
    Preparing { term: Term, promised_by: BTreeMap<NodeId, Digest>, quiet_ticks: u8 },
    /// Leading. Invariant: `term` is promised durably by a majority and by this node itself, so that it never uses the
    /// term again after a restart.
    ///
    /// `caught_up`: a majority, this node among it, held the very same when it promised. Whatever was chosen before is on
    /// one of that majority, so it is on all of it; and whatever is chosen in this term comes from here. So for a key that
    /// is not remembered the own replica is asked alone: the write costs one round trip, not two.
    Leading { term: Term, caught_up: bool },
}

/// One partition's leader, or the standby for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Leader {
    me: NodeId,
    quorum: Arc<Quorum>,
    /// The highest term heard of. Invariant: >= every term this node ever prepared.
    highest: Term,
    phase: Phase,
    /// Counts proposals and questions in the current term: no number is given twice.
    counter: u64,
    slots: BTreeMap<ObjectName, Slot>,
    /// Keys in the order in which they came, for forgetting.
    arrival: VecDeque<ObjectName>,
    /// The key of each unanswered request.
    tokens: BTreeMap<Token, ObjectName>,
    /// Keys with a proposal under way and no request, or only such as wait for it: sent on every tick until it is chosen, so that a key is not left
    /// half written.
    orphans: BTreeSet<ObjectName>,
    /// What was counted, where somebody wants to know it.
    counts: Counts,
}

impl Leader {
    /// A standby. `promised` is this node's durable promise: every term it leads in will be above it.
    pub fn new(me: NodeId, quorum: Arc<Quorum>, promised: Term) -> Self {
        Self {
            me,
            quorum,
            highest: promised,
            phase: Phase::Standby,
            counter: 0,
            slots: BTreeMap::new(),
            arrival: VecDeque::new(),
            tokens: BTreeMap::new(),
            orphans: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// From now on keeps what it counts, for [`Self::take_counts`].
    pub fn keep_counts(&mut self) {
        self.counts.keep();
    }

    /// What was counted since the last call, in order. Nothing without [`Self::keep_counts`].
    pub fn take_counts(&mut self) -> Vec<Counted> {
        self.counts.take()
    }

    /// The term it leads in.
    pub fn leading(&self) -> Option<Term> {
        match self.phase {
            Phase::Leading { term, .. } => Some(term),
            Phase::Standby | Phase::Preparing { .. } => None,
        }
    }

    /// Whether it leads or is about to.
    pub fn is_active(&self) -> bool {
        self.phase != Phase::Standby
    }

    /// The highest term heard of; its node is the likely leader.
    pub fn highest(&self) -> Term {
        self.highest
    }

    /// The voters.
    pub fn quorum(&self) -> &Arc<Quorum> {
        &self.quorum
    }

    /// Whether `on_tick` may have something to send.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Preparing { .. }) || !self.tokens.is_empty() || !self.orphans.is_empty()
    }

    /// Takes over: asks for promises of a term above all it has heard of. Nothing when it leads already, is no voter, or
    /// has heard of a newer config: a term counts the majorities of its own config's voters, and these are not known.
    pub fn campaign(&mut self, effects: &mut Vec<Effect>) {
        let may_lead = self.quorum.contains(self.me) && self.highest.config <= self.quorum.config();
        if self.is_active() || !may_lead {
            sometimes!(!may_lead, "a node that has heard of a newer config than it knows does not campaign");
            return;
        }
        let predecessor = self.highest.node;
        sometimes!(
            predecessor != self.me && self.highest != Term::ZERO,
            "a node takes over from another leader"
        );
        sometimes!(predecessor == self.me, "a node leads again after a term of its own");
        let term = self.highest.next(self.quorum.config(), self.me);
        self.highest = term;
        self.counter = 0;
        self.phase = Phase::Preparing { term, promised_by: BTreeMap::new(), quiet_ticks: 0 };
        effects.extend(self.quorum.voters().iter().map(|to| Effect::Prepare { to: *to, term }));
    }

    /// This node's durable promise is at least `promised`: it may have been given to another candidate.
    pub fn on_heard(&mut self, promised: Term) {
        self.highest = self.highest.max(promised);
    }

    /// A request for this partition's leader. Takes over when it does not lead.
    pub fn begin(&mut self, token: Token, name: &ObjectName, request: Request, effects: &mut Vec<Effect>) {
        self.campaign(effects);
        if !self.is_active() {
            effects.push(Effect::Answer { token, answer: Answer::NotLeader(self.highest) });
            return;
        }
        if !self.slots.contains_key(name) {
            self.forget_some();
            if self.slots.len() >= SLOTS_MAX {
                effects.push(Effect::Answer { token, answer: Answer::Refused(Code::Overloaded) });
                return;
            }
            self.slots.insert(name.clone(), Slot::new());
            self.arrival.push_back(name.clone());
        }
        let slot = self.slots.get_mut(name).expect("it was there or just inserted");
        if slot.queue.len() >= QUEUE_MAX {
            effects.push(Effect::Answer { token, answer: Answer::Refused(Code::Overloaded) });
            return;
        }
        sometimes!(slot.busy != Busy::Idle, "a request comes while another one is under way on its key");
        // Who only wants to know waits for it: proposed anew, it would begin from nothing each time that somebody asks.
        if request != Request::Resolve && slot.queue.is_empty() && self.orphans.remove(name) {
            sometimes!("a request builds on a proposal that nobody waits for any more");
            // What nobody waits for need not be chosen first: the next record can be built on it.
            if let Busy::Accepting { held, .. } = core::mem::replace(&mut slot.busy, Busy::Idle) {
                slot.known = Known::Proposed(held);
            }
        }
        slot.queue.push_back(Waiting { token, request, since: self.counter });
        self.tokens.insert(token, name.clone());
        self.drive(name, effects);
    }

    /// `from` answered a prepare: `promised` is what it has promised now, `holds` what it held of the partition then.
    pub fn on_promised(&mut self, from: NodeId, promised: Term, holds: Digest, effects: &mut Vec<Effect>) {
        let Phase::Preparing { term, promised_by, .. } = &mut self.phase else {
            return self.on_term(promised, effects);
        };
        if promised != *term {
            return self.on_term(promised, effects);
        }
        promised_by.insert(from, holds);
        let term = *term;
        // Its own promise is what keeps it from using the term again after a restart.
        let Some(own) = promised_by.get(&self.me).copied() else { return };
        if self.quorum.is_majority(|node| promised_by.contains_key(&node)) {
            let caught_up = self.quorum.is_majority(|node| promised_by.get(&node) == Some(&own));
            sometimes!(!caught_up, "a new leader does not hold what a majority holds");
            self.counts.note(|| Counted::Led { term, promised_by: promised_by.keys().copied().collect() });
            self.phase = Phase::Leading { term, caught_up };
            let names: Vec<_> = self.slots.keys().cloned().collect();
            for name in names {
                self.drive(&name, effects);
            }
        }
    }

    /// `from` answered the `question` about what it holds of `name`, in `term`.
    pub fn on_learned(
        &mut self,
        from: NodeId,
        name: &ObjectName,
        term: Term,
        question: u64,
        reply: LearnReply,
        effects: &mut Vec<Effect>,
    ) {
        let holds = match reply {
            LearnReply::Refused(higher) => return self.on_term(higher, effects),
            LearnReply::Holds(holds) => holds.map(|(ballot, record)| Held { ballot, record }),
        };
        if self.leading() != Some(term) {
            return;
        }
        if let Some(held) = &holds
            && held.ballot.term > term
        {
            sometimes!("a leader is shown a record of a higher term than its own");
            return self.on_term(held.ballot.term, effects);
        }
        let Some(slot) = self.slots.get_mut(name) else { return };
        match &mut slot.busy {
            Busy::Learning { question: asked, own: true, .. } if *asked == question && from == self.me => {
                sometimes!("a caught up leader learns a key from its own replica alone");
                // Nobody else was asked, so it does not confirm the term.
                holds.iter().for_each(|held| self.counts.note(|| Counted::chosen(name, held, [])));
                slot.known = Known::Chosen(holds);
            }
            Busy::Learning { question: asked, replies, .. } if *asked == question => {
                replies.insert(from, holds);
                if !self.quorum.is_majority(|node| replies.contains_key(&node)) {
                    return;
                }
                self.counts.note(|| Counted::confirmed(name, term, question, replies.keys()));
                slot.known.learn(Known::assess(&self.quorum, replies, name, &mut self.counts));
                slot.confirmed = question;
            }
            Busy::Fetching { question: asked, ballot, replies } if *asked == question => match holds {
                Some(whole) if whole.ballot == *ballot && whole.record.is_whole() => {
                    sometimes!("the whole of a half written record is fetched, to be completed");
                    slot.known.complete(whole);
                }
                // A damaged copy: somebody else, or the next try, must help.
                Some(head) if head.ballot == *ballot => return,
                other => {
                    replies.insert(from, other);
                    let majority = self.quorum.is_majority(|node| replies.contains_key(&node));
                    if !majority || matches!(slot.known, Known::Chosen(_)) {
                        return;
                    }
                    // A majority has promised this term and does not hold it: it was not chosen and will not be.
                    self.counts.note(|| Counted::confirmed(name, term, question, replies.keys()));
                    slot.known = Known::assess(&self.quorum, replies, name, &mut self.counts);
                    slot.confirmed = question;
                }
            },
            _ => {
                sometimes!("an answer comes to a question that is not asked any more");
                return;
            }
        }
        slot.busy = Busy::Idle;
        self.drive(name, effects);
    }

    /// `from` answered the accept of `name` under `ballot`.
    pub fn on_accepted(
        &mut self,
        from: NodeId,
        name: &ObjectName,
        ballot: Ballot,
        reply: AcceptReply,
        effects: &mut Vec<Effect>,
    ) {
        match reply {
            AcceptReply::Refused(higher) => return self.on_term(higher, effects),
            // Within our own term it only says that this accept came late.
            AcceptReply::Superseded(higher) => {
                sometimes!("a proposal comes to a replica after a higher one");
                return self.on_term(higher.term, effects);
            }
            AcceptReply::Accepted => {}
        }
        let Some(slot) = self.slots.get_mut(name) else { return };
        if from == self.me && slot.missing_here == Some(ballot) {
            slot.missing_here = None;
        }
        let Busy::Accepting { held, votes, answer } = &mut slot.busy else { return };
        if held.ballot != ballot {
            sometimes!("an acknowledgement comes for an older proposal than the one under way");
            return;
        }
        votes.insert(from);
        if !self.quorum.is_majority(|node| votes.contains(&node)) {
            return;
        }
        let head = Held { ballot, record: Arc::new(held.record.head()) };
        slot.missing_here = (!votes.contains(&self.me)).then_some(ballot);
        let answer = answer.take();
        let others = answer.is_none() && head.record.version.0.term != ballot.term;
        sometimes!(others, "a leader completes a record that another leader proposed");
        self.counts.note(|| Counted::chosen(name, &head, votes.iter().copied()));
        slot.known = Known::Chosen(Some(head));
        slot.busy = Busy::Idle;
        slot.confirmed = ballot.seq;
        sometimes!(
            self.orphans.remove(name),
            "a proposal that nobody waits for any more is chosen after all"
        );
        if let Some((token, answer)) = answer {
            self.tokens.remove(&token);
            effects.push(Effect::Answer { token, answer });
        }
        self.drive(name, effects);
    }

    /// Time passed (some tens of milliseconds): sends again what was not answered.
    pub fn on_tick(&mut self, effects: &mut Vec<Effect>) {
        if let Phase::Preparing { term, promised_by, quiet_ticks } = &mut self.phase {
            *quiet_ticks += 1;
            if *quiet_ticks >= RESEND_TICKS {
                *quiet_ticks = 0;
                sometimes!("a candidate asks again for promises that were not given");
                let silent = self.quorum.voters().iter().filter(|node| !promised_by.contains_key(node));
                effects.extend(silent.map(|to| Effect::Prepare { to: *to, term: *term }));
            }
        }
        let Phase::Leading { term, .. } = self.phase else { return };
        let names: BTreeSet<_> = self.tokens.values().chain(&self.orphans).cloned().collect();
        for name in names {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            slot.quiet_ticks += 1;
            if slot.quiet_ticks >= RESEND_TICKS {
                slot.quiet_ticks = 0;
                sometimes!(slot.busy != Busy::Idle, "a leader sends again what was not answered");
                // The own copy cannot be read, it seems: the others must do.
                if let Busy::Learning { own, .. } = &mut slot.busy {
                    *own = false;
                }
                resend(self.me, &self.quorum, &name, term, slot, effects);
            }
        }
    }

    /// The deadline of a request passed.
    pub fn on_expired(&mut self, token: Token, effects: &mut Vec<Effect>) {
        let Some(name) = self.tokens.remove(&token) else { return };
        let Some(slot) = self.slots.get_mut(&name) else { return };
        if slot.busy.has_proposed(token) {
            // Neither success nor failure: what changes the key next builds on it.
            sometimes!("the deadline of a request passes after its proposal was sent");
            effects.push(Effect::Answer { token, answer: Answer::OutcomeUnknown });
            let builds = slot.queue.front().is_some_and(|next| next.request != Request::Resolve);
            match &mut slot.busy {
                Busy::Accepting { held, .. } if builds => {
                    slot.known = Known::Proposed(held.clone());
                    slot.busy = Busy::Idle;
                }
                Busy::Accepting { answer, .. } => *answer = None,
                _ => unreachable!("it was just seen to be accepting"),
            }
        } else {
            sometimes!("the deadline of a request passes before anything was proposed for it");
            slot.queue.retain(|waiting| waiting.token != token);
            effects.push(Effect::Answer { token, answer: Answer::Unavailable });
        }
        if slot.queue.is_empty() {
            match &slot.busy {
                // Nobody sends the question again: the next request asks its own.
                Busy::Learning { .. } | Busy::Fetching { .. } => slot.busy = Busy::Idle,
                Busy::Accepting { answer: None, .. } => _ = self.orphans.insert(name.clone()),
                Busy::Accepting { .. } | Busy::Idle => {}
            }
        }
        self.drive(&name, effects);
        if self.orphans.len() > ORPHANS_MAX {
            self.step_down(self.highest, effects);
        }
    }

    /// Stops leading and hands every request back, towards the node of `higher` (its own term, perhaps: whoever begins
    /// again prepares a new one, which fences what this one left behind). What was proposed may yet be completed by
    /// whoever leads next.
    pub fn step_down(&mut self, higher: Term, effects: &mut Vec<Effect>) {
        self.highest = self.highest.max(higher);
        self.phase = Phase::Standby;
        let slots = core::mem::take(&mut self.slots);
        self.arrival.clear();
        self.orphans.clear();
        for (token, name) in core::mem::take(&mut self.tokens) {
            let proposed = slots.get(&name).is_some_and(|slot| slot.busy.has_proposed(token));
            sometimes!(proposed, "a leadership ends while a proposal of it is half written");
            sometimes!(!proposed, "a leadership ends while a request waits that proposed nothing yet");
            let answer = if proposed { Answer::OutcomeUnknown } else { Answer::NotLeader(higher) };
            effects.push(Effect::Answer { token, answer });
        }
    }

    /// The layout changed the partition's voters: whoever leads next does so in the new config.
    pub fn reconfigure(&mut self, quorum: Arc<Quorum>, effects: &mut Vec<Effect>) {
        sometimes!(self.is_active(), "the layout changes the voters of a partition under its leader");
        sometimes!(
            !self.tokens.is_empty(),
            "the config of a partition changes between a request and its answer"
        );
        self.quorum = quorum;
        self.step_down(self.highest, effects);
    }

    /// Somebody told of a term.
    fn on_term(&mut self, term: Term, effects: &mut Vec<Effect>) {
        let mine = match &self.phase {
            Phase::Standby => None,
            Phase::Preparing { term, .. } | Phase::Leading { term, .. } => Some(*term),
        };
        if mine.is_some_and(|mine| term > mine) {
            sometimes!(self.leading().is_some(), "a leader hears of a higher term");
            sometimes!(self.leading().is_none(), "a candidate hears of a higher term before it leads");
            self.step_down(term, effects);
        }
        self.highest = self.highest.max(term);
    }

    /// Takes the key as far as it goes without another message.
    fn drive(&mut self, name: &ObjectName, effects: &mut Vec<Effect>) {
        let Phase::Leading { term, caught_up } = self.phase else { return };
        let Some(slot) = self.slots.get_mut(name) else { return };
        while slot.busy == Busy::Idle {
            slot.quiet_ticks = 0;
            let Some(front) = slot.queue.front() else {
                // One of this term that is known by its head alone was forgotten, and so it was chosen.
                if let Known::Proposed(held) = &slot.known
                    && held.ballot.term == term
                    && held.record.is_whole()
                {
                    sometimes!("a proposal is sent again although nobody waits for it any more");
                    slot.busy = Busy::accepting(held.clone(), None);
                    self.orphans.insert(name.clone());
                }
                return;
            };
            if slot.known == Known::Unknown {
                self.counter += 1;
                slot.busy = Busy::learning(self.counter, caught_up);
                return resend(self.me, &self.quorum, name, term, slot, effects);
            }
            let ballot = Ballot { term, seq: self.counter + 1 };
            // What must be accepted by a majority before this request can go on, and whose answer that then is.
            let (record, answer) = match decide(slot.known.record(), &front.request, ballot) {
                Decision::Now(answer) => {
                    finish_front(slot, &mut self.tokens, answer, effects);
                    continue;
                }
                Decision::WhenChosen(answer) => match &slot.known {
                    Known::Proposed(held) => {
                        sometimes!(
                            "an answer waits until the half written record that it speaks of is completed"
                        );
                        if held.ballot.term == term && held.record.is_whole() {
                            // This term's own: whom it was sent to may be about to answer.
                            slot.busy = Busy::accepting(held.clone(), None);
                            return resend(self.me, &self.quorum, name, term, slot, effects);
                        }
                        (held.record.clone(), None)
                    }
                    // A deposed leader does not know that it is: what it remembers is true now only if a majority
                    // stood by its term after the request came.
                    Known::Chosen(_) if slot.confirmed <= front.since => {
                        sometimes!(
                            "a leader asks a majority whether it still leads before it answers from memory"
                        );
                        self.counter += 1;
                        slot.busy = Busy::learning(self.counter, false);
                        return resend(self.me, &self.quorum, name, term, slot, effects);
                    }
                    Known::Chosen(held) => {
                        let answer = match answer {
                            Answer::Chosen(_) => {
                                Answer::Chosen(held.as_ref().map(|held| (held.ballot, held.record.clone())))
                            }
                            answer => answer,
                        };
                        finish_front(slot, &mut self.tokens, answer, effects);
                        continue;
                    }
                    Known::Unknown => unreachable!("an unknown record is learnt before anything is decided"),
                },
                Decision::Apply(record, answer) => {
                    let half_written = matches!(slot.known, Known::Proposed(_));
                    sometimes!(half_written, "a new record is built on one that may not be chosen");
                    (record, Some((front.token, answer)))
                }
            };
            self.counter += 1;
            slot.busy = match (&slot.known, record.is_whole()) {
                (Known::Chosen(Some(held)) | Known::Proposed(held), false) => {
                    sometimes!("only the head of a record is known that must be written again");
                    Busy::Fetching { question: self.counter, ballot: held.ballot, replies: BTreeMap::new() }
                }
                _ => {
                    if answer.is_some() {
                        slot.queue.pop_front();
                    }
                    Busy::accepting(Held { ballot, record }, answer)
                }
            };
            resend(self.me, &self.quorum, name, term, slot, effects);
        }
    }

    /// Makes room: idle keys go, oldest first. A proposal of this term is never idle, and must not be forgotten: a
    /// question would not fence it.
    fn forget_some(&mut self) {
        for _ in 0..self.arrival.len() {
            if self.slots.len() < SLOTS_REMEMBERED_MAX {
                return;
            }
            let Some(name) = self.arrival.pop_front() else { return };
            let Some(slot) = self.slots.get(&name) else { continue };
            if slot.busy == Busy::Idle && slot.queue.is_empty() {
                if slot.missing_here.is_some()
                    && let Phase::Leading { caught_up, .. } = &mut self.phase
                {
                    // The own replica's word would be out of date.
                    *caught_up = false;
                }
                self.slots.remove(&name);
            } else {
                self.arrival.push_back(name);
            }
        }
    }
}

fn finish_front(
    slot: &mut Slot,
    tokens: &mut BTreeMap<Token, ObjectName>,
    answer: Answer,
    effects: &mut Vec<Effect>,
) {
    let Some(front) = slot.queue.pop_front() else { return };
    tokens.remove(&front.token);
    effects.push(Effect::Answer { token: front.token, answer });
}

/// Sends what is under way to every voter that has not answered it.
fn resend(
    me: NodeId,
    quorum: &Quorum,
    name: &ObjectName,
    term: Term,
    slot: &Slot,
    effects: &mut Vec<Effect>,
) {
    for to in quorum.voters() {
        let (to, name) = (*to, name.clone());
        match &slot.busy {
            Busy::Learning { question, replies, own } if !replies.contains_key(&to) && (!own || to == me) => {
                effects.push(Effect::Learn { to, name, term, question: *question, with_body: false });
            }
            Busy::Fetching { question, replies, .. } if !replies.contains_key(&to) => {
                effects.push(Effect::Learn { to, name, term, question: *question, with_body: true });
            }
            Busy::Accepting { held, votes, .. } if !votes.contains(&to) => {
                effects.push(Effect::Accept { to, name, ballot: held.ballot, record: held.record.clone() });
            }
            _ => {}
        }
    }
}
