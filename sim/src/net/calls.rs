//! Whole calls, in the direct mode: a client's request goes to the node's service as it is, without HTTP/2.
//!
//! What a caller sees is what a channel over one connection shows: a node that does not listen refuses, one that cannot be
//! reached lets the connection hang, a process that ends loses what is under way, and a silent one is given up when
//! it does not answer a ping. What resets the connection takes the call that it met, not the others; the request may arrive all
//! the same, and be overtaken by another. A caller that goes away cancels its call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{ConnectError, Status};

use super::fabric::Fabric;
use super::link::{Crossing, Reset};
use super::pipe::retransmit_after;
use crate::hooks;
use crate::host::HostId;

/// As the client's own connection timeout.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// An HTTP/2 ping after a second, unanswered for two.
const PING_PATIENCE: Duration = Duration::from_secs(3);

/// What a caller is told whose connection broke.
const LOST: &str = "the connection was lost";

/// Whether a call ended with the connection that it was on, after it had been sent.
pub(crate) fn is_lost(status: &Status) -> bool {
    status.message() == LOST
}

/// A request or a response with everything that belongs to it.
struct Whole<P> {
    parts: P,
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl<P> Whole<P> {
    async fn gather(parts: P, body: Body) -> Result<Self, Status> {
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        Ok(Self { parts, data: body.to_bytes(), trailers })
    }

    fn body(data: Bytes, trailers: Option<HeaderMap>) -> Body {
        let data = (!data.is_empty()).then_some(Ok::<_, Status>(Frame::data(data)));
        let trailers = trailers.map(|trailers| Ok(Frame::trailers(trailers)));
        Body::new(StreamBody::new(stream::iter(data.into_iter().chain(trailers))))
    }
}

/// What came of a call.
enum Outcome {
    Answered(Box<Whole<http::response::Parts>>),
    /// Nobody listens.
    Refused,
    /// The process ended.
    Lost,
}

type Answer = oneshot::Sender<Outcome>;

/// The channel from a client's machine to one node's port.
#[derive(Clone)]
pub(super) struct CallChannel {
    fabric: Arc<Fabric>,
    from: HostId,
    to: HostId,
    port: u16,
    /// Which process a connection is open to, by its machine's boots and its own address.
    connected: Arc<Mutex<Option<usize>>>,
}

impl CallChannel {
    pub(super) fn new(fabric: Arc<Fabric>, from: HostId, to: HostId, port: u16) -> Self {
        Self { fabric, from, to, port, connected: Arc::default() }
    }

    pub(super) async fn call(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.connect().await?;
        let (parts, body) = request.into_parts();
        let request = Whole::gather(parts, body).await?;
        let (answer, mut answered) = oneshot::channel();
        let (cancel, cancelled) = oneshot::channel();
        let asked = Asked { channel: self.clone(), cancel: Some(cancel) };
        self.send(Arc::new(Mutex::new(Some((request, answer, cancelled)))), 0);
        loop {
            match timeout(PING_PATIENCE, &mut answered).await {
                Ok(Ok(Outcome::Answered(whole))) => {
                    asked.settled();
                    return Ok(Response::from_parts(
                        whole.parts,
                        Whole::<()>::body(whole.data, whole.trailers),
                    ));
                }
                Ok(Ok(Outcome::Refused)) => {
                    *self.connected.lock() = None;
                    return Err(not_sent("connection refused"));
                }
                Ok(Ok(Outcome::Lost)) => {
                    // There is no connection any more on which to cancel it.
                    asked.settled();
                    *self.connected.lock() = None;
                    return Err(Status::unavailable(LOST));
                }
                // The node's machine lost its power with the call on it: silence.
                Ok(Err(_)) => {
                    tokio::time::sleep(PING_PATIENCE).await;
                    *self.connected.lock() = None;
                    return Err(Status::unavailable("keep-alive timed out"));
                }
                Err(_) if self.answers_pings() => {}
                Err(_) => {
                    *self.connected.lock() = None;
                    return Err(Status::unavailable("keep-alive timed out"));
                }
            }
        }
    }

    fn answers_pings(&self) -> bool {
        let frozen = self.fabric.process(self.to).is_some_and(|process| process.is_frozen());
        !frozen && self.fabric.reaches(self.from, self.to) && self.fabric.reaches(self.to, self.from)
    }

    /// Which process runs there.
    fn process(&self) -> Option<usize> {
        self.fabric.process(self.to).map(|process| process.number())
    }

    /// The first call, and the first after a connection was lost, opens one.
    async fn connect(&self) -> Result<(), Status> {
        let known = *self.connected.lock();
        if known.is_some() && known == self.process() {
            return Ok(());
        }
        let (fabric, from) = (self.fabric.clone(), self.from);
        let address = format!("{}:{}", self.fabric.name(self.to), self.port);
        match timeout(CONNECT_WITHIN, super::pipe::connect(fabric, from, address)).await {
            // The pipe itself is of no use: it stands for the connection.
            Ok(Ok(_pipe)) => {
                *self.connected.lock() = self.process();
                Ok(())
            }
            Ok(Err(error)) => Err(not_sent(&error.to_string())),
            Err(_) => Err(not_sent("no connection in time")),
        }
    }

