//! The `Objects` service.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{ObjectName, OpId};
use holdfast_core::record::Record;
use holdfast_core::term::Version;
use holdfast_proto::convert::condition_from_wire;
use holdfast_proto::v1;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::arrivals::{Arrival, Arrivals, Attempt};
use super::request::{self, ByteSpan, Put, object_info, object_of, span_of};
use super::{Operations, deadline_of, encode_page_token, many, to_status};
use crate::engine::{Deleted, Mutation, OutcomeAnswer};
use crate::env::Ambient;
use crate::metrics::Metrics;

/// Attempts with a fresh op id for a client that sent none, when a key's history has moved past the node's clock.
const OWN_OP_ATTEMPTS_MAX: u32 = 3;

/// Carries out mutations, with an op id of the node's own where the client sent none.
#[derive(Clone)]
pub(crate) struct Writer<O> {
    pub(crate) operations: O,
    pub(crate) ambient: Arc<dyn Ambient>,
}

impl<O: Operations> Writer<O> {
    /// Writes an object; the new record's head.
    pub(crate) async fn put(&self, put: Put, deadline: Instant) -> Result<Record, Error> {
        let Put { name, op, retry, condition, object } = put;
        if let Some(op) = op {
            return self.operations.put(name, Mutation { op, condition, retry }, object, deadline).await;
        }
        self.with_own_op(|op| {
            let mutation = Mutation { op, condition, retry: false };
            self.operations.put(name.clone(), mutation, object.clone(), deadline)
        })
        .await
    }

    /// Deletes.
    pub(crate) async fn delete(
        &self,
        name: ObjectName,
        op: Option<OpId>,
        condition: Condition,
        retry: bool,
        deadline: Instant,
    ) -> Result<Deleted, Error> {
        if let Some(op) = op {
            return self.operations.delete(name, Mutation { op, condition, retry }, deadline).await;
        }
        self.with_own_op(|op| {
            let mutation = Mutation { op, condition, retry: false };
            self.operations.delete(name.clone(), mutation, deadline)
        })
        .await
    }

    /// "Stale" says that this attempt did nothing, so one who sent an op id only once may take a larger one.
    async fn with_own_op<T, F: Future<Output = Result<T, Error>>>(
        &self,
        attempt: impl Fn(OpId) -> F,
    ) -> Result<T, Error> {
        let mut at_least_unix_ms = 0;
        for _ in 1..OWN_OP_ATTEMPTS_MAX {
            match attempt(self.fresh_op(at_least_unix_ms)).await {
                Err(Error { code: Code::StaleOpId(floor), .. }) => at_least_unix_ms = floor.unix_ms() + 1,
                answer => return answer,
            }
        }
        attempt(self.fresh_op(at_least_unix_ms)).await
    }

    fn fresh_op(&self, at_least_unix_ms: u64) -> OpId {
        let mut random = [0; 10];
        self.ambient.random(&mut random);
        OpId::from_parts(self.ambient.unix_ms().max(at_least_unix_ms), random)
    }
}

/// `Objects`, on top of the engine. Cheap to clone.
#[derive(Clone)]
pub struct ObjectsService<O> {
    pub(crate) writer: Writer<O>,
    arrivals: Arc<Arrivals>,
    metrics: Metrics,
}

impl<O: Operations> ObjectsService<O> {
    /// Over `operations`, with op ids for clients that send none from `ambient`.
    pub fn new(operations: O, ambient: Arc<dyn Ambient>, metrics: Metrics) -> Self {
        let arrivals = Arc::new(Arrivals::new(operations.life()));
        Self { writer: Writer { operations, ambient }, arrivals, metrics }
    }

    pub(super) fn operations(&self) -> &O {
        &self.writer.operations
    }

    pub(super) async fn put_one(
        &self,
        mut request: v1::PutRequest,
        arrival: Arrival,
        deadline: Instant,
    ) -> Result<v1::ObjectInfo, Error> {
        self.metrics.count_bytes_in(request.body.len());
        arrival.check()?;
        request.retry |= arrival.may_be_copy();
        let carried_out = async {
            let put = Put::from_wire(request)?;
            let key = put.name.key.clone();
            let record = self.writer.put(put, deadline).await?;
            Ok(object_info(&key, record.version, object_of(&record)?))
        };
        arrival.settle(carried_out.await, |_| false)
    }

    /// A put came: before any that came with it is carried out.
    pub(super) fn note_put(&self, request: &v1::PutRequest) -> Arrival {
        self.note(&request.op_id, request.to_life, request.attempt, request.retry)
    }

    fn note(&self, op: &[u8], to_life: Option<u64>, number: u32, retry: bool) -> Arrival {
        // One whose op id is broken is refused in a moment.
        let attempt = Attempt { op: request::op_id(op).ok().flatten(), to_life, number, retry };
        self.arrivals.note(attempt, Instant::now(), self.writer.ambient.unix_ms())
    }

    async fn delete_one(
        &self,
        request: v1::DeleteRequest,
        deadline: Instant,
    ) -> Result<v1::DeleteResponse, Error> {
        let arrival = self.note(&request.op_id, request.to_life, request.attempt, request.retry);
        arrival.check()?;
        let retry = request.retry || arrival.may_be_copy();
        let carried_out = async {
            let name = ObjectName::new(&request.bucket, &request.key)?;
            let op = request::op_id(&request.op_id)?;
            let condition = condition_from_wire(request.condition.as_ref())?;
            let deleted = self.writer.delete(name, op, condition, retry, deadline).await?;
            Ok(deleted.to_wire())
        };
        arrival.settle(carried_out.await, |answer| !answer.deleted)
    }

