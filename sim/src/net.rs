//! The network of one host, on turmoil's.
//!
//! turmoil refuses at once to connect into a partition, where a real network lets the connection hang; this file makes
//! it hang. It lets a connection to a host whose process is gone hang, where the kernel would refuse; this file refuses. A link that is cut by [`LinkState::Cut`] keeps its packets until it is healed, as TCP's retransmission would;
//! one that is [`LinkState::Dead`] loses them: the machine behind it has no power.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use node::env::{BoxIo, Listener, Net};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::Trace;

/// How often an attempt to connect into a dead link looks whether it is back: as a SYN is sent again.
const SYN_AGAIN: Duration = Duration::from_millis(250);

/// How long a refusal takes: there and back.
const REFUSED_AFTER: Duration = Duration::from_millis(2);

/// What a link between two hosts does with packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkState {
    /// Delivers them.
    #[default]
    Up,
    /// Keeps them until the link is up.
    Cut,
    /// Loses them.
    Dead,
}

/// The state of all links, and which hosts have no process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<LinksState>>);

#[derive(Debug, Default)]
struct LinksState {
    /// By the names of both hosts, in order. Those that are not here are up.
    links: BTreeMap<(String, String), LinkState>,
    /// Hosts with power and without a process.
    vacant: BTreeSet<String>,
}

impl Links {
    /// The state of the link between two hosts.
    pub fn state(&self, a: &str, b: &str) -> LinkState {
        self.0.lock().links.get(&pair(a, b)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&self, a: &str, b: &str, state: LinkState) {
        self.0.lock().links.insert(pair(a, b), state);
    }

    pub(crate) fn set_vacant(&self, host: &str, vacant: bool) {
        let hosts = &mut self.0.lock().vacant;
        if vacant {
            hosts.insert(host.to_owned())
        } else {
            hosts.remove(host)
        };
    }

    fn refuses(&self, a: &str, b: &str) -> bool {
        self.state(a, b) == LinkState::Up && self.0.lock().vacant.contains(b)
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    (low.to_owned(), high.to_owned())
}

/// The network as one host sees it.
#[derive(Clone, Debug)]
pub struct SimNet {
    host: Arc<str>,
    links: Links,
    trace: Trace,
    connections: Arc<AtomicU64>,
}

impl SimNet {
    /// For code that runs on turmoil's host of that name.
    pub fn new(host: &str, links: Links, trace: Trace) -> Self {
        Self { host: host.into(), links, trace, connections: Arc::default() }
    }

    fn io(&self, stream: TcpStream) -> SimIo {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        SimIo { stream, label: format!("{}#{number}", self.host), trace: self.trace.clone() }
    }

    async fn open(self, address: String) -> io::Result<SimIo> {
        let host = address.split(':').next().unwrap_or_default();
        while self.links.state(&self.host, host) == LinkState::Dead {
            sleep(SYN_AGAIN).await;
        }
        self.trace.bytes(format_args!("{} connects to {address}", self.host), &[]);
        if self.links.refuses(&self.host, host) {
            sleep(REFUSED_AFTER).await;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self.io(TcpStream::connect(address.as_str()).await?))
    }
}

impl Net for SimNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let net = self.clone();
        Box::pin(async move { Ok(Box::new(net.open(address).await?) as BoxIo) })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let net = self.clone();
        Box::pin(async move {
            let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(SimListener { listener, net }) as Box<dyn Listener>)
        })
    }
}

impl holdfast::Connect for SimNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<holdfast::BoxIo>> {
        let net = self.clone();
        Box::pin(async move { Ok(Box::new(net.open(address).await?) as holdfast::BoxIo) })
    }
}

struct SimListener {
    listener: TcpListener,
    net: SimNet,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Box::new(self.net.io(stream)) as BoxIo, peer.to_string()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(format!("{}:{}", self.net.host, self.listener.local_addr()?.port()))
    }
}

/// A connection whose bytes go into the trace.
#[derive(Debug)]
pub struct SimIo {
    stream: TcpStream,
    label: String,
    trace: Trace,
}

impl AsyncRead for SimIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.trace.bytes(format_args!("{} reads", self.label), &buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, data))?;
        self.trace.bytes(format_args!("{} writes", self.label), &data[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
