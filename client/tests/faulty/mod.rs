//! Remote peers with faults: three gRPC servers over one shared map that keeps the rules of op ids and conditions.
//!
//! A test double of the *network's far side*, so that a test can say exactly what fails and when. Whole clusters of
//! real nodes are tested in `tests` and `sim`.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error};
use holdfast_core::history::{Effect, History, Seen};
use holdfast_core::ids::{NodeId, OpId};
use holdfast_core::term::{Ballot, Term, Version};
use holdfast_proto::convert::condition_from_wire;
use holdfast_proto::v1::cluster_server::{Cluster, ClusterServer};
use holdfast_proto::v1::objects_server::{Objects, ObjectsServer};
use holdfast_proto::v1::{self, get_many_response, put_many_response};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What a node does with requests to `Objects`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Fault {
    /// Carries them out.
    None,
    /// Never answers, and does nothing.
    Hangs,
    /// Carries them out, and never answers.
    LosesAnswers,
    /// Turns them away for now.
    Unavailable,
    /// Answers gets with damaged bodies.
    DamagesBodies,
}

#[derive(Clone)]
struct Stored {
    version: Option<Version>,
    tombstone: Option<Version>,
    put: v1::PutRequest,
    history: History,
}

/// The one truth behind all nodes.
#[derive(Default)]
pub(crate) struct Truth {
    keys: BTreeMap<(String, String), Stored>,
    seq: u64,
    /// Mutations that took effect.
    pub(crate) applied: usize,
}

struct Node {
    fault: AtomicU8,
    requests: AtomicUsize,
    url: String,
}

/// Three nodes.
pub(crate) struct FaultyCluster {
    nodes: Vec<Arc<Node>>,
    runtimes: Vec<Option<Runtime>>,
    pub(crate) truth: Arc<Mutex<Truth>>,
}

impl FaultyCluster {
    pub(crate) fn start() -> Self {
        let truth = Arc::new(Mutex::new(Truth::default()));
        let listeners: Vec<_> = (0..3)
            .map(|_| {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            })
            .collect();
        let nodes: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let url = format!("http://{}", listener.local_addr().unwrap());
                Arc::new(Node { fault: AtomicU8::new(Fault::None as u8), requests: AtomicUsize::new(0), url })
            })
            .collect();
        let urls: Vec<_> = nodes.iter().map(|node| node.url.clone()).collect();
        let runtimes = listeners
            .into_iter()
            .zip(&nodes)
            .map(|(listener, node)| {
                let peer = Peer { node: node.clone(), truth: truth.clone(), urls: urls.clone() };
                Some(serve(listener, peer))
            })
            .collect();
        Self { nodes, runtimes, truth }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url.clone()).collect()
    }

    pub(crate) fn set(&self, node: usize, fault: Fault) {
        self.nodes[node].fault.store(fault as u8, Ordering::SeqCst);
    }

    pub(crate) fn set_all(&self, fault: Fault) {
        (0..3).for_each(|node| self.set(node, fault));
    }

    /// As `kill -9`: its connections break, new ones are refused.
    pub(crate) fn kill(&mut self, node: usize) {
        let runtime = self.runtimes[node].take().expect("killed once");
        // Waits until its sockets are closed: on a thread of its own, as a runtime must not wait within another.
        let closed = std::thread::spawn(move || runtime.shutdown_timeout(std::time::Duration::from_secs(5)));
        closed.join().unwrap();
    }

    pub(crate) fn requests(&self, node: usize) -> usize {
        self.nodes[node].requests.load(Ordering::SeqCst)
    }
}

impl Drop for FaultyCluster {
    fn drop(&mut self) {
        for runtime in self.runtimes.iter_mut().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}

fn serve(listener: std::net::TcpListener, peer: Peer) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        tonic::transport::Server::builder()
            .add_service(ObjectsServer::new(peer.clone()))
            .add_service(ClusterServer::new(peer))
            .serve_with_incoming(incoming)
            .await
    });
    runtime
}

