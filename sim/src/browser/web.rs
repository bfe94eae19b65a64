//! What a browser's network does for grpc-web: requests over HTTP/1.1 to a node's client port.
//!
//! As with fetch, nobody says why a request failed, nor whether it was sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use holdfast::NodeChannel;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use node::env::Net as _;
use parking_lot::Mutex;
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::fired::fire;
use crate::net::{SimNet, is_lost};
use crate::random::Random;

const FRAME_HEADER_BYTES: usize = 5;
const TRAILERS_FLAG: u8 = 0x80;
/// Browsers wait for a connection for minutes; the core gives an attempt up before.
const GRACE: Duration = Duration::from_secs(30);

/// What came back.
pub(crate) enum Reply {
    /// It went well.
    Message(Bytes),
    /// It did not.
    Status(Status),
}

type Idle = Arc<Mutex<Vec<(String, SendRequest<Full<Bytes>>)>>>;

/// The network as a page sees it.
#[derive(Clone)]
pub(crate) struct Web {
    net: SimNet,
    /// Connections that wait for their next request.
    idle: Idle,
    /// Whom calls reached, where there are no connections.
    used: Arc<Mutex<BTreeSet<String>>>,
    /// A browser's, which sends a request again by itself.
    browser: Option<Arc<Mutex<Doubling>>>,
}

/// Requests whose connection breaks, for no other reason than that it was old.
struct Doubling {
    random: Random,
    percent: u64,
}

impl Web {
    /// A browser's. Of a hundred requests, so many are sent twice without a fault.
    pub(crate) fn new(net: SimNet, random: Random, percent: u64) -> Self {
        let browser = Some(Arc::new(Mutex::new(Doubling { random, percent })));
        Self { browser, ..Self::of_program(net) }
    }

    /// Of a program that is no browser, and sends each request once.
    pub(crate) fn of_program(net: SimNet) -> Self {
        Self { net, idle: Arc::default(), used: Arc::default(), browser: None }
    }

    /// Posts a message. `None`: no reply of a node came.
    pub(crate) fn post(
        &self,
        url: &str,
        path: &str,
        message: &[u8],
        timeout_ms: u64,
    ) -> impl Future<Output = Option<Reply>> + Send + use<> {
        let web = self.clone();
        let address = url.trim_start_matches("http://").to_owned();
        let mut body = BytesMut::with_capacity(FRAME_HEADER_BYTES + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).expect("a message is small"));
        body.put_slice(message);
        let request = Request::post(format!("http://{address}/{path}"))
            .header(CONTENT_TYPE, "application/grpc-web+proto")
            .header("x-grpc-web", "1")
            .header("grpc-timeout", format!("{}m", timeout_ms.clamp(1, 99_999_999)))
            .body(body.freeze())
            .expect("a request of plain parts");
        async move {
            web.double(&address, &request).await;
            let sent = web.send(&address, request);
            let (parts, body) = tokio::time::timeout(GRACE, sent).await.ok()??.into_parts();
            reply(parts.status, &parts.headers, body)
        }
    }

    /// Now and then a connection breaks after it has taken the request, which then goes its own way: what follows is a copy.
    async fn double(&self, address: &str, request: &Request<Bytes>) {
        let Some(browser) = &self.browser else { return };
        let (late, pause) = {
            let Doubling { random, percent } = &mut *browser.lock();
            if self.net.is_healed() || !random.percent(*percent) {
                return;
            }
            let late = if random.one_in(2) { random.log_ms(1, 1_000) } else { Duration::ZERO };
            (late, random.log_ms(1, 50))
        };
        fire("doubled-request", 1);
        let (web, address, request) = (self.clone(), address.to_owned(), request.clone());
        holdfast::tasks::spawn(async move {
            sleep(late).await;
            // Nobody hears what becomes of it.
            drop(web.send(&address, request).await);
        });
        sleep(pause).await;
    }

    async fn send(&self, address: &str, request: Request<Bytes>) -> Option<Response<Bytes>> {
        if let Some(channel) = holdfast::Connect::channel(&self.net, address) {
            return self.call(channel, address, request.map(Full::new)).await;
        }
        let mut request = request.map(Full::new);
        request.headers_mut().insert(HOST, HeaderValue::from_str(address).ok()?);
        *request.uri_mut() = request.uri().path().parse().ok()?;
        let (sender, response) = loop {
            let (mut sender, waited) = self.connection(address).await?;
            match sender.send_request(request.clone()).await {
                Ok(response) => break (sender, response),
                // Whatever it asks for, and whether or not it was carried out.
                Err(_) if waited && self.browser.is_some() => {}
                Err(_) => return None,
            }
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        self.idle.lock().push((address.to_owned(), sender));
        Some(Response::from_parts(parts, body))
    }

    /// The same where requests go to nodes as they are: a connection counts as one that waited once it has brought an answer.
    async fn call(
        &self,
        channel: NodeChannel,
        address: &str,
        request: Request<Full<Bytes>>,
    ) -> Option<Response<Bytes>> {
        let response = loop {
            match channel.clone().oneshot(request.clone().map(Body::new)).await {
                Ok(response) => break response,
                Err(error) => {
                    let waited = self.used.lock().remove(address);
                    if !(waited && self.browser.is_some() && is_lost(&error)) {
                        return None;
                    }
                }
            }
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        self.used.lock().insert(address.to_owned());
        Some(Response::from_parts(parts, body))
    }

    /// One that waits, or a new one. Whether it waited.
    async fn connection(&self, address: &str) -> Option<(SendRequest<Full<Bytes>>, bool)> {
        loop {
            let waiting = {
                let mut idle = self.idle.lock();
                let at = idle.iter().position(|(to, _)| to == address);
                at.map(|at| idle.swap_remove(at).1)
            };
            match waiting {
                Some(sender) if sender.is_closed() => {}
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Some((sender, true));
                    }
                }
                None => break,
            }
        }
        let io = self.net.connect(address.to_owned()).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(io)).await.ok()?;
        holdfast::tasks::spawn(async move {
            // What ends it, its requests are told.
            let _ = connection.await;
        });
        Some((sender, false))
    }
}

/// Takes a reply apart.
fn reply(status: http::StatusCode, headers: &HeaderMap, mut body: Bytes) -> Option<Reply> {
    if status != 200 {
        return None;
    }
    if body.is_empty() {
        return Status::from_header_map(headers).map(Reply::Status);
    }
    let mut message = None;
    while body.len() >= FRAME_HEADER_BYTES {
        let flags = body.get_u8();
        let length = usize::try_from(body.get_u32()).ok()?;
        if length > body.len() {
            return None;
        }
        let content = body.split_to(length);
        if flags == TRAILERS_FLAG {
            let status = Status::from_header_map(&trailers(&content))?;
            return match (status.code(), message) {
                (tonic::Code::Ok, Some(message)) => Some(Reply::Message(message)),
                _ => Some(Reply::Status(status)),
            };
        }
        message = Some(content);
    }
    None
}

fn trailers(content: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.insert(name, value);
        }
    }
    map
}
