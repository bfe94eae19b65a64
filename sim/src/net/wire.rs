//! The wire mode: TCP by turmoil-net, driven by the world's agenda.
//!
//! turmoil-net's kernels hold the sockets and cut what is written into segments; this file takes the segments, asks the
//! fabric's links what becomes of each, and hands them over when they arrive.
//!
//! Each process of a machine has a kernel of its own with another address. That of a killed one lives on to close its
//! connections; that of a machine that lost its power is gone, and what still comes for it is answered by a reset once the
//! machine is back, as a kernel does that does not know a connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};
use turmoil_net::{EnterGuard, KernelConfig, Net, Packet, TcpFlags, TcpSegment, Transport};

use super::fabric::Fabric;
use super::link::{Crossing, Reset};
use crate::hooks;
use crate::host::HostId;

/// Segments leave their machine in the step after they were written.
const STEP: Duration = Duration::from_millis(1);
/// turmoil-net counts passes, not time. While something was lost a pass comes every five milliseconds, so that it is
/// sent again after 200 ms.
const LOSSY_STEP: Duration = Duration::from_millis(5);
const PASSES_BEFORE_RESEND: u32 = 40;
/// A connection is given up after so many: minutes, as Linux does.
const RESENDS_MAX: u32 = 600;
/// How long after the last loss passes are made without other cause.
const LOSSY_FOR: Duration = Duration::from_secs(4);
/// Larger than a real one's: fewer segments for the same bytes.
const MTU: u32 = 16 << 10;

thread_local! {
    /// turmoil-net's own state is the thread's.
    static ENTERED: RefCell<Option<EnterGuard>> = const { RefCell::new(None) };
    static PASS_PLANNED: Cell<bool> = const { Cell::new(false) };
}

/// The kernels of all machines.
pub(crate) struct Wire {
    state: Mutex<State>,
}

struct State {
    /// By machine, then by process.
    kernels: Vec<Vec<turmoil_net::HostId>>,
    /// The process of each that runs, or ran last.
    processes: Vec<usize>,
    /// Of each, how many were forgotten by a loss of power: those before.
    forgotten: Vec<usize>,
    lossy_until: Duration,
    scratch: Vec<Packet>,
}

fn address(host: HostId, process: usize) -> Ipv4Addr {
    let host = u8::try_from(host.0 + 1).expect("a world has few machines");
    let [high, low] = u16::try_from(process).expect("few processes").to_be_bytes();
    Ipv4Addr::new(10, high, low, host)
}

fn machine(address: IpAddr) -> Option<(HostId, usize)> {
    let IpAddr::V4(address) = address else { return None };
    let [_, high, low, host] = address.octets();
    Some((HostId(usize::from(host).checked_sub(1)?), usize::from(u16::from_be_bytes([high, low]))))
}

impl Wire {
    /// Kernels for so many machines, each of which starts at most so many processes, on this thread.
    pub(crate) fn enter(machines: usize, processes: usize) -> Self {
        let config = KernelConfig::default()
            .mtu(MTU)
            .default_backlog(4096)
            .retx_threshold(PASSES_BEFORE_RESEND)
            .retx_max(RESENDS_MAX);
        let mut net = Net::with_config(config);
        let kernels = (0..machines)
            .map(|host| {
                (0..=processes)
                    .map(|number| net.add_host(IpAddr::V4(address(HostId(host), number))))
                    .collect()
            })
            .collect();
        let guard = net.enter();
        ENTERED.with_borrow_mut(|entered| *entered = Some(guard));
        PASS_PLANNED.set(false);
        let state = State {
            kernels,
            processes: vec![0; machines],
            forgotten: vec![0; machines],
            lossy_until: Duration::ZERO,
            scratch: Vec::with_capacity(64),
        };
        Self { state: Mutex::new(state) }
    }

    pub(super) fn set_current(&self, host: HostId) {
        let state = self.state.lock();
        turmoil_net::set_current(state.kernels[host.0][state.processes[host.0]]);
    }

    /// A machine starts a process. `forgets`: its power was gone before.
    pub(super) fn start_process(&self, host: HostId, forgets: bool) {
        let mut state = self.state.lock();
        let next = state.processes[host.0] + 1;
        assert!(
            next < state.kernels[host.0].len(),
            "more processes than the world's options allow in the wire mode"
        );
        state.processes[host.0] = next;
        if forgets {
            state.forgotten[host.0] = next;
        }
    }

    pub(super) async fn connect(&self, fabric: &Arc<Fabric>, to: &str) -> io::Result<WireIo> {
        let (to, port) = fabric.resolve(to)?;
        let ip = address(to, self.state.lock().processes[to.0]);
        plan_pass(fabric, STEP);
        let stream = TcpStream::connect(SocketAddr::new(IpAddr::V4(ip), port)).await;
        plan_pass(fabric, STEP);
        Ok(WireIo { stream: Some(stream?), fabric: fabric.clone() })
    }

    pub(super) async fn listen(&self, fabric: &Arc<Fabric>, port: u16) -> io::Result<WireListener> {
        let listener = TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?;
        Ok(WireListener { listener, fabric: fabric.clone() })
    }

    /// Takes what the kernels want to send, and lets the links judge it.
    fn pass(&self, fabric: &Arc<Fabric>) {
        let mut packets = std::mem::take(&mut self.state.lock().scratch);
        ENTERED.with_borrow(|entered| {
            entered.as_ref().expect("the wire is entered").egress_all(&mut packets);
        });
        for packet in packets.drain(..) {
            self.send(fabric, packet);
        }
        let lossy = {
            let mut state = self.state.lock();
            state.scratch = packets;
            hooks::now() < state.lossy_until
        };
        if lossy {
            plan_pass(fabric, LOSSY_STEP);
        }
    }

