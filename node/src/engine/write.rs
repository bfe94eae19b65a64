//! Finds the leader of a key and has it carry out a request: here, or on a peer. When there is no leader that answers,
//! takes over, or has the next replica take over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error};
use holdfast_core::history::History;
use holdfast_core::ids::{NodeId, ObjectName, OpId, Partition};
use holdfast_core::record::{Object, Record, State};
use holdfast_core::register::{Answer, Attempt, Request};
use holdfast_core::sometimes;
use holdfast_core::term::Version;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use tokio::time::{Instant, sleep, timeout};

use super::{ClusterView, Deleted, Inner, NewObject, OutcomeAnswer, forward};

/// How long a peer that should lead may take before the next replica is tried. Above a slow disk's fsync; a peer that is
/// gone or hangs is noticed sooner, by its link.
const FORWARD_PATIENCE: Duration = Duration::from_millis(400);
/// How often a request is passed on at most: the asker, an outdated leader, its successor.
const HOPS_MAX: u32 = 3;
/// Pause between tries: doubles from the first to the second.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// What a key's leader is asked.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put { op: OpId, condition: Condition, retry: bool, object: NewObject },
    Delete { op: OpId, condition: Condition, retry: bool },
    Outcome { op: OpId },
    Resolve { head_only: bool },
}

/// What it ends with.
#[derive(Clone, Debug)]
pub(super) enum Done {
    /// The record that was written or found, without history.
    Record(Record),
    Deleted(Deleted),
    Outcome(OutcomeAnswer),
}

enum Target {
    Here,
    Peer(NodeId),
    Nobody,
}

impl Inner {
    /// Carries the operation out, wherever its leader is.
    pub(super) async fn route(
        self: &Arc<Self>,
        name: &ObjectName,
        operation: &Operation,
        hops: u32,
        deadline: Instant,
    ) -> Result<Done, Error> {
        let partition = name.partition();
        let mut pause = RETRY_PAUSE.0;
        let mut avoid = Vec::new();
        // Whether a try with this op id may still be on its way somewhere.
        let mut astray = false;
        while Instant::now() < deadline {
            let Some(view) = self.view() else { return Err(no_layout()) };
            let ended = match self.target(&view, partition, &avoid, hops) {
                Target::Here => self.lead_here(name, operation, astray, deadline).await,
                Target::Peer(node) => {
                    let patience = FORWARD_PATIENCE.min(deadline - Instant::now());
                    let ask = forward::request(name, operation, astray, patience, hops + 1);
                    let Some(link) = self.links.get(node) else { continue };
                    match timeout(patience, link.ask(Ask::Forward(ask))).await {
                        Ok(Ok(Reply::Forward(reply))) => forward::result(name, operation, reply),
                        Ok(Ok(Reply::Error(error))) => {
                            // It has a defect, and may have done it.
                            tracing::warn!(peer = %node, error.message, "a peer failed with what was passed on to it");
                            avoid.push(node);
                            Err(outcome_unknown())
                        }
                        Ok(Ok(_)) => Err(Error::new(Code::Internal, "a peer answered something else")),
                        silent @ (Ok(Err(_)) | Err(_)) => {
                            sometimes!(
                                silent.is_err(),
                                "a peer is too slow with a request that was passed on to it"
                            );
                            sometimes!(
                                silent.is_ok(),
                                "a peer is lost while it has a request that was passed on to it"
                            );
                            avoid.push(node);
                            Err(Error::new(Code::OutcomeUnknown, "a peer did not answer"))
                        }
                    }
                }
                Target::Nobody => {
                    sometimes!("no replica of a key can be reached to change it");
                    Err(Error::new(Code::Unavailable, "no replica of the key can be reached"))
                }
            };
            let error = match ended {
                Ok(done) => {
                    sometimes!(astray, "a request is carried out after it went astray");
                    return Ok(done);
                }
                Err(error) => error,
            };
            match error.code {
                Code::OutcomeUnknown => astray = true,
                Code::Unavailable | Code::Timeout => {}
                Code::StaleOpId(_) if astray => return Err(outcome_unknown()),
                _ => return Err(error),
            }
            if hops >= HOPS_MAX && self.leadership(partition).begun_elsewhere {
                // It cannot be passed on, and waits in vain: it may be the asker that leads.
                sometimes!("a request that was passed on too often is handed back");
                let changes = matches!(operation, Operation::Put { .. } | Operation::Delete { .. });
                return Err(if astray && changes { outcome_unknown() } else { error });
            }
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(RETRY_PAUSE.1);
            if pause == RETRY_PAUSE.1 {
                sometimes!(!avoid.is_empty(), "those that were too slow for a request are asked again");
                // Everybody had a chance: those that were slow get another.
                avoid.clear();
            }
        }
        match operation {
            Operation::Put { .. } | Operation::Delete { .. } if astray => Err(outcome_unknown()),
            _ => Err(Error::new(
                Code::Unavailable,
                "no majority of the key's replicas answered in time: check the nodes with `node cluster status`",
            )),
        }
    }

