//! Drives the partitions' leaders: feeds them what happened and performs what they want.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::record::Record;
use holdfast_core::register::leader::{AcceptReply, LearnReply};
use holdfast_core::register::{Answer, Digest, Effect, Leader, Quorum, Request, Token};
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};
use holdfast_proto::v1;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use crate::peer::link::SUSPECT_AFTER;
use crate::store::{ReplicaAnswer, ReplicaOp};

/// A leadership is not taken from a node that answers before it had so much time. One that hangs is suspected as soon.
const TENURE: Duration = SUSPECT_AFTER;

/// One partition's leader and those who wait for its answers.
pub(super) struct PartitionCell {
    cell: Mutex<Option<Cell>>,
    /// Whether the next tick looks at it.
    listed: AtomicBool,
}

struct Cell {
    leader: Leader,
    waiting: BTreeMap<Token, oneshot::Sender<Answer>>,
    /// When the highest term was promised, if another node asked for it.
    promised_at: Option<Instant>,
}

impl PartitionCell {
    /// No leader until the layout names voters.
    pub(super) fn new() -> Self {
        Self { cell: Mutex::new(None), listed: AtomicBool::new(false) }
    }
}

/// Who leads a partition, as far as this node knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leadership {
    /// This node leads, or is taking over.
    pub(super) active: bool,
    /// The highest term heard of.
    pub(super) highest: Term,
    /// Another node, which answers, has taken the lead so recently that it may not have got round to anything yet.
    pub(super) begun_elsewhere: bool,
}

impl Inner {
    /// The layout named `quorum` for the partition; the same again changes nothing.
    pub(super) fn set_quorum(self: &Arc<Self>, partition: Partition, quorum: &Arc<Quorum>) {
        let promised = self.store.promised(partition);
        let mut effects = Vec::new();
        let mut locked = self.partitions[partition.index()].cell.lock();
        match &mut *locked {
            None => {
                let mut leader = Leader::new(self.me, quorum.clone(), promised);
                if self.env.witness.is_watching() {
                    leader.keep_counts();
                }
                *locked = Some(Cell { leader, waiting: BTreeMap::new(), promised_at: None });
            }
            Some(cell) if cell.leader.quorum() != quorum => {
                cell.leader.reconfigure(quorum.clone(), &mut effects);
                let answers = cell.answers(&mut effects);
                drop(locked);
                deliver(answers);
            }
            Some(_) => {}
        }
    }

    pub(super) fn leadership(&self, partition: Partition) -> Leadership {
        let locked = self.partitions[partition.index()].cell.lock();
        // A promise made to another candidate never passes through our own leader.
        let promised = self.store.promised(partition);
        match &*locked {
            Some(cell) => Leadership {
                active: cell.leader.is_active(),
                highest: cell.leader.highest().max(promised),
                begun_elsewhere: self.has_begun_elsewhere(cell),
            },
            None => Leadership { active: false, highest: promised, begun_elsewhere: false },
        }
    }

    /// Takes over partitions; prepares to the same peer travel together.
    pub(super) fn campaign(self: &Arc<Self>, partitions: impl IntoIterator<Item = Partition>) {
        let mut prepares: BTreeMap<NodeId, Vec<v1::prepare::Item>> = BTreeMap::new();
        for partition in partitions {
            for effect in self.step(partition, Leader::campaign) {
                match effect {
                    Effect::Prepare { to, term } if to != self.me => {
                        let item = v1::prepare::Item {
                            partition: u32::from(partition.number()),
                            term: Some(term.into()),
                        };
                        prepares.entry(to).or_default().push(item);
                    }
                    effect => self.perform(partition, effect),
                }
            }
        }
        for (to, items) in prepares {
            self.send_prepare(to, items);
        }
    }

