//! Random operations: a few hot keys, every verb, short and long pauses.

use std::time::Duration;

use holdfast::{Condition, Version};
use tokio::time::{Instant, sleep};

use crate::client::SimClient;
use crate::random::Random;

/// Pauses between the operations of one client, at most: long enough that a fault falls between two steps of one idea.
const THINK_MS_MAX: u64 = 120;
/// How long an unknown outcome is asked for.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(5);

/// What clients do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The keys.
    pub keys: Vec<String>,
    /// For how long.
    pub time: Duration,
    /// Most operations of one client.
    pub ops_max: usize,
}

/// Keys named `prefix-0` and so on.
pub fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

impl Workload {
    /// Random operations of one client, until the time is over.
    pub async fn run(self, client: SimClient) {
        let mut random = client.random("workload");
        let end = Instant::now() + self.time;
        let mut known = None;
        for _ in 0..self.ops_max {
            if Instant::now() >= end {
                return;
            }
            self.one(&client, &mut random, &mut known).await;
            sleep(random.log_ms(1, THINK_MS_MAX)).await;
        }
    }

    /// One operation. `known`: a key and a version that this client has seen of it.
    async fn one(&self, client: &SimClient, random: &mut Random, known: &mut Option<(String, Version)>) {
        let mut key = random.pick(&self.keys);
        let condition = match (random.below(10), &*known) {
            (0..=1, _) => Condition::IfAbsent,
            (2, _) => Condition::IfPresent,
            (3..=5, Some((seen, version))) => {
                key.clone_from(seen);
                Condition::IfVersion(*version)
            }
            _ => Condition::Always,
        };
        // What goes wrong is in the history.
        let seen = match random.below(100) {
            0..=24 => client.put(&key, condition, size(random)).await.ok(),
            25..=39 => client.put_settled(&key, condition, size(random), OUTCOME_PATIENCE).await.ok(),
            40..=51 => {
                let _ = client.delete(&key, condition).await;
                None
            }
            52..=86 => client.get(&key).await.ok().flatten().map(|(version, _)| version),
            87..=93 => client.head(&key).await.ok().flatten(),
            _ => {
                let _ = client.list("", &self.keys).await;
                None
            }
        };
        if let Some(version) = seen {
            *known = Some((key, version));
        }
    }
}

/// Mostly small; sometimes more than one disk page and one packet.
fn size(random: &mut Random) -> usize {
    let exponent = random.below(15);
    usize::try_from(random.below(1 << exponent)).expect("below 16 KiB")
}
