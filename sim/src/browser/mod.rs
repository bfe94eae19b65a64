//! A browser on a simulated host: the npm package's own core, whose effects this performs as its TypeScript does.
//!
//! It speaks grpc-web over HTTP/1.1 to the nodes' client ports ([`web`]). What it cannot do, the TypeScript cannot either.

pub(crate) mod web;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::{BoxFuture, poll_fn};
use holdfast::{Condition, Error, OpId, Outcome, Version};
use holdfast_core::error::{Code, Error as CoreError};
use holdfast_proto::v1;
use holdfast_wasm::{Core, Method};
use parking_lot::Mutex;
use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::BUCKET;
use crate::net::SimNet;
use crate::random::Random;
use web::{Reply, Web};

/// As in the TypeScript.
const REFRESH_TIMEOUT_MS: u64 = 3_000;
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// Bits of JavaScript's random numbers.
const RANDOM_BITS: u64 = 1 << 53;

/// One page's client.
pub(crate) struct Browser {
    core: Mutex<Core>,
    web: Web,
    random: Mutex<Random>,
    ambient: Arc<dyn holdfast::Ambient>,
    timeout: Duration,
    start: Instant,
    /// A topology request has ended.
    refreshed: Notify,
}

/// What the core says must be done.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Effect {
    Send {
        attempt: usize,
        url: String,
        retry: bool,
        #[serde(rename = "timeoutMs")]
        timeout_ms: u64,
    },
    Cancel {
        attempt: usize,
    },
    Wake {
        at: u64,
    },
    Fresh {
        floor: String,
    },
    Answer {
        attempt: usize,
    },
    Failed {
        error: Fault,
    },
}

/// An error as the core writes it.
#[derive(Deserialize)]
struct Fault {
    code: String,
    message: String,
}

impl Fault {
    fn error(&self) -> CoreError {
        let code = match self.code.as_str() {
            "unavailable" => Code::Unavailable,
            "timeout" => Code::Timeout,
            "outcome-unknown" => Code::OutcomeUnknown,
            "integrity" => Code::Integrity,
            "invalid" => Code::Invalid,
            other => panic!("the browser's core ends an operation with {other}: {}", self.message),
        };
        CoreError::owned(code, self.message.clone())
    }
}

#[derive(Deserialize)]
struct RefreshDue {
    node: usize,
    url: String,
}

#[derive(Deserialize)]
struct Begun {
    call: usize,
    effects: Vec<Effect>,
}

/// Makes the request, but for the body's bytes, under an op id; whether it is a retry, whom it is for, and the attempt's number.
type Encode<'a> = dyn Fn(&Core, OpId, bool, &str, u32) -> Result<Vec<u8>, String> + Send + Sync + 'a;

/// An operation, as the TypeScript describes it.
struct Operation<'a> {
    path: &'static str,
    method: Method,
    key: &'a str,
    op: Option<OpId>,
    /// What is uploaded behind the request's head.
    body: Bytes,
    encode: &'a Encode<'a>,
}

struct Attempt {
    request: Option<BoxFuture<'static, Option<Reply>>>,
    result: Option<Result<Bytes, CoreError>>,
}

impl Browser {
    pub(crate) fn new(
        net: SimNet,
        endpoints: Vec<String>,
        ambient: Arc<dyn holdfast::Ambient>,
        random: Random,
        timeout: Duration,
        doubled_percent: u64,
    ) -> Self {
        let web = Web::new(net, random.fork("doubled"), doubled_percent);
        let core = Core::new(endpoints).expect("the endpoints are of simulated nodes");
        let (core, random) = (Mutex::new(core), Mutex::new(random));
        Self { core, web, random, ambient, timeout, start: Instant::now(), refreshed: Notify::new() }
    }

