//! Connections of the direct mode: TCP as an application sees it, without packets.
//!
//! What is sent arrives in order, or not yet: a lost packet is sent again after a while (200 ms, then twice as long each
//! time), and everything behind it waits. A peer whose process is gone closes; one without power says nothing; one that was
//! started again does not know the connection, and resets it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use node::env::Calls;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::fabric::Fabric;
use super::link::{Crossing, Reset};
use crate::hooks;
use crate::host::HostId;

/// Bytes on their way and not yet read, of one direction at most.
const WINDOW_BYTES: usize = 256 << 10;
/// Bytes that go as one.
const SEGMENT_BYTES: usize = 64 << 10;
/// A lost packet is sent again after this time, then after twice as long, and so on: Linux's least.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);
/// The longest such pause: Linux's.
const RETRANSMIT_AFTER_MAX: Duration = Duration::from_secs(120);
/// The first unanswered attempt to connect is given up after this time.
const SYN_PATIENCE: Duration = Duration::from_secs(1);
/// Attempts to connect: Linux's, 127 s in all.
const SYN_TRIES: u32 = 7;
/// Connections that wait to be accepted.
const BACKLOG_MAX: usize = 4096;

/// How long the sender of a packet waits before it sends it the next time.
pub(super) fn retransmit_after(attempt: u32) -> Duration {
    (RETRANSMIT_AFTER * 2_u32.saturating_pow(attempt.min(12))).min(RETRANSMIT_AFTER_MAX)
}

/// A port that is listened on.
#[derive(Default)]
pub(super) struct Port {
    listening: bool,
    backlog: VecDeque<PipeEnd>,
    accepting: Option<Waker>,
    /// What answers whole calls.
    pub(super) calls: Option<Calls>,
}

enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

impl Segment {
    fn data(&self) -> &[u8] {
        if let Self::Data(data) = self { data } else { &[] }
    }
}

/// What one end has sent and received.
#[derive(Default)]
struct End {
    inbox: VecDeque<Bytes>,
    ended: bool,
    broken: bool,
    /// The application has it no more.
    closed: bool,
    sent_fin: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Bytes that it sent and the other end has not read.
    unread: usize,
    /// A packet was lost: what is sent after it waits here behind it.
    waiting: VecDeque<Segment>,
}

impl End {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

struct Pipe {
    fabric: Arc<Fabric>,
    hosts: [HostId; 2],
    /// Of each end's machine, when the connection was made.
    boots: [u64; 2],
    ends: Mutex<[End; 2]>,
}

impl Pipe {
    fn send(self: &Arc<Self>, side: usize, segment: Segment) {
        let mut ends = self.ends.lock();
        if !ends[side].waiting.is_empty() {
            ends[side].waiting.push_back(segment);
            return;
        }
        let (from, to) = (self.hosts[side], self.hosts[1 - side]);
        let crossing = self.fabric.cross(from, to, segment.data().len(), 0);
        self.fabric.note(from, to, crossing.arrives(), "stream", segment.data());
        match crossing {
            Crossing::Arrives(at) => self.arrive_at(at, side, segment),
            Crossing::Reset(Reset { at, .. }) => self.reset_at(at),
            Crossing::Lost => {
                ends[side].waiting.push_back(segment);
                self.send_again_later(side, 0);
            }
        }
    }

    fn arrive_at(self: &Arc<Self>, at: Duration, side: usize, segment: Segment) {
        let pipe = self.clone();
        self.fabric.at(at, move |_| pipe.arrive(1 - side, segment));
    }

    /// Something on the way resets both ends.
    fn reset_at(self: &Arc<Self>, at: Duration) {
        for side in 0..2 {
            self.arrive_at(at, side, Segment::Reset);
        }
    }

    fn send_again_later(self: &Arc<Self>, side: usize, attempt: u32) {
        let pipe = self.clone();
        self.fabric.at(hooks::now() + retransmit_after(attempt), move |_| pipe.send_again(side, attempt + 1));
    }

    fn send_again(self: &Arc<Self>, side: usize, attempt: u32) {
        let (from, to) = (self.hosts[side], self.hosts[1 - side]);
        // A machine that lost its power has forgotten what it wanted to send.
        if self.fabric.power(from) != (true, self.boots[side]) {
            self.ends.lock()[side].waiting.clear();
            return;
        }
        let waiting = {
            let ends = self.ends.lock();
            ends[side].waiting.iter().map(|segment| segment.data().len()).sum()
        };
        match self.fabric.cross(from, to, waiting, attempt) {
            Crossing::Reset(Reset { at, .. }) => {
                self.ends.lock()[side].waiting.clear();
                self.reset_at(at);
            }
            Crossing::Arrives(at) => {
                let waiting = std::mem::take(&mut self.ends.lock()[side].waiting);
                for segment in waiting {
                    self.fabric.note(from, to, Some(at), "stream again", segment.data());
                    self.arrive_at(at, side, segment);
                }
            }
            Crossing::Lost => self.send_again_later(side, attempt),
        }
    }

    /// A segment arrives at `side`.
    fn arrive(self: &Arc<Self>, side: usize, segment: Segment) {
        let (powered, boots) = self.fabric.power(self.hosts[side]);
        let mut ends = self.ends.lock();
        if !powered {
            // Lost on the way: the sender does not know yet.
            let first = ends[1 - side].waiting.is_empty();
            ends[1 - side].waiting.push_back(segment);
            drop(ends);
            if first {
                self.send_again_later(1 - side, 0);
            }
            return;
        }
        let unknown = boots != self.boots[side] || (ends[side].closed && !segment.data().is_empty());
        if unknown {
            drop(ends);
            if !matches!(segment, Segment::Reset) {
                self.reset_back(side);
            }
            return;
        }
        let end = &mut ends[side];
        if end.broken {
            return;
        }
        match segment {
            Segment::Data(data) => end.inbox.push_back(data),
            Segment::Fin => end.ended = true,
            Segment::Reset => {
                end.inbox.clear();
                end.broken = true;
            }
        }
        end.wake();
    }