    /// Sends the request, again and again while it is lost.
    fn send(&self, call: Call, attempt: u32) {
        let (path, data) = {
            let call = call.lock();
            let Some((request, ..)) = &*call else { return };
            (request.parts.uri.path().to_owned(), request.data.clone())
        };
        let crossing = self.fabric.cross(self.from, self.to, data.len(), attempt);
        self.fabric.note(self.from, self.to, crossing.arrives(), verb(&path), &data);
        let channel = self.clone();
        match crossing {
            Crossing::Arrives(at) => self.fabric.at(at, move |_| channel.arrive(&call)),
            Crossing::Reset(Reset { at, arrives }) => {
                let stray = call.clone();
                self.fabric.at(at, move |_| {
                    let mut call = stray.lock();
                    if let Some((_, answer, _)) = &mut *call {
                        let nobody = oneshot::channel().0;
                        drop(std::mem::replace(answer, nobody).send(Outcome::Lost));
                    }
                });
                if let Some(arrives) = arrives {
                    self.fabric.at(arrives, move |_| channel.arrive(&call));
                }
            }
            Crossing::Lost => self.fabric.at(hooks::now() + retransmit_after(attempt), move |_| {
                channel.send(call, attempt + 1);
            }),
        }
    }

    /// The request arrives: the node's process answers it on a task of its own.
    fn arrive(self, call: &Call) {
        let Some((request, answer, cancelled)) = call.lock().take() else { return };
        let reply = Reply { channel: self.clone(), answer: Some(answer) };
        let calls = self.fabric.with_machine(self.to, |machine| {
            let process = machine.process.clone()?;
            Some((process, machine.ports.get(&self.port)?.calls.clone()?))
        });
        let Some((process, calls)) = calls else { return reply.end(Outcome::Refused) };
        process.enter(|| {
            holdfast::tasks::spawn(async move {
                let request =
                    Request::from_parts(request.parts, Whole::<()>::body(request.data, request.trailers));
                let answering = async {
                    let (parts, body) = calls(request).await.into_parts();
                    Whole::gather(parts, body).await
                };
                tokio::select! {
                    biased;
                    whole = answering => match whole {
                        Ok(whole) => reply.end(Outcome::Answered(Box::new(whole))),
                        Err(_) => reply.end(Outcome::Lost),
                    },
                    Ok(()) = cancelled => reply.forget(),
                }
            });
        });
    }
}

/// A request on its way, with where its answer goes and how it is cancelled.
type Call = Arc<Mutex<Option<(Whole<http::request::Parts>, Answer, oneshot::Receiver<()>)>>>;

fn verb(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn not_sent(why: &str) -> Status {
    Status::from_error(Box::new(ConnectError(why.into())))
}

/// The caller waits. Dropped before it is settled, the call is cancelled.
struct Asked {
    channel: CallChannel,
    cancel: Option<oneshot::Sender<()>>,
}

impl Asked {
    fn settled(mut self) {
        self.cancel = None;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            let CallChannel { fabric, from, to, .. } = &self.channel;
            fabric.send_once(
                *from,
                *to,
                "cancel",
                Box::new(move |_| {
                    // The call may have ended.
                    let _ = cancel.send(());
                }),
            );
        }
    }
}

/// Owed by the node's task. Dropped, it says that the process is gone.
struct Reply {
    channel: CallChannel,
    answer: Option<Answer>,
}

impl Reply {
    fn end(mut self, outcome: Outcome) {
        if let Some(answer) = self.answer.take() {
            send_back(&self.channel, outcome, answer, 0);
        }
    }

    fn forget(mut self) {
        self.answer = None;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            send_back(&self.channel, Outcome::Lost, answer, 0);
        }
    }
}

/// Sends an answer, again and again while it is lost; not from a machine without power.
fn send_back(channel: &CallChannel, outcome: Outcome, answer: Answer, attempt: u32) {
    let CallChannel { fabric, from, to, .. } = channel;
    let (powered, boots) = fabric.power(*to);
    if !powered {
        return;
    }
    let data = if let Outcome::Answered(whole) = &outcome { whole.data.clone() } else { Bytes::new() };
    let crossing = fabric.cross(*to, *from, data.len(), attempt);
    fabric.note(*to, *from, crossing.arrives(), "answer", &data);
    match crossing {
        Crossing::Arrives(at) => fabric.at(at, move |_| drop(answer.send(outcome))),
        Crossing::Reset(Reset { at, .. }) => fabric.at(at, move |_| drop(answer.send(Outcome::Lost))),
        Crossing::Lost => {
            let channel = channel.clone();
            fabric.at(hooks::now() + retransmit_after(attempt), move |fabric| {
                if fabric.power(channel.to) == (true, boots) {
                    send_back(&channel, outcome, answer, attempt + 1);
                }
            });
        }
    }
}