    /// Leads the request to its answer. Whatever becomes of the asker, the leader finishes or expires it.
    pub(super) async fn lead(
        self: &Arc<Self>,
        name: &ObjectName,
        request: Request,
        deadline: Instant,
    ) -> Answer {
        let partition = name.partition();
        let token = Token(self.tokens.fetch_add(1, Ordering::Relaxed));
        let (sender, mut receiver) = oneshot::channel();
        let promised = self.store.promised(partition);
        let (answers, effects, waiting) = {
            let mut locked = self.partitions[partition.index()].cell.lock();
            let Some(cell) = &mut *locked else { return Answer::Unavailable };
            cell.leader.on_heard(promised);
            if self.has_begun_elsewhere(cell) {
                sometimes!("a node leaves the lead to another one that has just taken it");
                return Answer::NotLeader(cell.leader.highest());
            }
            cell.waiting.insert(token, sender);
            let mut effects = Vec::new();
            cell.leader.begin(token, name, request, &mut effects);
            let waiting = cell.leader.is_waiting();
            // Before its answers are given: they rest on it.
            self.tell_counts(partition, &mut cell.leader);
            (cell.answers(&mut effects), effects, waiting)
        };
        deliver(answers);
        self.perform_all(partition, effects);
        if waiting {
            self.note_waiting(partition);
        }
        let mut expiry = Expiry { inner: self, partition, token, armed: true };
        if let Ok(answer) = timeout_at(deadline, &mut receiver).await {
            expiry.armed = false;
            return answer.unwrap_or(Answer::OutcomeUnknown);
        }
        sometimes!("a leader has no answer for a request when its deadline passes");
        drop(expiry);
        receiver.await.unwrap_or(Answer::OutcomeUnknown)
    }

    /// [`Leadership::begun_elsewhere`]. Two nodes that both have requests would else take the lead from each other for ever
    /// where messages take long.
    fn has_begun_elsewhere(&self, cell: &Cell) -> bool {
        let holder = cell.leader.highest().node;
        !cell.leader.is_active()
            && holder != self.me
            && cell.promised_at.is_some_and(|at| at.elapsed() < TENURE)
            && cell.leader.quorum().contains(holder)
            && self.links.is_healthy(holder)
    }

    /// The own replica has promised a term that another node asked for.
    pub(super) fn note_promised(&self, partition: Partition, term: Term) {
        if let Some(cell) = &mut *self.partitions[partition.index()].cell.lock()
            && term > cell.leader.highest()
        {
            cell.leader.on_heard(term);
            cell.promised_at = Some(Instant::now());
        }
    }

    /// Sends again what peers have not answered.
    pub(super) fn tick_leaders(self: &Arc<Self>) {
        let listed = std::mem::take(&mut *self.waiting.lock());
        for partition in listed {
            self.partitions[partition.index()].listed.store(false, Ordering::Relaxed);
            self.drive(partition, |leader, effects| {
                if leader.is_waiting() {
                    leader.on_tick(effects);
                }
            });
        }
    }

    /// Has the next tick look at the partition.
    fn note_waiting(&self, partition: Partition) {
        if !self.partitions[partition.index()].listed.swap(true, Ordering::Relaxed) {
            self.waiting.lock().push(partition);
            self.unanswered.start();
        }
    }

    /// Hands the requests of all partitions back, so that others take over.
    pub(super) fn step_down(self: &Arc<Self>) {
        for partition in Partition::all() {
            self.drive(partition, |leader, effects| leader.step_down(leader.highest(), effects));
        }
    }

    /// One event: into the leader, effects out, all performed.
    fn drive(self: &Arc<Self>, partition: Partition, event: impl FnOnce(&mut Leader, &mut Vec<Effect>)) {
        let effects = self.step(partition, event);
        self.perform_all(partition, effects);
    }

    fn step(&self, partition: Partition, event: impl FnOnce(&mut Leader, &mut Vec<Effect>)) -> Vec<Effect> {
        let mut effects = Vec::new();
        let here = &self.partitions[partition.index()];
        let mut locked = here.cell.lock();
        let Some(cell) = &mut *locked else { return effects };
        let was_active = cell.leader.is_active();
        event(&mut cell.leader, &mut effects);
        let (waiting, active) = (cell.leader.is_waiting(), cell.leader.is_active());
        self.tell_counts(partition, &mut cell.leader);
        let answers = cell.answers(&mut effects);
        drop(locked);
        deliver(answers);
        if waiting {
            self.note_waiting(partition);
        }
        if was_active && !active {
            self.leaderships.notify_one();
        }
        effects
    }

