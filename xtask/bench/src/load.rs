//! The closed loop: so many requests under way, each followed by the next at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hdrhistogram::Histogram;
use holdfast_core::ids::OpId;
use holdfast_proto::v1::{GetRequest, PutRequest};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Serialize;

use crate::Failure;
use crate::echo::bucket;
use crate::plan::{Cell, Operation};
use crate::target::Target;
use crate::usage;
use crate::wire::Call;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;
/// Objects that gets choose from, and that puts of one round go round, for each size: few enough to fit on a small
/// disk three times, many enough to spread over all partitions.
const OBJECTS_SMALL: u64 = 20_000;
const OBJECTS_LARGE: u64 = 2_000;
/// The number of the field `body` in PutRequest.
const BODY_FIELD: u32 = 15;
/// Steps through the objects in an order that is not theirs; prime, so that it meets all of them.
const STRIDE: u64 = 7_919;
/// Requests under way while the objects for gets are put.
const FILL_IN_FLIGHT: usize = 32;

/// What one closed loop showed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Sample {
    /// Operations per second.
    pub(crate) per_second: f64,
    /// Half of them took at most this long.
    pub(crate) p50_us: f64,
    /// 95 of 100.
    pub(crate) p95_us: f64,
    /// 99 of 100.
    pub(crate) p99_us: f64,
    /// CPU time of all server processes, user and system, for each operation.
    pub(crate) cpu_us: f64,
    /// CPU time of the load generator itself, for each operation: it has the same processors.
    pub(crate) load_cpu_us: f64,
}

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are valid")
}

/// Sums up one loop.
pub(crate) fn sample(
    latency: &Histogram<u64>,
    elapsed: Duration,
    cpu: Duration,
    load_cpu: Duration,
) -> Sample {
    let count = latency.len().max(1) as f64;
    Sample {
        per_second: latency.len() as f64 / elapsed.as_secs_f64(),
        p50_us: latency.value_at_quantile(0.50) as f64,
        p95_us: latency.value_at_quantile(0.95) as f64,
        p99_us: latency.value_at_quantile(0.99) as f64,
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        load_cpu_us: load_cpu.as_secs_f64() * 1e6 / count,
    }
}

/// Makes requests; shared by all workers, so that no two puts are of the same key.
pub(crate) struct Maker {
    bodies: Vec<(usize, Bytes, Bytes)>,
    started: u64,
    next: AtomicU64,
}

impl Maker {
    /// With ready bodies of the given sizes, and their hashes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let body = |&size: &usize| {
            let body: Bytes = (0..size).map(|index| (index % 251) as u8).collect();
            let hash = Bytes::copy_from_slice(blake3::hash(&body).as_bytes());
            (size, body, hash)
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { bodies: sizes.iter().map(body).collect(), started, next: AtomicU64::new(0) }
    }

    /// A put in two parts: all that stands before the body, and the body. It is the message's last field.
    fn put(&self, body_bytes: usize, bucket: &str, key: &str) -> (Vec<u8>, Bytes) {
        let (_, body, hash) =
            self.bodies.iter().find(|(size, ..)| *size == body_bytes).expect("sizes are fixed");
        let mut unique = [0; 10];
        unique[2..].copy_from_slice(&self.turn().to_be_bytes());
        let request = PutRequest {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            op_id: Bytes::copy_from_slice(&OpId::from_parts(self.started, unique).to_bytes()),
            content_type: "application/octet-stream".to_owned(),
            hash: hash.clone(),
            ..PutRequest::default()
        };
        let mut head = request.encode_to_vec();
        encode_key(BODY_FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(body.len() as u64, &mut head);
        (head, body.clone())
    }

    fn turn(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn objects(body_bytes: usize) -> u64 {
    if body_bytes > 4096 { OBJECTS_LARGE } else { OBJECTS_SMALL }
}

/// Puts the objects that gets ask for.
pub(crate) async fn fill(target: &Arc<Target>, maker: &Arc<Maker>, body_bytes: usize) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..FILL_IN_FLIGHT {
        let (target, maker, next) = (Arc::clone(target), Arc::clone(maker), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects(body_bytes) {
                    return Ok::<(), Failure>(());
                }
                let (bucket, key) = (bucket(body_bytes), format!("get/{number}"));
                let (head, body) = maker.put(body_bytes, &bucket, &key);
                target.for_put(&bucket, &key, worker).call(Call::Put, &head, body).await?;
            }
        });
    }
    while let Some(result) = workers.join_next().await {
        result??;
    }
    Ok(())
}

/// Runs one cell for `time`. Any failed request fails the bench: figures with errors in them mean nothing.
pub(crate) async fn measure(
    target: &Arc<Target>,
    maker: &Arc<Maker>,
    cell: Cell,
    time: Duration,
) -> Result<Sample, Failure> {
    let own = [std::process::id()];
    let before = (usage::cpu(&target.processes), usage::cpu(&own));
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..cell.in_flight {
        let (target, maker) = (Arc::clone(target), Arc::clone(maker));
        workers.spawn(async move {
            let mut latency = histogram();
            while started.elapsed() < time {
                let took = match cell.operation {
                    Operation::Put => put(&target, &maker, cell.body_bytes, worker).await?,
                    Operation::Get => get(&target, &maker, cell.body_bytes, worker).await?,
                };
                latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Ok::<_, Failure>(latency)
        });
    }
    let mut all = histogram();
    while let Some(result) = workers.join_next().await {
        let latency = result?.map_err(|error| format!("{cell:?}: {error}"))?;
        all.add(&latency)?;
    }
    let elapsed = started.elapsed();
    let cpu = usage::cpu(&target.processes).saturating_sub(before.0);
    let load_cpu = usage::cpu(&own).saturating_sub(before.1);
    Ok(sample(&all, elapsed, cpu, load_cpu))
}

async fn put(target: &Target, maker: &Maker, body_bytes: usize, worker: usize) -> Result<Duration, Failure> {
    // A new key each time, until a run has made so many that the disk matters.
    let key = format!("put/{}", maker.turn() % (objects(body_bytes) * 50));
    let bucket = bucket(body_bytes);
    let (head, body) = maker.put(body_bytes, &bucket, &key);
    let connection = target.for_put(&bucket, &key, worker);
    let begun = Instant::now();
    connection.call(Call::Put, &head, body).await?;
    Ok(begun.elapsed())
}

async fn get(target: &Target, maker: &Maker, body_bytes: usize, worker: usize) -> Result<Duration, Failure> {
    let turn = maker.turn();
    let key = format!("get/{}", turn.wrapping_mul(STRIDE) % objects(body_bytes));
    let request = GetRequest { bucket: bucket(body_bytes), key, ..GetRequest::default() };
    let turn = usize::try_from(turn).unwrap_or(0);
    let connection = target.for_get(&request.bucket, &request.key, worker, turn);
    let head = request.encode_to_vec();
    let begun = Instant::now();
    let received = connection.call(Call::Get, &head, Bytes::new()).await?;
    let took = begun.elapsed();
    if received <= body_bytes {
        return Err(format!("an answer of {received} bytes cannot hold a body of {body_bytes}").into());
    }
    Ok(took)
}