    /// Writes an object. Gives its version.
    pub(crate) async fn put(
        self: &Arc<Self>,
        key: &str,
        body: Vec<u8>,
        metadata: Vec<String>,
        condition: Condition,
    ) -> Result<Version, Error> {
        let body = Bytes::from(body);
        let hash = {
            let mut core = self.core.lock();
            core.scratch()[..body.len()].copy_from_slice(&body);
            core.hash(body.len()).expect("it fits")
        };
        let condition = condition_text(condition);
        let bytes = body.len();
        let encode = move |core: &Core, op: OpId, retry: bool, url: &str, attempt: u32| {
            let (op, metadata) = (op.to_bytes(), metadata.clone());
            core.put_request(
                BUCKET, key, &op, &condition, retry, url, attempt, "", metadata, &hash, bytes, false,
            )
        };
        let (path, op) = ("holdfast.v1.Objects/Put", Some(self.fresh_op_id("")));
        let operation = Operation { path, method: Method::Put, key, op, body, encode: &encode };
        let message = self.run(operation).await?;
        let info = decode::<v1::PutResponse>(message).info.unwrap_or_default();
        Ok(version(&info.version).expect("the core has read it"))
    }

    /// Deletes. Whether there was something, and the tombstone's version.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        key: &str,
        condition: Condition,
    ) -> Result<(bool, Option<Version>), Error> {
        let condition = condition_text(condition);
        let encode = move |core: &Core, op: OpId, retry: bool, url: &str, attempt: u32| {
            core.delete_request(BUCKET, key, &op.to_bytes(), &condition, retry, url, attempt)
        };
        let (path, op) = ("holdfast.v1.Objects/Delete", Some(self.fresh_op_id("")));
        let operation =
            Operation { path, method: Method::Delete, key, op, body: Bytes::new(), encode: &encode };
        let answer = decode::<v1::DeleteResponse>(self.run(operation).await?);
        Ok((answer.deleted, version(&answer.version)))
    }

    /// Reads an object: version and body.
    pub(crate) async fn get(self: &Arc<Self>, key: &str) -> Result<(Version, Bytes), Error> {
        let encode = move |core: &Core, _: OpId, _: bool, _: &str, _: u32| {
            core.get_request(BUCKET, key, "", "", false)
        };
        let answer =
            decode::<v1::GetResponse>(self.read("holdfast.v1.Objects/Get", Method::Get, key, &encode).await?);
        let info = answer.info.unwrap_or_default();
        Ok((version(&info.version).expect("the core has read it"), answer.body))
    }

    /// Reads a head.
    pub(crate) async fn head(self: &Arc<Self>, key: &str) -> Result<v1::ObjectInfo, Error> {
        let encode = move |core: &Core, _: OpId, _: bool, _: &str, _: u32| core.head_request(BUCKET, key);
        let message = self.read("holdfast.v1.Objects/Head", Method::Head, key, &encode).await?;
        Ok(decode::<v1::HeadResponse>(message).info.unwrap_or_default())
    }

    /// One page of a listing, and the token of the next.
    pub(crate) async fn list(
        self: &Arc<Self>,
        prefix: &str,
        token: &str,
        page_size: u32,
    ) -> Result<(Vec<v1::ObjectInfo>, String), Error> {
        let encode = move |core: &Core, _: OpId, _: bool, _: &str, _: u32| {
            core.list_request(BUCKET, prefix, "", token, page_size)
        };
        let message = self.read("holdfast.v1.Objects/List", Method::List, "", &encode).await?;
        let page = decode::<v1::ListResponse>(message);
        Ok((page.objects, page.next_page_token))
    }

    /// Settles what became of a mutation.
    pub(crate) async fn outcome(self: &Arc<Self>, key: &str, op: OpId) -> Result<Outcome, Error> {
        let encode = move |core: &Core, _: OpId, _: bool, _: &str, _: u32| {
            core.outcome_request(BUCKET, key, &op.to_bytes())
        };
        let message = self.read("holdfast.v1.Objects/Outcome", Method::Outcome, key, &encode).await?;
        let answer = decode::<v1::OutcomeResponse>(message);
        Ok(match answer.kind() {
            v1::outcome_response::Kind::Committed => {
                Outcome::Committed(version(&answer.version).expect("what was committed has a version"))
            }
            v1::outcome_response::Kind::Fenced => Outcome::Fenced,
            _ => Outcome::Unknown,
        })
    }

    async fn read(
        self: &Arc<Self>,
        path: &'static str,
        method: Method,
        key: &str,
        encode: &Encode<'_>,
    ) -> Result<Bytes, Error> {
        self.run(Operation { path, method, key, op: None, body: Bytes::new(), encode }).await
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn number(&self) -> f64 {
        self.random.lock().below(RANDOM_BITS) as f64
    }

    fn fresh_op_id(&self, floor: &str) -> OpId {
        let mut random = [0; 10];
        self.random.lock().fill(&mut random);
        let floor = if floor.is_empty() {
            Vec::new()
        } else {
            floor.parse::<OpId>().expect("the core writes op ids").to_bytes().to_vec()
        };
        let id = self.core.lock().op_id(self.ambient.unix_ms() as f64, &random, &floor);
        OpId::from_slice(&id.expect("the floor is an op id")).expect("it is one")
    }

    /// Carries an operation out: the answer's message.
    async fn run(self: &Arc<Self>, operation: Operation<'_>) -> Result<Bytes, Error> {
        let deadline = self.now() + u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        if operation.op.is_some() {
            self.ready(deadline).await?;
        }
        self.refresh();
        Call::new(self, operation, deadline).run().await
    }

    /// Waits until some node has named the others.
    async fn ready(self: &Arc<Self>, deadline: u64) -> Result<(), Error> {
        while !self.core.lock().knows_topology() {
            if self.now() >= deadline {
                return Err(CoreError::new(Code::Unavailable, "no node could be reached").into());
            }
            let ended = self.refreshed.notified();
            self.refresh();
            let _ = timeout(READY_INTERVAL, ended).await;
        }
        Ok(())
    }

    /// Asks for the topology if that is due. It goes on whatever becomes of the call.
    fn refresh(self: &Arc<Self>) {
        let (now, random) = (self.now() as f64, self.number());
        let due = parse::<Option<RefreshDue>>(&self.core.lock().refresh_due(now, random));
        if let Some(RefreshDue { node, url }) = due {
            let page = Arc::clone(self);
            holdfast::tasks::spawn(async move { page.ask_topology(node, &url).await });
        }
    }

    async fn ask_topology(&self, node: usize, url: &str) {
        let asked = self.web.post(url, "holdfast.v1.Cluster/Topology", &[], REFRESH_TIMEOUT_MS);
        let message = match timeout(Duration::from_millis(REFRESH_TIMEOUT_MS), asked).await {
            Ok(Some(Reply::Message(message))) => message,
            _ => Bytes::new(),
        };
        let now = self.now() as f64;
        {
            let mut core = self.core.lock();
            let length = fill(&mut core, &message).unwrap_or(0);
            // The core has noted that an answer was of no use.
            let _ = core.on_refresh(node, length, now);
        }
        self.refreshed.notify_waiters();
    }
}