    /// The own disk first: it works while the peers are written to. What the own replica answers within this call, last.
    fn perform_all(self: &Arc<Self>, partition: Partition, mut effects: Vec<Effect>) {
        effects.sort_by_key(|effect| match effect {
            Effect::Accept { to, .. } if *to == self.me => 0,
            effect if effect.to() != Some(self.me) => 1,
            _ => 2,
        });
        for effect in effects {
            self.perform(partition, effect);
        }
    }

    fn perform(self: &Arc<Self>, partition: Partition, effect: Effect) {
        self.tell_effect(&effect);
        match effect {
            Effect::Prepare { to, term } if to == self.me => self.prepare_here(partition, term),
            Effect::Prepare { to, term } => {
                let item =
                    v1::prepare::Item { partition: u32::from(partition.number()), term: Some(term.into()) };
                self.send_prepare(to, vec![item]);
            }
            Effect::Learn { to, name, term, question, with_body } if to == self.me => {
                let inner = self.clone();
                self.learn(name.clone(), term, with_body, move |answer| {
                    let reply = match answer {
                        Ok(ReplicaAnswer::Learned(holds)) => LearnReply::Holds(holds),
                        Ok(ReplicaAnswer::Refused(higher)) => LearnReply::Refused(higher),
                        _ => return,
                    };
                    let me = inner.me;
                    inner.drive(partition, |leader, effects| {
                        leader.on_learned(me, &name, term, question, reply, effects);
                    });
                });
            }
            Effect::Learn { to, name, term, question, with_body } => {
                self.send_learn(to, name, term, question, with_body);
            }
            Effect::Accept { to, name, ballot, record } if to == self.me => {
                let inner = self.clone();
                let op = ReplicaOp::Accept { name: name.clone(), ballot, record };
                self.submit(op, move |answer| {
                    let reply = match answer {
                        Ok(ReplicaAnswer::Stored) => AcceptReply::Accepted,
                        Ok(ReplicaAnswer::Refused(higher)) => AcceptReply::Refused(higher),
                        Ok(ReplicaAnswer::Superseded(higher)) => AcceptReply::Superseded(higher),
                        _ => return,
                    };
                    let me = inner.me;
                    inner.drive(partition, |leader, effects| {
                        leader.on_accepted(me, &name, ballot, reply, effects);
                    });
                });
            }
            Effect::Accept { to, name, ballot, record } => self.send_accept(to, name, ballot, &record),
            Effect::Answer { .. } => unreachable!("answers were taken out before"),
        }
    }

    fn prepare_here(self: &Arc<Self>, partition: Partition, term: Term) {
        let inner = self.clone();
        self.submit(ReplicaOp::Prepare { partition, term }, move |answer| {
            if let Ok(ReplicaAnswer::Promised { term, holds }) = answer {
                let me = inner.me;
                inner.drive(partition, |leader, effects| leader.on_promised(me, term, holds, effects));
            }
        });
    }

    fn send_prepare(self: &Arc<Self>, to: NodeId, items: Vec<v1::prepare::Item>) {
        let Some(link) = self.links.get(to) else { return };
        let inner = self.clone();
        link.send(Ask::Prepare(v1::Prepare { items }), move |reply| {
            let reply = match reply {
                Ok(Reply::Prepare(reply)) => reply,
                Ok(Reply::ConfigUnknown(_)) => return inner.exchange_layouts(to),
                _ => return,
            };
            for item in reply.items {
                let Some(promised) = item.promised else { continue };
                let (Ok(partition), Ok(promised), Ok(digest)) = (
                    Partition::new(item.partition),
                    Term::try_from(promised),
                    item.digest.as_ref().try_into(),
                ) else {
                    continue;
                };
                inner.note_term(partition, promised);
                let holds = Digest(u128::from_be_bytes(digest));
                inner.drive(partition, |leader, effects| leader.on_promised(to, promised, holds, effects));
            }
        });
    }