#[derive(Clone)]
struct Peer {
    node: Arc<Node>,
    truth: Arc<Mutex<Truth>>,
    urls: Vec<String>,
}

impl Truth {
    fn next_version(&mut self) -> Version {
        self.seq += 1;
        self.applied += 1;
        Version(Ballot { term: Term::ZERO, seq: self.seq })
    }

    fn entry(&mut self, bucket: &str, key: &str) -> &mut Stored {
        let name = (bucket.to_owned(), key.to_owned());
        self.keys.entry(name).or_insert_with(|| Stored {
            version: None,
            tombstone: None,
            put: v1::PutRequest::default(),
            history: History::default(),
        })
    }

    /// `Err(Ok(effect))`: known from before.
    fn check(
        stored: &mut Stored,
        op: OpId,
        condition: Condition,
        retry: bool,
    ) -> Result<(), Result<Effect, Error>> {
        match stored.history.seen(op) {
            Seen::Known(Effect::Fenced) => Err(Err(Error::new(Code::Fenced, "fenced"))),
            Seen::Known(effect) => Err(Ok(effect)),
            Seen::Forgotten(floor) => Err(Err(Error::new(Code::StaleOpId(floor), "stale"))),
            Seen::Never if !condition.holds(stored.version) => {
                if retry {
                    stored.history.push(op, Effect::Fenced);
                }
                let error = Error::new(Code::ConditionFailed(stored.version), "the condition does not hold");
                Err(Err(error.with_tombstone(stored.tombstone)))
            }
            Seen::Never => Ok(()),
        }
    }

    fn put(&mut self, put: v1::PutRequest) -> Result<v1::ObjectInfo, Error> {
        if put.body.len() > 1 << 20 {
            return Err(Error::new(Code::TooLarge(1 << 20), "too large"));
        }
        let condition = condition_from_wire(put.condition.as_ref())?;
        let op = OpId::from_slice(&put.op_id)?;
        match Self::check(self.entry(&put.bucket, &put.key), op, condition, put.retry) {
            Ok(()) => {
                let version = self.next_version();
                let stored = self.entry(&put.bucket, &put.key);
                (stored.version, stored.tombstone) = (Some(version), None);
                stored.put = put;
                stored.history.push(op, Effect::Put(version));
                Ok(info(stored))
            }
            Err(Ok(_)) => Ok(info(self.entry(&put.bucket, &put.key))),
            Err(Err(error)) => Err(error),
        }
    }

    fn delete(&mut self, delete: &v1::DeleteRequest) -> Result<v1::DeleteResponse, Error> {
        let condition = condition_from_wire(delete.condition.as_ref())?;
        let op = OpId::from_slice(&delete.op_id)?;
        let stored = self.entry(&delete.bucket, &delete.key);
        match Self::check(stored, op, condition, delete.retry) {
            Ok(()) if stored.version.is_none() => {
                if delete.retry {
                    stored.history.push(op, Effect::Fenced);
                }
                let version = stored.tombstone.map(|version| version.to_text()).unwrap_or_default();
                Ok(v1::DeleteResponse { deleted: false, version })
            }
            Ok(()) => {
                let version = self.next_version();
                let stored = self.entry(&delete.bucket, &delete.key);
                (stored.version, stored.tombstone) = (None, Some(version));
                stored.history.push(op, Effect::Deleted(version));
                Ok(v1::DeleteResponse { deleted: true, version: version.to_text() })
            }
            Err(known) => known.map(|effect| match effect {
                Effect::Put(version) | Effect::Deleted(version) => {
                    v1::DeleteResponse { deleted: true, version: version.to_text() }
                }
                Effect::Fenced => unreachable!("a fence is an error"),
            }),
        }
    }