    /// The kernel of `side` knows no such connection, and says so to the other end.
    fn reset_back(self: &Arc<Self>, side: usize) {
        let (from, to) = (self.hosts[side], self.hosts[1 - side]);
        let pipe = self.clone();
        self.fabric.send_once(from, to, "reset", Box::new(move |_| pipe.arrive(1 - side, Segment::Reset)));
    }
}

/// One end of a connection.
pub(super) struct PipeEnd {
    pipe: Arc<Pipe>,
    side: usize,
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let segment = {
            let end = &mut self.pipe.ends.lock()[self.side];
            end.closed = true;
            let unread = !end.inbox.is_empty();
            end.inbox.clear();
            match (end.broken, unread, end.sent_fin) {
                (true, ..) | (false, false, true) => None,
                (false, true, _) => Some(Segment::Reset),
                (false, false, false) => Some(Segment::Fin),
            }
        };
        if let Some(segment) = segment {
            self.pipe.send(self.side, segment);
        }
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = self.pipe.ends.lock();
        let end = &mut ends[self.side];
        if end.inbox.is_empty() {
            if end.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if end.ended {
                return Poll::Ready(Ok(()));
            }
            end.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut read = 0;
        while buffer.remaining() > 0
            && let Some(first) = end.inbox.front_mut()
        {
            let part = first.split_to(first.len().min(buffer.remaining()));
            buffer.put_slice(&part);
            read += part.len();
            if first.is_empty() {
                end.inbox.pop_front();
            }
        }
        let other = &mut ends[1 - self.side];
        other.unread -= read;
        if let Some(writer) = other.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let part = {
            let end = &mut self.pipe.ends.lock()[self.side];
            if end.broken || end.sent_fin {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if end.unread >= WINDOW_BYTES {
                end.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let part = data.len().min(SEGMENT_BYTES).min(WINDOW_BYTES - end.unread);
            end.unread += part;
            part
        };
        if part > 0 {
            self.pipe.send(self.side, Segment::Data(Bytes::copy_from_slice(&data[..part])));
        }
        Poll::Ready(Ok(part))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let end = &mut self.pipe.ends.lock()[self.side];
            if end.broken || end.sent_fin {
                return Poll::Ready(Ok(()));
            }
            end.sent_fin = true;
        }
        self.pipe.send(self.side, Segment::Fin);
        Poll::Ready(Ok(()))
    }
}

/// Connects, as Linux does: into silence it tries for two minutes.
pub(super) async fn connect(fabric: Arc<Fabric>, from: HostId, address: String) -> io::Result<PipeEnd> {
    let (to, port) = fabric.resolve(&address)?;
    for attempt in 0..SYN_TRIES {
        let (sender, receiver) = oneshot::channel();
        let arrive = move |fabric: &Arc<Fabric>| {
            let answer = accept(fabric, from, to, port);
            fabric.send_once(to, from, "connected", Box::new(move |_| drop(sender.send(answer))));
        };
        fabric.send_once(from, to, "connect", Box::new(arrive));
        let answered = async {
            match receiver.await {
                Ok(answer) => answer,
                // Lost on the way.
                Err(_) => std::future::pending().await,
            }
        };
        if let Ok(answer) = timeout(SYN_PATIENCE * 2_u32.pow(attempt), answered).await {
            return answer;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// A request to connect arrives at `to`. Gives the asker's end.
fn accept(fabric: &Arc<Fabric>, from: HostId, to: HostId, port: u16) -> io::Result<PipeEnd> {
    let boots = [fabric.power(from).1, fabric.power(to).1];
    fabric.with_machine(to, |machine| {
        let port = machine.ports.get_mut(&port).filter(|port| port.listening);
        let port = port.ok_or(io::ErrorKind::ConnectionRefused)?;
        if port.backlog.len() >= BACKLOG_MAX {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let pipe =
            Arc::new(Pipe { fabric: fabric.clone(), hosts: [from, to], boots, ends: Mutex::default() });
        port.backlog.push_back(PipeEnd { pipe: pipe.clone(), side: 1 });
        if let Some(waker) = port.accepting.take() {
            waker.wake();
        }
        Ok(PipeEnd { pipe, side: 0 })
    })
}

/// Listens on a port.
pub(super) struct PipeListener {
    fabric: Arc<Fabric>,
    host: HostId,
    port: u16,
}

impl PipeListener {
    pub(super) fn bind(fabric: Arc<Fabric>, host: HostId, port: u16) -> io::Result<Self> {
        fabric.with_machine(host, |machine| {
            let port = machine.ports.entry(port).or_default();
            if port.listening {
                return Err(io::Error::from(io::ErrorKind::AddrInUse));
            }
            port.listening = true;
            Ok(())
        })?;
        Ok(Self { fabric, host, port })
    }

    pub(super) async fn accept(&mut self) -> (PipeEnd, String) {
        let end = poll_fn(|cx| {
            self.fabric.with_machine(self.host, |machine| {
                let Some(port) = machine.ports.get_mut(&self.port) else { return Poll::Pending };
                if let Some(end) = port.backlog.pop_front() {
                    return Poll::Ready(end);
                }
                port.accepting = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
        let from = self.fabric.name(end.pipe.hosts[0]);
        (end, from.to_string())
    }
}

impl Drop for PipeListener {
    fn drop(&mut self) {
        // Outside of the lock: what waits there is closed.
        let port = self.fabric.with_machine(self.host, |machine| machine.ports.remove(&self.port));
        drop(port);
    }
}
