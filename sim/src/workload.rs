//! What clients ask for: a few hot keys, every verb, short and long pauses, and storms.

use std::sync::Arc;
use std::time::Duration;

use holdfast::{Condition, Version};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::client::SimClient;
use crate::disk::KEYS_BEGIN;
use crate::plan::{Plan, TIME_MS};
use crate::random::Random;

/// How long an unknown outcome is asked for.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(5);
/// Operations of one storm.
const STORM_OPS: usize = 24;
/// A large body, of a storm.
const LARGE_BYTES: usize = 200 << 10;

/// One operation of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedOp {
    /// Which client asks, by number.
    pub client: usize,
    /// Not before this time, and not before the client's operation before it has ended.
    pub at_ms: u64,
    /// Of which key, by number.
    pub key: usize,
    /// For what.
    pub verb: Verb,
    /// On what condition, for those that change something.
    pub condition: When,
    /// Bytes of the body beside its text.
    pub bytes: usize,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Write.
    Put,
    /// Write; when the outcome is unknown, ask for it.
    PutSettled,
    /// Write; when the outcome is unknown, ask again under the same op id.
    PutAgain,
    /// Write, and meanwhile ask for its outcome, which fences it if it has not taken effect by then.
    PutAsked,
    /// Write without Holdfast's client: one request, or one and a retry of it.
    PutPlain,
    /// Delete.
    Delete,
    /// Delete; when the outcome is unknown, ask for it.
    DeleteSettled,
    /// Delete without Holdfast's client.
    DeletePlain,
    /// Read.
    Get,
    /// Read the head.
    Head,
    /// List everything.
    List,
}

/// On what condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// None.
    Always,
    /// There is nothing.
    Absent,
    /// There is something.
    Present,
    /// It is the version that this client has seen last of the key.
    Seen,
}

/// Load that comes all at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storm {
    /// Puts, of Holdfast's clients and of others, and gets of one key, all at the same time.
    Burst,
    /// Listings.
    Listings,
    /// Bodies that fill the record's limit for small ones and more.
    LargeBodies,
}

impl Storm {
    /// The name of its fault.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Listings => "listing-storm",
            Self::LargeBodies => "large-bodies",
        }
    }
}

/// The name of a key.
pub fn key_name(number: usize) -> String {
    format!("{KEYS_BEGIN}{number}")
}

/// All keys of a plan.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(key_name).collect()
}

/// What an application does with its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Everything.
    Mixed,
    /// Each key is a lock: it is there or not, and both change all the time.
    Locks,
    /// Each key is changed by compare-and-swap.
    Swaps,
}

/// Random operations of all clients of a plan.
pub(crate) fn random_ops(plan: &Plan, random: &Random) -> Vec<PlannedOp> {
    let mut ops = Vec::new();
    let style = random.fork("style").pick(&[Style::Mixed, Style::Mixed, Style::Locks, Style::Swaps]);
    for client in 0..plan.clients {
        let mut random = random.fork(&format!("client {client}"));
        // Swarm: some clients are busy, some mostly wait; and all of them come in bursts.
        let pause_ms = random.pick(&[16, 40, 40, 100]) * plan.time_ms / TIME_MS;
        let mut at_ms = random.below(50);
        while at_ms < plan.time_ms {
            ops.push(random_op(client, at_ms, plan.keys, style, &mut random));
            // Each order of magnitude as likely as the next: the mean is about half of what is named.
            at_ms += u64::try_from(random.log_ms(1, 4 * pause_ms).as_millis()).expect("short");
        }
    }
    ops.sort_by_key(|op| op.at_ms);
    ops
}

fn random_op(client: usize, at_ms: u64, keys: usize, style: Style, random: &mut Random) -> PlannedOp {
    // Locks are given back as often as they are taken.
    let choice = match (style, random.below(100)) {
        (Style::Locks, choice @ 0..=20) => 41 + choice % 13,
        (_, choice) => choice,
    };
    let verb = match choice {
        0..=15 => Verb::Put,
        16..=25 => Verb::PutSettled,
        26..=29 => Verb::PutAgain,
        30 => Verb::PutAsked,
        31..=40 => Verb::PutPlain,
        41..=42 => Verb::Delete,
        43..=45 => Verb::DeleteSettled,
        46..=53 => Verb::DeletePlain,
        54..=86 => Verb::Get,
        87..=90 => Verb::Head,
        _ => Verb::List,
    };
    let puts =
        matches!(verb, Verb::Put | Verb::PutSettled | Verb::PutAgain | Verb::PutAsked | Verb::PutPlain);
    let condition = match (style, random.below(10)) {
        (Style::Locks, 0..=8) if puts => When::Absent,
        (Style::Locks, 0..=4) => When::Present,
        (Style::Swaps, 0..=8) => When::Seen,
        (_, 0..=1) => When::Absent,
        (_, 2) => When::Present,
        (_, 3..=5) => When::Seen,
        _ => When::Always,
    };
    let exponent = random.below(15);
    let bytes = usize::try_from(random.below(1 << exponent)).expect("below 16 KiB");
    PlannedOp { client, at_ms, key: random.index(keys), verb, condition, bytes }
}