/// One operation under way.
struct Call<'a> {
    browser: &'a Browser,
    operation: Operation<'a>,
    deadline: u64,
    op: OpId,
    number: Option<usize>,
    attempts: Vec<Attempt>,
    wake: Option<u64>,
}

impl<'a> Call<'a> {
    fn new(browser: &'a Browser, operation: Operation<'a>, deadline: u64) -> Self {
        let op = operation.op.unwrap_or_default();
        Self { browser, operation, deadline, op, number: None, attempts: Vec::new(), wake: None }
    }

    async fn run(mut self) -> Result<Bytes, Error> {
        let Operation { key, op, body, .. } = &self.operation;
        let (mutation, bytes, deadline) = (op.is_some(), body.len() as f64, self.deadline as f64);
        let (now, random) = (self.browser.now() as f64, self.browser.number());
        let begun =
            self.browser.core.lock().begin(BUCKET, key, mutation, bytes, false, deadline, now, random);
        let Begun { call, effects } = parse(&begun.expect("the names are good"));
        self.number = Some(call);
        let mut effects = effects;
        loop {
            if let Some(result) = self.perform(effects) {
                return result.map_err(|error| {
                    Error::from(error).with_op_id(self.operation.op.is_some().then_some(self.op))
                });
            }
            effects = parse(&self.event(call).await);
        }
    }

