//! What becomes of a request: executed and answered, unless a fault is on.

use std::time::Duration;

use node::registry::store::{LeaseId, Revision, StoreError, Swap};

use super::faults::RegistryFault;
use super::state::State;
use super::wire::{Request, Response, WireEntry};

/// What etcd says when it is too far behind to take a change. Nothing was changed.
const BUSY: &str = "etcdserver: too many requests";
/// What etcd says of a request that a change of leader caught. Made or not.
const LEADER_CHANGED: &str = "etcdserver: leader changed";

/// What a request will meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// Waited before it is executed.
    pub(super) before: Duration,
    pub(super) executed: bool,
    /// Waited after it.
    pub(super) after: Duration,
    pub(super) reply: Reply,
    /// The leader that it was sent to.
    term: u64,
}

/// How a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// With what it asked for.
    Answer,
    /// With an error that says nothing of what was done.
    Error(&'static str),
    /// By the end of the connection.
    Closed,
    /// Never.
    Hung,
}

impl Request {
    fn is_change(&self) -> bool {
        !matches!(self, Self::List { .. } | Self::Get { .. } | Self::Watch { .. })
    }
}

impl State {
    /// A request has arrived: what becomes of it.
    pub(super) fn treat(&mut self, request: &Request, now: Duration) -> Treatment {
        let mut treatment = Treatment {
            before: Duration::ZERO,
            executed: true,
            after: Duration::ZERO,
            reply: Reply::Answer,
            term: self.term,
        };
        if now < self.away_until {
            (treatment.executed, treatment.reply) = self.caught(request.is_change());
            return treatment;
        }
        let switches = self.switches;
        if !switches.slow.is_zero() {
            let most = u64::try_from(switches.slow.as_millis()).unwrap_or(u64::MAX);
            let mut choice = self.choice("slow");
            let wait = choice.log_ms(1, most);
            *if choice.one_in(2) { &mut treatment.before } else { &mut treatment.after } = wait;
            self.count(RegistryFault::Slow { most_ms: most });
        }
        if !request.is_change() {
            return treatment;
        }
        if switches.refuse_percent > 0 && self.choice("refuse").percent(switches.refuse_percent) {
            self.count(RegistryFault::Refuse { percent: switches.refuse_percent });
            treatment.executed = false;
            treatment.reply = Reply::Error(BUSY);
        } else if switches.lose_answers_percent > 0 {
            let mut choice = self.choice("lose answer");
            if choice.percent(switches.lose_answers_percent) {
                self.count(RegistryFault::LoseAnswers { percent: switches.lose_answers_percent });
                treatment.reply = if choice.one_in(2) { Reply::Closed } else { Reply::Hung };
            }
        }
        treatment
    }

    /// Before it is executed: a request may have been caught by a change of leader while it waited.
    pub(super) fn on_execution(&mut self, treatment: &mut Treatment, request: &Request) {
        if treatment.term != self.term {
            treatment.term = self.term;
            (treatment.executed, treatment.reply) = self.caught(request.is_change());
        }
    }

    /// Before it is answered: the same. What was executed stays so.
    pub(super) fn on_reply(&mut self, treatment: &mut Treatment) {
        if treatment.term != self.term {
            (_, treatment.reply) = self.caught(true);
        }
    }

    /// A change of leader catches a request: whether it is executed, and what is said.
    fn caught(&mut self, is_change: bool) -> (bool, Reply) {
        let mut choice = self.choice("leader change");
        self.count(RegistryFault::LeaderChange { away_ms: 0 });
        let executed = is_change && choice.one_in(2);
        let reply = choice.pick(&[Reply::Error(LEADER_CHANGED), Reply::Closed, Reply::Hung]);
        (executed, reply)
    }

    /// Does what a request asks. A watch is not asked like this.
    pub(super) fn execute(&mut self, request: Request, now: Duration) -> Response {
        let done = |result: Result<Response, StoreError>| result.unwrap_or_else(Response::from);
        match request {
            Request::List { prefix } => {
                let listing = self.facts.list(&prefix);
                let entries = listing.entries.into_iter().map(WireEntry::from).collect();
                Response::Listing { revision: listing.revision.0, entries }
            }
            Request::Get { key } => Response::Entry(self.facts.get(&key).map(WireEntry::from)),
            Request::Put { key, value, lease } => {
                let what = format!("put {key}");
                let put = self.change(&what, |facts| facts.put(&key, value, lease.map(LeaseId), now));
                done(put.map(|revision| Response::Revision(revision.0)))
            }
            Request::Swap { key, expected, value } => {
                let what = format!("swap {key}");
                let expected = expected.map(Revision);
                let swap = self.change(&what, |facts| facts.swap(&key, expected, value, now));
                done(swap.map(|swap| match swap {
                    Swap::Done(revision) => Response::Revision(revision.0),
                    Swap::Conflict(entry) => Response::Conflict(entry.map(WireEntry::from)),
                }))
            }
            Request::Grant { ttl_ms } => {
                let lease = self.facts.grant(Duration::from_millis(ttl_ms), now);
                // It may be the next to run out.
                self.tell();
                Response::Lease(lease.0)
            }
            Request::KeepAlive { .. } if self.switches.old_leader => {
                self.count(RegistryFault::OldLeader);
                Response::Done
            }
            Request::KeepAlive { lease } => {
                done(self.facts.keep_alive(LeaseId(lease), now).map(|()| Response::Done))
            }
            Request::Revoke { lease } => {
                let what = format!("lease {lease} is given back");
                self.change(&what, |facts| facts.revoke(LeaseId(lease), now));
                Response::Done
            }
            // It goes on in the connection's task.
            Request::Watch { .. } => Response::Done,
        }
    }
}