    /// Whom to ask: the leader if it is known and answers, else the first replica in order that does.
    fn target(&self, view: &ClusterView, partition: Partition, avoid: &[NodeId], hops: u32) -> Target {
        let quorum = view.quorum(partition);
        let usable = |node: NodeId| self.links.is_healthy(node) && !avoid.contains(&node);
        let here = quorum.contains(self.me) && !self.leaving.load(Ordering::Relaxed);
        if here {
            let known = self.leadership(partition);
            if known.active || hops >= HOPS_MAX {
                sometimes!(!known.active, "a request has been passed on so often that it stays");
                return Target::Here;
            }
            let holder = known.highest.node;
            if holder != self.me && quorum.contains(holder) && usable(holder) {
                return Target::Peer(holder);
            }
            sometimes!(holder != self.me && holder != NodeId(0), "the leader of a key cannot be asked");
        }
        for node in quorum.voters() {
            if *node == self.me && here {
                return Target::Here;
            }
            if *node != self.me && usable(*node) && hops < HOPS_MAX {
                return Target::Peer(*node);
            }
        }
        Target::Nobody
    }

    async fn lead_here(
        self: &Arc<Self>,
        name: &ObjectName,
        operation: &Operation,
        astray: bool,
        deadline: Instant,
    ) -> Result<Done, Error> {
        let unix_ms = self.env.ambient.unix_ms();
        let request = match operation {
            Operation::Put { op, condition, retry, object } => Request::Put {
                op: *op,
                condition: *condition,
                attempt: attempt(*retry || astray),
                object: Arc::new(object.to_object(unix_ms)),
            },
            Operation::Delete { op, condition, retry } => Request::Delete {
                op: *op,
                condition: *condition,
                attempt: attempt(*retry || astray),
                unix_ms,
            },
            Operation::Outcome { op } => Request::Outcome { op: *op, unix_ms },
            Operation::Resolve { .. } => Request::Resolve,
        };
        match self.lead(name, request, deadline).await {
            Answer::Put { version, modified_unix_ms } => {
                let Operation::Put { object, .. } = operation else { return Err(unexpected()) };
                self.tell_acknowledged(name, version);
                Ok(Done::Record(object.to_head(version, modified_unix_ms.unwrap_or(unix_ms))))
            }
            Answer::Deleted { found, version } => Ok(Done::Deleted(Deleted { found, version })),
            Answer::Committed(version) => {
                self.tell_acknowledged(name, version);
                Ok(Done::Outcome(OutcomeAnswer::Committed(version)))
            }
            Answer::Fenced => Ok(Done::Outcome(OutcomeAnswer::Fenced)),
            Answer::Forgotten => Ok(Done::Outcome(OutcomeAnswer::Unknown)),
            Answer::Chosen(None) => Err(Error::not_found(None)),
            Answer::Chosen(Some((ballot, head))) => {
                let head_only = matches!(operation, Operation::Resolve { head_only: true });
                if head.object().is_none() {
                    return Err(Error::not_found(head.tombstone_version()));
                }
                if head_only || head.is_whole() {
                    self.tell_served(name, &head);
                    return Ok(Done::Record(Record::clone(&head)));
                }
                match self.fetch(name, ballot, deadline).await {
                    Some(record) => {
                        self.tell_served(name, &record);
                        Ok(Done::Record(record))
                    }
                    None => Err(Error::new(Code::Unavailable, "the object changed while it was read")),
                }
            }
            Answer::ConditionFailed { object, tombstone } => {
                Err(refused(Code::ConditionFailed(object)).with_tombstone(tombstone))
            }
            Answer::Refused(code) => Err(refused(code)),
            Answer::NotLeader(highest) => {
                self.note_term(name.partition(), highest);
                Err(Error::new(Code::Unavailable, "another node took over"))
            }
            Answer::Unavailable => Err(Error::new(Code::Unavailable, "no majority of replicas answered")),
            Answer::OutcomeUnknown => Err(outcome_unknown()),
        }
    }
}

fn attempt(again: bool) -> Attempt {
    if again { Attempt::Again } else { Attempt::Only }
}

impl NewObject {
    fn to_object(&self, modified_unix_ms: u64) -> Object {
        Object {
            size: self.body.len() as u64,
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            hash: self.hash,
            modified_unix_ms,
            body: Some(self.body.clone()),
        }
    }

    fn to_head(&self, version: Version, modified_unix_ms: u64) -> Record {
        let object = Object { body: None, ..self.to_object(modified_unix_ms) };
        Record { version, state: State::Object(object), history: History::default() }
    }
}

fn refused(code: Code) -> Error {
    let message = match &code {
        Code::ConditionFailed(Some(_)) => "the key has another version now: read it and decide again",
        Code::ConditionFailed(None) => "the key has no object now: read it and decide again",
        Code::StaleOpId(_) => "the op id is older than what the key remembers: take a fresh one",
        Code::Fenced => "the operation was fenced and never took effect: start it anew with a fresh op id",
        _ => "too many operations are waiting on this key or partition: wait and try again",
    };
    Error::new(code, message)
}

pub(super) fn no_layout() -> Error {
    Error::new(
        Code::Unavailable,
        "the cluster has no layout yet: it is made when enough nodes have registered (--bootstrap-nodes)",
    )
}

fn outcome_unknown() -> Error {
    Error::new(
        Code::OutcomeUnknown,
        "it may or may not have happened: ask Outcome with the same op id, or try again with it",
    )
}

fn unexpected() -> Error {
    Error::new(Code::Internal, "the leader answered something else than was asked")
}
