//! The client port's service: sorts requests, counts them, adds CORS.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use holdfast_core::error::{Code, Error};
use holdfast_proto::v1::cluster_server::ClusterServer;
use holdfast_proto::v1::objects_server::ObjectsServer;
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Layer as _, Service};
use tower_http::cors::{AllowHeaders, AllowMethods, Any, Cors, CorsLayer, ExposeHeaders};

use super::body::{Budget, Charge, Guarded, MANY_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, read_pieces};
use super::object_path::Target;
use super::route::{Route, Rpc, route};
use super::{grpc, listing, probes, read, reply, write};
use crate::env::Ambient;
use crate::metrics::{MethodMetrics, Metrics};
use crate::page;
use crate::service::{ClusterService, ObjectsService, Operations};

/// Browsers ask again after this time whether they may call (Chromium's own bound).
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Lets pages of other origins see how a request travelled, so that they can adapt to HTTP/1.1's six connections.
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// Tells whether the store works, for `/healthz`.
pub type StoreCheck = Arc<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// The service behind the client port. Cheap to clone.
pub struct ClientPort<O> {
    sorter: Sorter<O>,
    cors: Cors<Sorter<O>>,
}

impl<O> Clone for ClientPort<O> {
    fn clone(&self) -> Self {
        Self { sorter: self.sorter.clone(), cors: self.cors.clone() }
    }
}

impl<O: Operations> ClientPort<O> {
    /// Over `operations`. `extra`: further gRPC services (health, reflection).
    pub fn new(
        operations: &O,
        ambient: Arc<dyn Ambient>,
        metrics: Metrics,
        store_check: StoreCheck,
        extra: Routes,
    ) -> Self {
        let objects = ObjectsService::new(operations.clone(), ambient.clone(), metrics.clone());
        let server = ObjectsServer::new(objects.clone()).max_encoding_message_size(usize::MAX);
        let parts = Parts {
            one: server.clone().max_decoding_message_size(MESSAGE_BYTES_MAX),
            many: server.max_decoding_message_size(MANY_MESSAGE_BYTES_MAX),
            others: extra.add_service(ClusterServer::new(ClusterService::new(operations.clone()))).prepare(),
            rpcs: Rpc::ALL.map(|(_, name)| metrics.method(name)),
            other_grpc: metrics.method("other-grpc"),
            http: metrics.method("http"),
            objects,
            operations: operations.clone(),
            ambient,
            metrics,
            budget: Budget::default(),
            store_check,
        };
        let sorter = Sorter { parts: Arc::new(parts) };
        let cors = cors_layer().layer(sorter.clone());
        Self { sorter, cors }
    }
}

impl<O: Operations> hyper::service::Service<Request<Incoming>> for ClientPort<O> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.answer(request.map(Body::new))
    }
}

impl<O: Operations> ClientPort<O> {
    /// Answers one request.
    pub fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        // Programs' gRPC calls have no Origin and skip what only browsers need.
        let plain = request.version() == Version::HTTP_2
            && request.method() == Method::POST
            && !request.headers().contains_key(ORIGIN);
        if plain {
            return self.sorter.clone().call(request);
        }
        let mut cors = self.cors.clone();
        Box::pin(async move {
            let mut response = cors.call(request).await?;
            response.headers_mut().insert(TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            Ok(response)
        })
    }
}

/// CORS: any origin for now, since there are no credentials that a foreign page could borrow.
fn cors_layer() -> CorsLayer {
    let exposed = [
        Status::GRPC_STATUS,
        Status::GRPC_MESSAGE,
        Status::GRPC_STATUS_DETAILS,
        ETAG,
        CONTENT_RANGE,
        CONTENT_LENGTH,
        ACCEPT_RANGES,
        read::HASH,
        REQUEST_ID,
        HeaderName::from_static("retry-after"),
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(AllowMethods::list([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(exposed))
        .max_age(PREFLIGHT_MAX_AGE)
}

struct Parts<O> {
    /// For messages with one body, and for those with many.
    one: ObjectsServer<ObjectsService<O>>,
    many: ObjectsServer<ObjectsService<O>>,
    others: Routes,
    objects: ObjectsService<O>,
    operations: O,
    ambient: Arc<dyn Ambient>,
    metrics: Metrics,
    budget: Budget,
    rpcs: [MethodMetrics; Rpc::ALL.len()],
    other_grpc: MethodMetrics,
    http: MethodMetrics,
    store_check: StoreCheck,
}

/// Everything but CORS.
struct Sorter<O> {
    parts: Arc<Parts<O>>,
}

impl<O> Clone for Sorter<O> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone() }
    }
}

impl<O: Operations> Service<Request<Body>> for Sorter<O> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let parts = self.parts.clone();
        Box::pin(async move { Ok(parts.answer(request).await) })
    }
}