    fn send(&self, fabric: &Arc<Fabric>, packet: Packet) {
        let (Some((from, process)), Some((to, _))) = (machine(packet.src), machine(packet.dst)) else {
            return;
        };
        // What a kernel without power still holds is not sent.
        if process < self.state.lock().forgotten[from.0] || !fabric.power(from).0 {
            return;
        }
        let crossing = fabric.cross(from, to, packet.size() as usize, 0);
        let (label, data) = described(&packet);
        fabric.note(from, to, crossing.arrives(), label, &data);
        // A step went by before it was sent.
        let soon = |at: Duration| at.saturating_sub(STEP).max(hooks::now());
        let deliver_at = |at, to, packet| {
            let boots = fabric.power(to).1;
            fabric.at(soon(at), move |fabric| deliver(fabric, to, boots, packet));
        };
        match crossing {
            Crossing::Arrives(at) => deliver_at(at, to, packet),
            Crossing::Reset(Reset { at, .. }) => {
                if let Some(back) = reset(&packet) {
                    deliver_at(at, from, back);
                }
                deliver_at(at, to, as_reset(packet));
            }
            Crossing::Lost => self.state.lock().lossy_until = hooks::now() + LOSSY_FOR,
        }
    }
}

/// A pass is due, if none is planned.
fn plan_pass(fabric: &Arc<Fabric>, after: Duration) {
    if !PASS_PLANNED.replace(true) {
        fabric.at(hooks::now() + after, |fabric| {
            PASS_PLANNED.set(false);
            fabric.wire.as_ref().expect("this is the wire mode").pass(fabric);
        });
    }
}

fn deliver(fabric: &Arc<Fabric>, to: HostId, boots: u64, packet: Packet) {
    let wire = fabric.wire.as_ref().expect("this is the wire mode");
    let (powered, now) = fabric.power(to);
    if !powered || now != boots {
        wire.state.lock().lossy_until = hooks::now() + LOSSY_FOR;
        return;
    }
    let forgotten = wire.state.lock().forgotten[to.0];
    let of_old = machine(packet.dst).is_none_or(|(_, process)| process < forgotten);
    ENTERED.with_borrow(|entered| {
        let entered = entered.as_ref().expect("the wire is entered");
        if !of_old {
            return entered.deliver(packet);
        }
        // A kernel that was started again does not know the connection.
        if let Some(reset) = reset(&packet) {
            entered.deliver(reset);
        }
    });
    plan_pass(fabric, STEP);
}

/// What a kernel answers to a segment of a connection that it does not know. `None`: nothing.
fn reset(packet: &Packet) -> Option<Packet> {
    let Transport::Tcp(segment) = &packet.payload else { return None };
    if segment.flags.rst {
        return None;
    }
    let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX)
        + u32::from(segment.flags.syn)
        + u32::from(segment.flags.fin);
    let reset = TcpSegment {
        src_port: segment.dst_port,
        dst_port: segment.src_port,
        seq: segment.ack,
        ack: segment.seq.wrapping_add(length),
        flags: TcpFlags { rst: true, ack: true, ..TcpFlags::default() },
        window: 0,
        payload: bytes::Bytes::new(),
    };
    Some(Packet { src: packet.dst, dst: packet.src, ttl: packet.ttl, payload: Transport::Tcp(reset) })
}

/// What arrives instead of a segment whose connection is reset on the way.
fn as_reset(mut packet: Packet) -> Packet {
    if let Transport::Tcp(segment) = &mut packet.payload {
        segment.flags = TcpFlags { rst: true, ack: true, ..TcpFlags::default() };
        segment.payload = bytes::Bytes::new();
    }
    packet
}

fn described(packet: &Packet) -> (&'static str, bytes::Bytes) {
    match &packet.payload {
        Transport::Tcp(segment) => {
            let TcpFlags { syn, fin, rst, .. } = segment.flags;
            let label = match (syn, fin, rst, segment.payload.is_empty()) {
                (true, ..) => "SYN",
                (_, _, true, _) => "RST",
                (_, true, ..) => "FIN",
                (.., true) => "ACK",
                _ => "segment",
            };
            (label, segment.payload.clone())
        }
        Transport::Udp(datagram) => ("datagram", datagram.payload.clone()),
    }
}

/// A port that is listened on.
pub(super) struct WireListener {
    listener: TcpListener,
    fabric: Arc<Fabric>,
}

impl WireListener {
    pub(super) async fn accept(&mut self) -> io::Result<(WireIo, String)> {
        let (stream, from) = self.listener.accept().await?;
        let name = machine(from.ip())
            .map_or_else(|| from.to_string(), |(host, _)| self.fabric.name(host).to_string());
        Ok((WireIo { stream: Some(stream), fabric: self.fabric.clone() }, name))
    }
}

/// A connection.
pub(super) struct WireIo {
    stream: Option<TcpStream>,
    fabric: Arc<Fabric>,
}

impl WireIo {
    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("it is taken when this is dropped only"))
    }
}

impl Drop for WireIo {
    fn drop(&mut self) {
        drop(self.stream.take());
        plan_pass(&self.fabric, STEP);
    }
}

impl AsyncRead for WireIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = self.stream().poll_read(cx, buffer);
        // The window opens.
        if buffer.filled().len() > before {
            plan_pass(&self.fabric, STEP);
        }
        poll
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let poll = self.stream().poll_write(cx, data);
        plan_pass(&self.fabric, STEP);
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = self.stream().poll_shutdown(cx);
        plan_pass(&self.fabric, STEP);
        poll
    }
}