    fn get(&mut self, get: &v1::GetRequest) -> Result<v1::GetResponse, Error> {
        let stored = self.entry(&get.bucket, &get.key);
        if stored.version.is_none() {
            return Err(Error::not_found(stored.tombstone));
        }
        let info = info(stored);
        let not_modified = info.version == get.if_none_match;
        let body = &stored.put.body;
        let (offset, body) = match get.range.and_then(|range| Some((range.start?, range.last))) {
            None => (0, body.clone()),
            Some((v1::byte_range::Start::First(first), last)) => {
                let first = usize::try_from(first).unwrap();
                let end = last.map_or(body.len(), |last| usize::try_from(last).unwrap() + 1).min(body.len());
                (first as u64, body.slice(first..end))
            }
            Some((v1::byte_range::Start::Suffix(suffix), _)) => {
                let first = body.len() - usize::try_from(suffix).unwrap();
                (first as u64, body.slice(first..))
            }
        };
        let body = if not_modified { Bytes::new() } else { body };
        Ok(v1::GetResponse { info: Some(info), not_modified, offset, body })
    }
}

fn info(stored: &Stored) -> v1::ObjectInfo {
    v1::ObjectInfo {
        key: stored.put.key.clone(),
        version: stored.version.map(|version| version.to_text()).unwrap_or_default(),
        size: stored.put.body.len() as u64,
        content_type: stored.put.content_type.clone(),
        metadata: stored.put.metadata.clone(),
        hash: stored.put.hash.clone(),
        modified_unix_ms: 1,
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyDetail>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyDetail {
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

fn status(error: &Error) -> Status {
    let detail = AnyDetail { value: v1::ErrorDetail::from(error).encode_to_vec().into() };
    let details = RpcStatus { details: vec![detail] }.encode_to_vec();
    Status::with_details(tonic::Code::Unknown, error.to_string(), details.into())
}

impl Peer {
    /// Carries `act` out, as far as the node's fault lets it.
    async fn answer<T>(
        &self,
        act: impl FnOnce(&mut Truth) -> Result<T, Error>,
    ) -> Result<Response<T>, Status> {
        self.node.requests.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault();
        match fault {
            Fault::Hangs => pending().await,
            Fault::Unavailable => Err(status(&Error::new(Code::Unavailable, "not now"))),
            Fault::None | Fault::LosesAnswers | Fault::DamagesBodies => {
                let result = act(&mut self.truth.lock().unwrap());
                if fault == Fault::LosesAnswers {
                    return pending().await;
                }
                result.map(Response::new).map_err(|error| status(&error))
            }
        }
    }

    fn fault(&self) -> Fault {
        let faults =
            [Fault::None, Fault::Hangs, Fault::LosesAnswers, Fault::Unavailable, Fault::DamagesBodies];
        faults[usize::from(self.node.fault.load(Ordering::SeqCst))]
    }

    fn damage(&self, mut answer: v1::GetResponse) -> v1::GetResponse {
        if self.fault() == Fault::DamagesBodies && !answer.body.is_empty() {
            let mut body = answer.body.to_vec();
            body[0] ^= 1;
            answer.body = body.into();
        }
        answer
    }
}

#[tonic::async_trait]
impl Objects for Peer {
    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let put = request.into_inner();
        self.answer(|truth| Ok(v1::PutResponse { info: Some(truth.put(put)?) })).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let get = request.into_inner();
        self.answer(|truth| Ok(self.damage(truth.get(&get)?))).await
    }

    async fn head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let v1::HeadRequest { bucket, key } = request.into_inner();
        let get = v1::GetRequest { bucket, key, ..v1::GetRequest::default() };
        let replicas = (1..=3).map(|id| NodeId(id).to_string()).collect();
        self.answer(|truth| Ok(v1::HeadResponse { info: truth.get(&get)?.info, replicas })).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let delete = request.into_inner();
        self.answer(|truth| truth.delete(&delete)).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let list = request.into_inner();
        self.answer(|truth| {
            let of_bucket = truth
                .keys
                .iter()
                .filter(|((bucket, _), stored)| *bucket == list.bucket && stored.version.is_some());
            let mut after = of_bucket
                .filter(|((_, key), _)| key.starts_with(&list.prefix) && *key > list.page_token)
                .map(|(_, stored)| info(stored));
            let size = if list.page_size == 0 { 1000 } else { list.page_size as usize };
            let objects: Vec<_> = after.by_ref().take(size).collect();
            let last = objects.last().filter(|_| after.next().is_some());
            let next_page_token = last.map(|info| info.key.clone()).unwrap_or_default();
            Ok(v1::ListResponse { objects, prefixes: vec![], next_page_token })
        })
        .await
    }

    async fn outcome(
        &self,
        request: Request<v1::OutcomeRequest>,
    ) -> Result<Response<v1::OutcomeResponse>, Status> {
        use v1::outcome_response::Kind;
        let v1::OutcomeRequest { bucket, key, op_id } = request.into_inner();
        self.answer(|truth| {
            let op = OpId::from_slice(&op_id)?;
            let stored = truth.entry(&bucket, &key);
            let (kind, version) = match stored.history.seen(op) {
                Seen::Known(Effect::Put(version) | Effect::Deleted(version)) => {
                    (Kind::Committed, version.to_text())
                }
                Seen::Known(Effect::Fenced) | Seen::Never => {
                    stored.history.push(op, Effect::Fenced);
                    (Kind::Fenced, String::new())
                }
                Seen::Forgotten(_) => (Kind::Unknown, String::new()),
            };
            Ok(v1::OutcomeResponse { kind: kind.into(), version })
        })
        .await
    }

    async fn put_many(
        &self,
        request: Request<v1::PutManyRequest>,
    ) -> Result<Response<v1::PutManyResponse>, Status> {
        use put_many_response::result::Result as Kind;
        let puts = request.into_inner().puts;
        self.answer(|truth| {
            let results = puts.into_iter().map(|put| {
                let result = match truth.put(put) {
                    Ok(info) => Kind::Info(info),
                    Err(error) => Kind::Error((&error).into()),
                };
                put_many_response::Result { result: Some(result) }
            });
            Ok(v1::PutManyResponse { results: results.collect() })
        })
        .await
    }

    async fn get_many(
        &self,
        request: Request<v1::GetManyRequest>,
    ) -> Result<Response<v1::GetManyResponse>, Status> {
        use get_many_response::result::Result as Kind;
        let gets = request.into_inner().gets;
        self.answer(|truth| {
            let results = gets.iter().map(|get| {
                let result = match truth.get(get) {
                    Ok(answer) => Kind::Object(self.damage(answer)),
                    Err(error) => Kind::Error((&error).into()),
                };
                get_many_response::Result { result: Some(result) }
            });
            Ok(v1::GetManyResponse { results: results.collect() })
        })
        .await
    }
}

#[tonic::async_trait]
impl Cluster for Peer {
    async fn topology(
        &self,
        _: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        if self.fault() == Fault::Hangs {
            return pending().await;
        }
        let nodes = self.urls.iter().zip(1..).map(|(url, id)| v1::TopologyNode {
            node_id: NodeId(id).to_string(),
            client_url: url.clone(),
            zone: String::new(),
            live: true,
            life: 0,
        });
        // Leaders take turns over the partitions.
        let placement = (0..1024u16).flat_map(|p| (0..3).flat_map(move |r| ((p + r) % 3).to_be_bytes()));
        Ok(Response::new(v1::TopologyResponse {
            cluster: "test".into(),
            layout_version: 1,
            replication: 3,
            partitions: 1024,
            nodes: nodes.collect(),
            placement: placement.collect(),
            unix_ms: 0,
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Err(status(&Error::new(Code::Unavailable, "not in this test")))
    }
}