    pub(super) async fn get_one(
        &self,
        request: v1::GetRequest,
        deadline: Instant,
    ) -> Result<v1::GetResponse, Error> {
        let name = ObjectName::new(&request.bucket, &request.key)?;
        let span = ByteSpan::from_wire(request.range)?;
        let if_none_match: Option<Version> = match request.if_none_match.as_str() {
            "" => None,
            version => Some(version.parse()?),
        };
        let key = name.key.clone();
        let record = self.operations().get(name, deadline).await?;
        let object = object_of(&record)?;
        let info = Some(object_info(&key, record.version, object));
        if if_none_match == Some(record.version) {
            return Ok(v1::GetResponse { info, not_modified: true, offset: 0, body: Bytes::new() });
        }
        let span = span_of(span, object.size)?;
        let offset = span.start;
        let body = slice_body(object.body.as_ref(), span)?;
        self.metrics.count_bytes_out(body.len());
        Ok(v1::GetResponse { info, not_modified: false, offset, body })
    }

    async fn list_page(
        &self,
        request: v1::ListRequest,
        deadline: Instant,
    ) -> Result<v1::ListResponse, Error> {
        let v1::ListRequest { bucket, prefix, delimiter, page_token, page_size } = request;
        let query = request::list_query(&bucket, &prefix, &delimiter, &page_token, page_size)?;
        let page = self.operations().list(query, deadline).await?;
        Ok(v1::ListResponse {
            objects: page
                .objects
                .iter()
                .map(|(key, version, object)| object_info(key, *version, object))
                .collect(),
            prefixes: page.prefixes,
            next_page_token: page
                .next_after
                .map(|after| encode_page_token(&bucket, &prefix, &delimiter, &after))
                .unwrap_or_default(),
        })
    }
}

/// A span of a body. Errors with `Internal` when the engine gave a head where a body was asked for.
pub(crate) fn slice_body(body: Option<&Bytes>, span: std::ops::Range<u64>) -> Result<Bytes, Error> {
    const NO_BODY: Error = Error::new(Code::Internal, "the record came without its body: report this");
    let body = body.ok_or(NO_BODY)?;
    let start = usize::try_from(span.start).map_err(|_| NO_BODY)?;
    let end = usize::try_from(span.end).map_err(|_| NO_BODY)?;
    if start > end || end > body.len() {
        return Err(NO_BODY);
    }
    Ok(body.slice(start..end))
}

/// Takes a request apart: the message, and until when it may take.
fn open<T>(request: Request<T>) -> Result<(T, Instant), Status> {
    let deadline =
        deadline_of(request.metadata().as_ref(), Instant::now()).map_err(|error| to_status(&error))?;
    Ok((request.into_inner(), deadline))
}

/// Puts an answer into gRPC's form.
fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl<O: Operations> v1::objects_server::Objects for ObjectsService<O> {
    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let (request, deadline) = open(request)?;
        let arrival = self.note_put(&request);
        answer(
            self.put_one(request, arrival, deadline).await.map(|info| v1::PutResponse { info: Some(info) }),
        )
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(self.get_one(request, deadline).await)
    }

    async fn head(&self, request: Request<v1::HeadRequest>) -> Result<Response<v1::HeadResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(
            async {
                let name = ObjectName::new(&request.bucket, &request.key)?;
                let replicas = self.operations().replicas(&name);
                let key = name.key.clone();
                let record = self.operations().head(name, deadline).await?;
                let info = object_info(&key, record.version, object_of(&record)?);
                let replicas = replicas.iter().map(ToString::to_string).collect();
                Ok(v1::HeadResponse { info: Some(info), replicas })
            }
            .await,
        )
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(self.delete_one(request, deadline).await)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(self.list_page(request, deadline).await)
    }

    async fn outcome(
        &self,
        request: Request<v1::OutcomeRequest>,
    ) -> Result<Response<v1::OutcomeResponse>, Status> {
        use v1::outcome_response::Kind;
        let (request, deadline) = open(request)?;
        answer(
            async {
                let name = ObjectName::new(&request.bucket, &request.key)?;
                let op = request::op_id(&request.op_id)?
                    .ok_or(Error::new(Code::Invalid, "op_id is empty: name the operation to settle"))?;
                let (kind, version) = match self.operations().outcome(name, op, deadline).await? {
                    OutcomeAnswer::Committed(version) => (Kind::Committed, version.to_text()),
                    OutcomeAnswer::Fenced => (Kind::Fenced, String::new()),
                    OutcomeAnswer::Unknown => (Kind::Unknown, String::new()),
                };
                Ok(v1::OutcomeResponse { kind: kind.into(), version })
            }
            .await,
        )
    }

    async fn put_many(
        &self,
        request: Request<v1::PutManyRequest>,
    ) -> Result<Response<v1::PutManyResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(many::put_many(self, request, deadline).await)
    }

    async fn get_many(
        &self,
        request: Request<v1::GetManyRequest>,
    ) -> Result<Response<v1::GetManyResponse>, Status> {
        let (request, deadline) = open(request)?;
        answer(many::get_many(self, request, deadline).await)
    }
}
