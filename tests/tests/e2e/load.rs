//! A closed loop of puts and gets that checks what it reads, and measures the longest time in which nothing succeeded.
//!
//! Every worker has keys of its own, so it knows what each must hold: the last put that was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::{Client, Code, GetOptions, PutOptions};
use tokio::task::JoinSet;

use crate::scene::BUCKET;

/// Keys of one worker.
const KEYS: u64 = 8;
/// Bytes of a body.
const BODY_BYTES: usize = 1024;
/// Failures that are kept word by word; all are counted.
const FAILURES_KEPT: usize = 5;

/// A load under way.
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<Seen>,
}

struct Shared {
    started: Instant,
    stop: AtomicBool,
    /// Microseconds since the start.
    last_success: AtomicU64,
    longest_gap: AtomicU64,
}

/// What one worker, or all of them, saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Operations that succeeded.
    pub(crate) succeeded: u64,
    /// Operations that failed.
    pub(crate) failed: u64,
    /// The first of the failures.
    pub(crate) failures: Vec<String>,
    /// Reads that were not the last acknowledged put.
    pub(crate) wrong: Vec<String>,
    /// The slowest success.
    pub(crate) slowest: Duration,
    /// The longest time in which no operation of any worker succeeded.
    pub(crate) longest_gap: Duration,
    /// By key: the numbers of the last acknowledged put and of the last one sent.
    pub(crate) puts: BTreeMap<String, Puts>,
}

/// One key's puts, by their numbers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Puts {
    pub(crate) acknowledged: u64,
    pub(crate) sent: u64,
}

impl Load {
    /// Starts so many workers; `name` is part of their keys.
    pub(crate) fn start(client: &Client, workers: usize, name: &str) -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            last_success: AtomicU64::new(0),
            longest_gap: AtomicU64::new(0),
        });
        let mut set = JoinSet::new();
        for worker in 0..workers {
            let (client, shared) = (client.clone(), Arc::clone(&shared));
            let prefix = format!("{name}/{worker}");
            set.spawn(async move { work(&client, &shared, &prefix).await });
        }
        Self { shared, workers: set }
    }

    /// Ends it after the operations under way; what was seen.
    pub(crate) async fn finish(mut self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(seen) = self.workers.join_next().await {
            let seen = seen.expect("no worker panics");
            all.succeeded += seen.succeeded;
            all.failed += seen.failed;
            all.failures.extend(seen.failures);
            all.wrong.extend(seen.wrong);
            all.slowest = all.slowest.max(seen.slowest);
            all.puts.extend(seen.puts);
        }
        all.longest_gap = Duration::from_micros(self.shared.longest_gap.load(Ordering::Relaxed));
        all
    }
}

impl Seen {
    /// For the tests' output.
    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what}: {} operations, {} failed, longest gap {} ms, slowest {} ms",
            self.succeeded,
            self.failed,
            self.longest_gap.as_millis(),
            self.slowest.as_millis()
        );
    }

    /// The promise: nothing failed, nothing read was wrong, and there was work.
    pub(crate) fn assert_flawless(&self) {
        assert!(self.succeeded > 0, "nothing was done");
        assert!(self.wrong.is_empty(), "wrong reads: {:?}", self.wrong);
        assert_eq!(self.failed, 0, "failed operations: {:?}", self.failures);
    }

    /// Reads every key again: each must hold an acknowledged put, or a later one that was sent.
    pub(crate) async fn assert_kept(&self, client: &Client) {
        for (key, puts) in &self.puts {
            let found = read(client, key).await.unwrap_or_else(|error| panic!("{key}: {error}"));
            let number = found.as_deref().map_or(0, number_in);
            assert!(
                (puts.acknowledged..=puts.sent).contains(&number),
                "{key} holds put {number}; acknowledged was {}, sent {}",
                puts.acknowledged,
                puts.sent
            );
        }
    }
}

/// The body of a key's `number`th put: the number, then filling.
fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY_BYTES, number.to_be_bytes()[7]);
    body
}

fn number_in(body: &[u8]) -> u64 {
    body.first_chunk().copied().map_or(u64::MAX, u64::from_be_bytes)
}

/// `None`: there is no such object.
async fn read(client: &Client, key: &str) -> Result<Option<Vec<u8>>, holdfast::Error> {
    match client.get(BUCKET, key, GetOptions::default()).await {
        Ok(object) => Ok(Some(object.body.to_vec())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn work(client: &Client, shared: &Shared, prefix: &str) -> Seen {
    let mut seen = Seen::default();
    let mut turn = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let key = format!("{prefix}/{}", turn % KEYS);
        turn += 1;
        let puts = seen.puts.entry(key.clone()).or_default();
        puts.sent += 1;
        let number = puts.sent;
        let begun = Instant::now();
        let result = client.put(BUCKET, &key, body(number), PutOptions::default()).await;
        if result.is_ok() {
            puts.acknowledged = number;
        }
        let settled = *puts;
        note(&mut seen, shared, begun, &key, result.map(drop));
        let begun = Instant::now();
        match read(client, &key).await {
            Ok(found) => {
                note(&mut seen, shared, begun, &key, Ok(()));
                let number = found.as_deref().map_or(0, number_in);
                if !(settled.acknowledged..=settled.sent).contains(&number) {
                    let Puts { acknowledged, sent } = settled;
                    seen.wrong
                        .push(format!("{key}: read {number}, acknowledged {acknowledged}, sent {sent}"));
                }
            }
            Err(error) => note(&mut seen, shared, begun, &key, Err(error)),
        }
    }
    seen
}

fn note(seen: &mut Seen, shared: &Shared, begun: Instant, key: &str, result: Result<(), holdfast::Error>) {
    match result {
        Ok(()) => {
            seen.succeeded += 1;
            seen.slowest = seen.slowest.max(begun.elapsed());
            let now = u64::try_from(shared.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            let before = shared.last_success.fetch_max(now, Ordering::Relaxed);
            shared.longest_gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        }
        Err(error) => {
            seen.failed += 1;
            if seen.failures.len() < FAILURES_KEPT {
                let took = begun.elapsed().as_millis();
                seen.failures.push(format!("{key} after {took} ms: {error}"));
            }
            // A put of unknown outcome is what the promise is about; a refusal of a valid request is a defect.
            debug_assert_ne!(*error.code(), Code::Invalid, "{error}");
        }
    }
}
