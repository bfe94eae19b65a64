//! What clients saw: every operation with its times and its answer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use holdfast::{Condition, Version};
use parking_lot::Mutex;

use crate::hooks;
use crate::trace::Trace;

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Write a body that begins with this text, which no other operation writes.
    Put(String, Condition),
    /// Delete.
    Delete(Condition),
    /// Read, or see in a listing.
    Read,
}

/// What it was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Nothing yet.
    Pending,
    /// It may have happened or not, or may happen yet.
    Unknown,
    /// It did not happen, and never will.
    Nothing,
    /// The put wrote this version.
    Wrote(Version),
    /// The delete found something; the tombstone that it wrote.
    Deleted(Version),
    /// There was nothing to delete: the tombstone that was there (`None`: nothing was ever written).
    NothingToDelete(Option<Version>),
    /// The condition did not hold, as the key held this.
    ConditionFailed(Held),
    /// The read found this version, and the text of the put that wrote it (`None`: the answer had no such text).
    Found(Version, Option<String>),
    /// The read found no object, but this tombstone (`None`: nothing was ever written).
    Absent(Option<Version>),
    /// The listing did not show the key. It says nothing of tombstones.
    Unlisted,
}

/// What a key held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// An object of this version.
    Object(Version),
    /// No object, but this tombstone (`None`: nothing was ever written).
    Absent(Option<Version>),
}

/// One operation on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// Who asked.
    pub client: String,
    /// Of which key.
    pub key: String,
    /// For what.
    pub action: Action,
    /// When it asked.
    pub began: Duration,
    /// When it was told.
    pub ended: Option<Duration>,
    /// What.
    pub seen: Seen,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |at: Duration| at.as_secs_f64() * 1e3;
        write!(f, "{} [{:.3}, ", self.client, ms(self.began))?;
        match self.ended {
            Some(ended) => write!(f, "{:.3}] ", ms(ended))?,
            None => write!(f, "...] ")?,
        }
        write!(f, "{} {:?} -> {:?}", self.key, self.action, self.seen)
    }
}

/// All operations of a run, in the order in which they began. Clones are the same history.
#[derive(Clone, Debug)]
pub struct History {
    ops: Arc<Mutex<Vec<Op>>>,
    trace: Trace,
}

/// Names an operation of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpNumber(usize);

impl History {
    /// An empty one, whose operations also go into the trace.
    pub fn new(trace: Trace) -> Self {
        Self { ops: Arc::default(), trace }
    }

    /// Notes that an operation begins now.
    pub fn begin(&self, client: &str, key: &str, action: Action) -> OpNumber {
        let (client, key) = (client.to_owned(), key.to_owned());
        let op = Op { client, key, action, began: hooks::now(), ended: None, seen: Seen::Pending };
        self.trace.line(format_args!("client: {op}"));
        let mut ops = self.ops.lock();
        ops.push(op);
        OpNumber(ops.len() - 1)
    }

    /// Notes what an operation was told, now.
    pub fn end(&self, number: OpNumber, seen: Seen) {
        let mut ops = self.ops.lock();
        let op = &mut ops[number.0];
        op.ended = Some(hooks::now());
        op.seen = seen;
        self.trace.line(format_args!("client: {op}"));
    }

    /// Notes operations that ended together, such as the keys of a listing that began at `began`.
    pub fn add_read(&self, client: &str, key: &str, began: Duration, seen: Seen) {
        let (client, key) = (client.to_owned(), key.to_owned());
        let op = Op { client, key, action: Action::Read, began, ended: Some(hooks::now()), seen };
        self.trace.line(format_args!("client: listed {op}"));
        self.ops.lock().push(op);
    }

    /// All operations so far.
    pub fn ops(&self) -> Vec<Op> {
        self.ops.lock().clone()
    }

    /// The keys that anything was asked of.
    pub fn keys(&self) -> BTreeSet<String> {
        self.ops.lock().iter().map(|op| op.key.clone()).collect()
    }

    /// How many operations ended with an answer that tells what became of them.
    pub fn settled(&self) -> usize {
        let settled = |op: &&Op| !matches!(op.seen, Seen::Pending | Seen::Unknown | Seen::Nothing);
        self.ops.lock().iter().filter(settled).count()
    }
}