    /// Waits for what happens next, and tells the core: its effects.
    async fn event(&mut self, call: usize) -> String {
        let Self { browser, attempts, wake, operation, .. } = self;
        let at = wake.map(|at| browser.start + Duration::from_millis(at));
        let ended = poll_fn(|cx| {
            for (number, attempt) in attempts.iter_mut().enumerate() {
                if let Some(request) = &mut attempt.request
                    && let Poll::Ready(reply) = request.as_mut().poll(cx)
                {
                    attempt.request = None;
                    return Poll::Ready((number, reply));
                }
            }
            Poll::Pending
        });
        let never = at.unwrap_or(browser.start + Duration::from_secs(365 * 86_400));
        tokio::select! {
            biased;
            (number, reply) = ended => {
                let (answer, result) = browser.judge(operation.method, reply);
                attempts[number].result = result;
                let number = u32::try_from(number).expect("few attempts");
                browser.core.lock().on_answer(call, number, &answer, browser.now() as f64)
            }
            () = sleep_until(never) => {
                *wake = None;
                browser.core.lock().on_time(call, browser.now() as f64)
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Option<Result<Bytes, CoreError>> {
        for effect in effects {
            match effect {
                Effect::Send { attempt, url, retry, timeout_ms } => {
                    assert_eq!(attempt, self.attempts.len(), "attempts are numbered in order");
                    self.send(&url, retry, timeout_ms);
                }
                Effect::Cancel { attempt } => self.attempts[attempt].request = None,
                Effect::Wake { at } => self.wake = Some(at),
                Effect::Fresh { floor } => self.op = self.browser.fresh_op_id(&floor),
                Effect::Answer { attempt } => {
                    return Some(self.attempts[attempt].result.take().expect("the core chose it"));
                }
                Effect::Failed { error } => return Some(Err(error.error())),
            }
        }
        None
    }

    fn send(&mut self, url: &str, retry: bool, timeout_ms: u64) {
        let Operation { path, body, encode, .. } = &self.operation;
        let number = u32::try_from(self.attempts.len()).expect("few attempts") + 1;
        let head = encode(&self.browser.core.lock(), self.op, retry, url, number)
            .expect("the operation keeps the rules");
        let mut message = BytesMut::with_capacity(head.len() + body.len());
        message.put_slice(&head);
        message.put_slice(body);
        let request = self.browser.web.post(url, path, &message, timeout_ms);
        self.attempts.push(Attempt { request: Some(Box::pin(request)), result: None });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.browser.core.lock().end(number);
        }
    }
}

impl Browser {
    /// What to tell the core of an attempt's reply, and what is kept of it.
    fn judge(&self, method: Method, reply: Option<Reply>) -> (String, Option<Result<Bytes, CoreError>>) {
        let lost = || ("lost".to_owned(), None);
        match reply {
            None => lost(),
            Some(Reply::Status(status)) => match holdfast::node_error(&status) {
                None => lost(),
                Some(error) => {
                    let text = match &error.code {
                        Code::StaleOpId(floor) => format!("stale-op-id:{floor}"),
                        code => code.name().to_owned(),
                    };
                    (text, Some(Err(error)))
                }
            },
            Some(Reply::Message(message)) => {
                let mut core = self.core.lock();
                let Some(length) = fill(&mut core, &message) else { return lost() };
                match core.read(method, length, false) {
                    Ok(json) => {
                        let unchanged = method == Method::Delete && json.contains("\"deleted\":false");
                        (if unchanged { "unchanged" } else { "ok" }.to_owned(), Some(Ok(message)))
                    }
                    Err(fault) if parse::<Fault>(&fault).code == "integrity" => ("damaged".to_owned(), None),
                    Err(_) => lost(),
                }
            }
        }
    }
}

fn fill(core: &mut Core, message: &[u8]) -> Option<usize> {
    core.scratch().get_mut(..message.len())?.copy_from_slice(message);
    Some(message.len())
}

fn parse<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("the core writes {json}: {error}"))
}

fn decode<M: Message + Default>(message: Bytes) -> M {
    M::decode(message).expect("the core has read it")
}

fn version(text: &str) -> Option<Version> {
    (!text.is_empty()).then(|| text.parse().expect("the core has read it"))
}

fn condition_text(condition: Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::IfAbsent => "absent".to_owned(),
        Condition::IfPresent => "present".to_owned(),
        Condition::IfVersion(version) => version.to_text(),
    }
}
