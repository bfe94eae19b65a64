//! Performs what `core::client` decides: sends attempts, keeps their answers, sleeps, ends.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::client::{Answer, Effect, Ending, Kind, Operation, Slot, Spec};
use holdfast_core::ids::{OpId, Partition};
use tokio::time::{Instant, sleep_until};

use crate::ambient::{op_id_above, random_u64};
use crate::attempts::Attempts;
use crate::client::{Client, NodeClients};
use crate::error::Error;
use crate::tasks;

/// One operation, as its verb describes it.
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) partition: Option<Partition>,
    pub(crate) body_bytes: usize,
    pub(crate) timeout: Duration,
    /// The mutation's op id. Reads have none.
    pub(crate) op_id: Option<OpId>,
    /// The op id may have been sent before this call.
    pub(crate) doubtful: bool,
    /// The op id is the caller's choice.
    pub(crate) pinned: bool,
}

/// What one attempt is told.
pub(crate) struct Attempt {
    /// The node's services.
    pub(crate) node: NodeClients,
    pub(crate) op_id: OpId,
    pub(crate) retry: bool,
    /// For the request's own deadline.
    pub(crate) timeout: Duration,
}

/// How one attempt ended: for the decisions, and for the caller.
pub(crate) struct Attempted<T> {
    pub(crate) answer: Answer,
    pub(crate) result: Result<T, Error>,
}

/// A result, and how many attempts were sent for it.
pub(crate) struct Driven<T> {
    pub(crate) result: Result<T, Error>,
    pub(crate) attempts: u32,
}

/// Carries `call` out. `send` makes one attempt.
pub(crate) async fn drive<T, F, S>(client: &Client, call: Call, send: S) -> Driven<T>
where
    S: Fn(Attempt) -> F,
    F: Future<Output = Attempted<T>>,
{
    let mut run = Run::begin(client, &call);
    let mut attempts = Attempts::new();
    let mut answers: Vec<Option<Result<T, Error>>> = Vec::new();
    let timer = sleep_until(run.start);
    tokio::pin!(timer);
    loop {
        for effect in std::mem::take(&mut run.effects) {
            match effect {
                Effect::Send { attempt, slot, retry, timeout_ms } => {
                    answers.push(None);
                    match client.node(slot) {
                        Ok(node) => {
                            let timeout = Duration::from_millis(timeout_ms);
                            attempts.push(attempt, send(Attempt { node, op_id: run.op_id, retry, timeout }));
                        }
                        Err(error) => run.unusable.push((attempt, error)),
                    }
                }
                Effect::Cancel { attempt } => attempts.cancel(attempt),
                Effect::WakeAt(at) => timer.as_mut().reset(client.instant(at)),
                Effect::FreshOpId { floor } => run.op_id = op_id_above(client.ambient(), floor),
                Effect::Done(ending) => return run.end(ending, answers),
            }
        }
        let (attempt, Attempted { answer, result }) = if let Some((attempt, error)) = run.unusable.pop() {
            (attempt, Attempted { answer: Answer::NotSent, result: Err(error) })
        } else {
            tokio::select! {
                biased;
                ended = attempts.next() => ended,
                () = timer.as_mut() => {
                    run.on_time(client);
                    // It stays quiet until the next WakeAt, which every event on the way to the end brings.
                    timer.as_mut().reset(run.never);
                    continue;
                }
            }
        };
        if let Err(error) = &result {
            run.last_error = Some(error.clone());
        }
        answers[attempt as usize] = Some(result);
        run.on_answer(client, attempt, &answer);
    }
}

/// The decisions under way, without what they carry.
struct Run {
    operation: Operation,
    effects: Vec<Effect>,
    op_id: OpId,
    is_mutation: bool,
    /// Attempts at addresses that no channel can be made for.
    unusable: Vec<(u32, Error)>,
    last_error: Option<Error>,
    start: Instant,
    never: Instant,
}

impl Run {
    fn begin(client: &Client, call: &Call) -> Self {
        let start = Instant::now();
        let now_ms = client.ms(start);
        let timeout_ms = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
        let spec = Spec {
            kind: call.kind,
            partition: call.partition,
            body_bytes: call.body_bytes as u64,
            deadline_ms: now_ms.saturating_add(timeout_ms),
            doubtful: call.doubtful,
            pinned: call.pinned,
        };
        let mut effects = Vec::with_capacity(4);
        let random = random_u64(client.ambient());
        client.refresh_if_due(now_ms, random);
        let operation = Operation::begin(spec, &mut client.state().router, now_ms, random, &mut effects);
        Self {
            operation,
            effects,
            op_id: call.op_id.unwrap_or_default(),
            is_mutation: call.kind == Kind::Mutation,
            unusable: Vec::new(),
            last_error: None,
            start,
            never: start + Duration::from_secs(365 * 24 * 3600),
        }
    }

    fn on_time(&mut self, client: &Client) {
        let now_ms = client.ms(Instant::now());
        self.operation.on_time(&mut client.state().router, now_ms, &mut self.effects);
    }

    fn on_answer(&mut self, client: &Client, attempt: u32, answer: &Answer) {
        let now_ms = client.ms(Instant::now());
        self.operation.on_answer(attempt, answer, &mut client.state().router, now_ms, &mut self.effects);
    }

    fn end<T>(self, ending: Ending, mut answers: Vec<Option<Result<T, Error>>>) -> Driven<T> {
        let result = match ending {
            Ending::Answer { attempt } => {
                answers[attempt as usize].take().expect("an ending names an attempt that was answered")
            }
            Ending::Failed(failure) => Err(Error::from_failure(failure, self.last_error.as_ref())),
        };
        let op_id = self.is_mutation.then_some(self.op_id);
        Driven {
            result: result.map_err(|error| error.with_op_id(op_id)),
            attempts: u32::try_from(answers.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Asks `slot` for the topology, beside whatever caused it.
pub(crate) fn spawn_refresh(client: &Client, slot: Slot) {
    let client = Client::clone(client);
    tasks::spawn(async move {
        let timeout = Duration::from_millis(client.refresh_timeout_ms());
        let topology = match client.node(slot) {
            Ok(node) => tokio::time::timeout(timeout, node.topology(timeout)).await.ok().flatten(),
            Err(_) => None,
        };
        let now_ms = client.ms(Instant::now());
        let router = &mut client.state().router;
        match topology {
            // A node of another cluster is suspected from now on; operations say what is wrong if none else is left.
            Some(topology) => drop(router.on_topology(slot, &Arc::unwrap_or_clone(topology), now_ms)),
            None => router.on_refresh_failed(slot, now_ms),
        }
    });
}
