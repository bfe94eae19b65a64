//! A tiny world for the real leader: replicas that keep the real rules on a map that survives restarts, and messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::ids::{NodeId, ObjectName, OpId};
use holdfast_core::placement::PartitionLayout;
use holdfast_core::record::{Object, Record};
use holdfast_core::register::leader::{AcceptReply, LearnReply};
use holdfast_core::register::replica::{self, AcceptRule};
use holdfast_core::register::{Attempt, Digest, Effect, Leader, Quorum, Request};
use holdfast_core::term::{Ballot, ConfigVersion, Term};

/// What a replica has on disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Replica {
    pub promised: Term,
    pub accepted: BTreeMap<ObjectName, (Ballot, Arc<Record>)>,
    /// Added to its digest: replicas for which it is not the same never say that they hold the same.
    pub differs_by: u128,
}

/// Everything that travels between a leader and a replica. The leader is the node of the term.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    Prepare { to: NodeId, term: Term },
    Promised { from: NodeId, to: NodeId, promised: Term, holds: Digest },
    Learn { to: NodeId, name: ObjectName, term: Term, question: u64, with_body: bool },
    Learned { from: NodeId, name: ObjectName, term: Term, question: u64, reply: LearnReply },
    Accept { to: NodeId, name: ObjectName, ballot: Ballot, record: Arc<Record> },
    Accepted { from: NodeId, name: ObjectName, ballot: Ballot, reply: AcceptReply },
    Install { to: NodeId, name: ObjectName, ballot: Ballot, record: Arc<Record> },
}

impl Message {
    /// The replica that a request goes to; `None` for a reply.
    pub fn to_replica(&self) -> Option<NodeId> {
        match self {
            Self::Prepare { to, .. }
            | Self::Learn { to, .. }
            | Self::Accept { to, .. }
            | Self::Install { to, .. } => Some(*to),
            Self::Promised { .. } | Self::Learned { .. } | Self::Accepted { .. } => None,
        }
    }

    /// The node whose leader a reply goes to; `None` for a request.
    pub fn to_leader(&self) -> Option<NodeId> {
        match self {
            Self::Promised { to, .. } => Some(*to),
            Self::Learned { term, .. } => Some(term.node),
            Self::Accepted { ballot, .. } => Some(ballot.term.node),
            _ => None,
        }
    }
}

impl Replica {
    /// Of all that is accepted: these worlds are one partition.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest(self.differs_by);
        for (name, (ballot, _)) in &self.accepted {
            let key = format!("{}\0{}", name.bucket.as_str(), name.key.as_str());
            digest.replace(key.as_bytes(), None, *ballot);
        }
        digest
    }

    /// Carries out a request; what it changes is durable before the reply exists.
    pub fn handle(&mut self, message: &Message) -> Option<Message> {
        match message {
            Message::Prepare { to, term } => {
                self.promised = replica::on_prepare(self.promised, *term);
                let (promised, holds) = (self.promised, self.digest());
                Some(Message::Promised { from: *to, to: term.node, promised, holds })
            }
            Message::Learn { to, name, term, question, with_body } => {
                let reply = match replica::on_learn(self.promised, *term) {
                    Err(higher) => LearnReply::Refused(higher),
                    Ok(promised) => {
                        self.promised = promised;
                        LearnReply::Holds(self.accepted.get(name).map(|(ballot, record)| {
                            let record = if *with_body { record.clone() } else { Arc::new(record.head()) };
                            (*ballot, record)
                        }))
                    }
                };
                let (from, name, term, question) = (*to, name.clone(), *term, *question);
                Some(Message::Learned { from, name, term, question, reply })
            }
            Message::Accept { to, name, ballot, record } => {
                assert!(record.is_whole(), "a head was proposed without its body: {record:?}");
                let held = self.accepted.get(name).map(|(ballot, _)| *ballot);
                let reply = match replica::on_accept(self.promised, held, *ballot) {
                    AcceptRule::Store => {
                        self.promised = self.promised.max(ballot.term);
                        self.accepted.insert(name.clone(), (*ballot, record.clone()));
                        AcceptReply::Accepted
                    }
                    AcceptRule::Held => AcceptReply::Accepted,
                    AcceptRule::Superseded(higher) => AcceptReply::Superseded(higher),
                    AcceptRule::Refused(higher) => AcceptReply::Refused(higher),
                };
                Some(Message::Accepted { from: *to, name: name.clone(), ballot: *ballot, reply })
            }
            Message::Install { name, ballot, record, .. } => {
                let held = self.accepted.get(name).map(|(ballot, _)| *ballot);
                if replica::on_install(held, *ballot) {
                    self.accepted.insert(name.clone(), (*ballot, record.clone()));
                }
                None
            }
            reply => panic!("not for a replica: {reply:?}"),
        }
    }
}

/// Hands a reply to the leader it is for.
pub fn deliver(leader: &mut Leader, message: &Message, effects: &mut Vec<Effect>) {
    match message.clone() {
        Message::Promised { from, promised, holds, .. } => leader.on_promised(from, promised, holds, effects),
        Message::Learned { from, name, term, question, reply } => {
            leader.on_learned(from, &name, term, question, reply, effects);
        }
        Message::Accepted { from, name, ballot, reply } => {
            leader.on_accepted(from, &name, ballot, reply, effects);
        }
        request => panic!("not for a leader: {request:?}"),
    }
}

/// The message that performs an effect; `None` for an answer.
pub fn message_of(effect: &Effect) -> Option<Message> {
    match effect.clone() {
        Effect::Prepare { to, term } => Some(Message::Prepare { to, term }),
        Effect::Learn { to, name, term, question, with_body } => {
            Some(Message::Learn { to, name, term, question, with_body })
        }
        Effect::Accept { to, name, ballot, record } => Some(Message::Accept { to, name, ballot, record }),
        Effect::Answer { .. } => None,
    }
}

pub fn node(number: usize) -> NodeId {
    NodeId(number as u128 + 1)
}

pub fn quorum(config: u64, replicas: &[usize], next: Option<&[usize]>) -> Arc<Quorum> {
    let list = |numbers: &[usize]| numbers.iter().map(|number| node(*number)).collect();
    Arc::new(Quorum::new(&PartitionLayout {
        config: ConfigVersion(config),
        replicas: list(replicas),
        next: next.map(list),
    }))
}

pub fn object(op: u128) -> Arc<Object> {
    Arc::new(Object {
        size: 1,
        content_type: String::new(),
        metadata: BTreeMap::new(),
        hash: [op as u8; 32],
        modified_unix_ms: op as u64,
        body: Some(Bytes::from(vec![op as u8])),
    })
}

pub fn put(op: u128, attempt: Attempt, condition: Condition) -> Request {
    Request::Put { op: OpId(op), attempt, condition, object: object(op) }
}

pub fn delete(op: u128, attempt: Attempt, condition: Condition) -> Request {
    Request::Delete { op: OpId(op), attempt, condition, unix_ms: op as u64 }
}

pub fn outcome(op: u128) -> Request {
    Request::Outcome { op: OpId(op), unix_ms: 0 }
}