/// What one client does. Clones share what it has seen and how far it is: a client that vanishes is followed by one that
/// goes on with the rest.
#[derive(Clone)]
pub struct Program {
    keys: Arc<Vec<String>>,
    rest: Arc<Mutex<std::collections::VecDeque<PlannedOp>>>,
    seen: Arc<Mutex<std::collections::BTreeMap<usize, Version>>>,
    start: Instant,
}

impl Program {
    /// One client's operations, in order. Times count from `start`.
    pub fn new(keys: Vec<String>, ops: impl IntoIterator<Item = PlannedOp>, start: Instant) -> Self {
        Self {
            keys: Arc::new(keys),
            rest: Arc::new(Mutex::new(ops.into_iter().collect())),
            seen: Arc::default(),
            start,
        }
    }

    /// Runs to the end.
    pub async fn run(self, client: SimClient) {
        loop {
            let Some(op) = self.rest.lock().pop_front() else { return };
            sleep_until(self.start + Duration::from_millis(op.at_ms)).await;
            self.one(&client, &op).await;
        }
    }

    /// What goes wrong is in the history.
    async fn one(&self, client: &SimClient, op: &PlannedOp) {
        let key = &self.keys[op.key];
        let seen = self.seen.lock().get(&op.key).copied();
        let condition = match (op.condition, seen) {
            (When::Absent, _) => Condition::IfAbsent,
            (When::Present, _) => Condition::IfPresent,
            (When::Seen, Some(version)) => Condition::IfVersion(version),
            _ => Condition::Always,
        };
        let version = match op.verb {
            Verb::Put => client.put(key, condition, op.bytes).await.ok(),
            Verb::PutSettled => client.put_settled(key, condition, op.bytes, OUTCOME_PATIENCE).await.ok(),
            Verb::PutAgain => client.put_again(key, condition, op.bytes, OUTCOME_PATIENCE).await.ok(),
            Verb::PutAsked => {
                let wait = client.random(&format!("asked {}", op.at_ms)).log_ms(1, 200);
                client.put_asked(key, condition, op.bytes, wait).await
            }
            Verb::PutPlain => {
                let course = client.course(client.random(&format!("plain {}", op.at_ms)));
                client.put_plain(key, condition, op.bytes, course).await
            }
            Verb::DeletePlain => {
                let course = client.course(client.random(&format!("plain {}", op.at_ms)));
                client.delete_plain(key, condition, course).await;
                None
            }
            Verb::Delete => {
                let _ = client.delete(key, condition).await;
                None
            }
            Verb::DeleteSettled => {
                let _ = client.delete_settled(key, condition, OUTCOME_PATIENCE).await;
                None
            }
            Verb::Get => client.get(key).await.ok().flatten().map(|(version, _)| version),
            Verb::Head => client.head(key).await.ok().flatten(),
            Verb::List => {
                let _ = client.list("", &self.keys).await;
                None
            }
        };
        if let Some(version) = version {
            self.seen.lock().insert(op.key, version);
        }
    }

    /// A storm, beside the operations of the plan.
    pub async fn storm(self, client: SimClient, storm: Storm) {
        let began = Instant::now();
        let one = |number: usize| {
            let (client, keys) = (client.clone(), self.keys.clone());
            let course = client.course(client.random(&format!("storm {number} of {:?}", began - self.start)));
            async move {
                let key = &keys[0];
                match (storm, number % 3) {
                    (Storm::Burst, 0) => drop(client.put(key, Condition::Always, 100).await),
                    (Storm::Burst, 1) => {
                        let _ = client.put_plain(key, Condition::Always, 100, course).await;
                    }
                    (Storm::Burst, _) => drop(client.get(key).await),
                    (Storm::Listings, _) => drop(client.list("", &keys).await),
                    (Storm::LargeBodies, _) => drop(client.put(key, Condition::Always, LARGE_BYTES).await),
                }
                crate::fired::fire(storm.kind(), 1);
            }
        };
        let count = if storm == Storm::LargeBodies { STORM_OPS / 12 } else { STORM_OPS };
        futures_util::future::join_all((0..count).map(one)).await;
    }
}