    fn send_learn(
        self: &Arc<Self>,
        to: NodeId,
        name: ObjectName,
        term: Term,
        question: u64,
        with_body: bool,
    ) {
        let Some(link) = self.links.get(to) else { return };
        let inner = self.clone();
        let read = v1::Read {
            config: term.config.0,
            term: Some(term.into()),
            bucket: name.bucket.as_str().to_owned(),
            key: name.key.as_str().to_owned(),
            with_body,
        };
        let step = (name.partition(), Ballot { term, seq: question });
        link.send_step(step, Ask::Read(read), move |reply| {
            let reply = match reply {
                Ok(Reply::Read(reply)) => reply,
                Ok(Reply::ConfigUnknown(_)) => return inner.exchange_layouts(to),
                _ => return,
            };
            let Ok(reply) = learn_reply(reply) else { return };
            inner.drive(name.partition(), |leader, effects| {
                leader.on_learned(to, &name, term, question, reply, effects);
            });
        });
    }

    fn send_accept(self: &Arc<Self>, to: NodeId, name: ObjectName, ballot: Ballot, record: &Record) {
        let Some(link) = self.links.get(to) else { return };
        let inner = self.clone();
        let accept = v1::Accept {
            bucket: name.bucket.as_str().to_owned(),
            key: name.key.as_str().to_owned(),
            ballot: Some(ballot.into()),
            record: Some(record.into()),
        };
        link.send_step((name.partition(), ballot), Ask::Accept(accept), move |reply| {
            let reply = match reply {
                Ok(Reply::Accept(reply)) => reply,
                Ok(Reply::ConfigUnknown(_)) => return inner.exchange_layouts(to),
                _ => return,
            };
            let Ok(reply) = accept_reply(reply) else { return };
            inner.drive(name.partition(), |leader, effects| {
                leader.on_accepted(to, &name, ballot, reply, effects);
            });
        });
    }
}

/// Answers on their way to those who wait.
type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

impl Cell {
    /// Takes the answers out of the effects.
    fn answers(&mut self, effects: &mut Vec<Effect>) -> Answers {
        let mut answers = Vec::new();
        effects.retain_mut(|effect| {
            let Effect::Answer { token, answer } = effect else { return true };
            answers.extend(self.waiting.remove(token).map(|asker| (asker, answer.clone())));
            false
        });
        answers
    }
}

/// Never under the partition's lock: it wakes tasks, which is a system call when they are another thread's.
fn deliver(answers: Answers) {
    for (asker, answer) in answers {
        // An asker that went away does not need it.
        drop(asker.send(answer));
    }
}

/// Expires the request when its asker stops waiting, for whatever reason.
struct Expiry<'a> {
    inner: &'a Arc<Inner>,
    partition: Partition,
    token: Token,
    armed: bool,
}

impl Drop for Expiry<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.inner.drive(self.partition, |leader, effects| leader.on_expired(self.token, effects));
        }
    }
}

fn learn_reply(reply: v1::ReadReply) -> Result<LearnReply, holdfast_core::error::Invalid> {
    if let Some(refused) = reply.refused {
        return Ok(LearnReply::Refused(refused.try_into()?));
    }
    Ok(match (reply.accepted, reply.record) {
        (Some(ballot), Some(record)) => {
            LearnReply::Holds(Some((ballot.try_into()?, Arc::new(record.try_into()?))))
        }
        _ => LearnReply::Holds(None),
    })
}

fn accept_reply(reply: v1::AcceptReply) -> Result<AcceptReply, holdfast_core::error::Invalid> {
    Ok(match (reply.refused, reply.superseded) {
        (Some(refused), _) => AcceptReply::Refused(refused.try_into()?),
        (None, Some(superseded)) => AcceptReply::Superseded(superseded.try_into()?),
        (None, None) => AcceptReply::Accepted,
    })
}