impl<O: Operations> Parts<O> {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let in_flight = self.metrics.begin_request();
        let charge = self.budget.charge();
        let request_id = request.headers().get(REQUEST_ID).cloned();
        let (mut response, method) = match route(request.uri().path()) {
            Route::Objects(rpc) if rpc.is_many() => {
                let response = grpc::call(self.many.clone(), request, MANY_MESSAGE_BYTES_MAX, &charge).await;
                (response, &self.rpcs[rpc as usize])
            }
            Route::Objects(rpc) => {
                let response = grpc::call(self.one.clone(), request, MESSAGE_BYTES_MAX, &charge).await;
                (response, &self.rpcs[rpc as usize])
            }
            Route::OtherGrpc => {
                (grpc::call(self.others.clone(), request, MESSAGE_BYTES_MAX, &charge).await, &self.other_grpc)
            }
            Route::Plain => (self.plain(request, &charge).await, &self.http),
            probe_or_page => (self.fixed(probe_or_page, request, &charge).await, &self.http),
        };
        let code = code_label(&response);
        if code != "OK" || request_id.is_some() {
            self.name_request(&mut response, request_id, code);
        }
        method.answered(code, began.elapsed().as_secs_f64());
        drop(in_flight);
        response
    }

    /// `/o/…`.
    async fn plain(&self, request: Request<Body>, charge: &Arc<Charge>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let target = match Target::parse(parts.uri.path()) {
            Ok(target) => target,
            Err(error) => return refuse_unread(&error, body, parts.version, charge).await,
        };
        let result = match (&parts.method, target) {
            (&Method::GET, Target::Object(name)) => read::read(&self.operations, name, &parts, false).await,
            (&Method::HEAD, Target::Object(name)) => read::read(&self.operations, name, &parts, true).await,
            (&Method::PUT, Target::Object(name)) => {
                write::put(&self.objects.writer, name, &parts, body, charge).await
            }
            (&Method::DELETE, Target::Object(name)) => {
                write::delete(&self.objects.writer, name, &parts).await
            }
            (&Method::GET, Target::Bucket(bucket)) => {
                listing::list(&self.operations, &bucket, parts.uri.query()).await
            }
            _ => {
                let _ = read_pieces(body, 0, charge).await;
                let text = "use GET, HEAD, PUT or DELETE on /o/{bucket}/{key}, GET on /o/{bucket}\n";
                let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, text);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
                return response;
            }
        };
        result.unwrap_or_else(|error| reply::error(&error))
    }

    /// Probes and the page: read only.
    async fn fixed(&self, route: Route, request: Request<Body>, charge: &Arc<Charge>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let version = request.version();
            let error = Error::new(
                Code::Invalid,
                "there is nothing to change here: objects are at /o/{bucket}/{key}",
            );
            let mut response = refuse_unread(&error, request.into_body(), version, charge).await;
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match route {
            Route::Health => probes::probe((self.store_check)()),
            Route::Ready => probes::probe(self.operations.ready()),
            Route::Metrics => probes::metrics(&self.metrics),
            _ => page::answer(request.uri().path(), request.headers()),
        }
    }

    /// Gives the answer the client's request id, or one of ours when it is an error: to find it in the logs.
    fn name_request(&self, response: &mut Response<Body>, given: Option<HeaderValue>, code: &'static str) {
        let id = given.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX).unwrap_or_else(|| {
            let mut random = [0; 8];
            self.ambient.random(&mut random);
            reply::ascii(format!("{:016x}", u64::from_be_bytes(random)))
        });
        if matches!(code, "INTERNAL" | "DATA_LOSS" | "500") {
            let id = id.to_str().unwrap_or_default();
            tracing::warn!(request_id = id, code, "a request failed");
        }
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// Reads what the client still sends, so that it gets to see the answer.
async fn refuse_unread(error: &Error, body: Body, version: Version, charge: &Arc<Charge>) -> Response<Body> {
    if version < Version::HTTP_2 {
        let _ = read_pieces(body, 0, charge).await;
    } else {
        drop(Guarded::new(body, charge));
    }
    reply::error(error)
}

/// A short, fixed list of labels: gRPC's code names, or HTTP statuses.
fn code_label(response: &Response<Body>) -> &'static str {
    const GRPC: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    if let Some(code) = response.headers().get(Status::GRPC_STATUS) {
        let number = code.to_str().ok().and_then(|text| text.parse::<usize>().ok());
        return number.and_then(|number| GRPC.get(number).copied()).unwrap_or("UNKNOWN");
    }
    match response.status().as_u16() {
        200..=399 => "OK",
        400 => "400",
        404 => "404",
        405 => "405",
        409 => "409",
        412 => "412",
        413 => "413",
        415 => "415",
        416 => "416",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        507 => "507",
        401..=499 => "4xx",
        _ => "5xx",
    }
}
