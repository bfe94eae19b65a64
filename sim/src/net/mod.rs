//! The simulated network, in two degrees of truth.
//!
//! * **Direct**: connections are streams of bytes ([`pipe`]), calls go to a node's service as they are ([`calls`]). Fast.
//! * **Wire**: every connection is TCP by turmoil-net, packet by packet ([`wire`]); tonic, hyper and h2 run on it.
//!
//! Both share [`fabric`]: the links, their latency and their faults, and the machines. `docs/decisions/turmoil-net.md` says
//! why it is not turmoil's own network.

mod calls;
mod fabric;
mod link;
mod pipe;
mod wire;

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use holdfast::NodeChannel;
use node::env::{BoxIo, Calls, Listener, Net};
use tower::service_fn;
use tower::util::BoxCloneSyncService;

pub(crate) use fabric::{Fabric, current_host_name};
pub(crate) use link::Link;
pub use link::LinkOptions;
pub(crate) use wire::Wire;

use crate::host::HostId;
use calls::CallChannel;
pub(crate) use calls::is_lost;
use pipe::{PipeEnd, PipeListener};

/// The network as one machine sees it.
#[derive(Clone)]
pub(crate) struct SimNet {
    fabric: Arc<Fabric>,
    host: HostId,
}

impl SimNet {
    pub(crate) fn new(fabric: Arc<Fabric>, host: HostId) -> Self {
        Self { fabric, host }
    }

    /// Whether the main part of a run, with its faults, is over.
    pub(crate) fn is_healed(&self) -> bool {
        self.fabric.healed.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn open(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let Self { fabric, host } = self.clone();
        Box::pin(async move {
            if let Some(wire) = &fabric.wire {
                return Ok(Box::new(wire.connect(&fabric, &address).await?) as BoxIo);
            }
            Ok(Box::new(pipe::connect(fabric, host, address).await?) as BoxIo)
        })
    }
}

impl Net for SimNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        self.open(address)
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let Self { fabric, host } = self.clone();
        Box::pin(async move {
            let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let local = format!("{}:{port}", fabric.name(host));
            if let Some(wire) = &fabric.wire {
                let listener = wire.listen(&fabric, port).await?;
                return Ok(Box::new(SimListener { accepting: Accepting::Wire(listener), local })
                    as Box<dyn Listener>);
            }
            let listener = PipeListener::bind(fabric, host, port)?;
            Ok(Box::new(SimListener { accepting: Accepting::Pipe(listener), local }) as Box<dyn Listener>)
        })
    }

    fn offer(&self, address: &str, service: Calls) {
        let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        if let (Some(port), None) = (port, &self.fabric.wire) {
            self.fabric.with_machine(self.host, |machine| {
                machine.ports.entry(port).or_default().calls = Some(service);
            });
        }
    }
}

impl holdfast::Connect for SimNet {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<holdfast::BoxIo>> {
        let opening = self.open(address);
        Box::pin(async move { Ok(Box::new(opening.await?) as holdfast::BoxIo) })
    }

    fn channel(&self, address: &str) -> Option<NodeChannel> {
        if self.fabric.wire.is_some() {
            return None;
        }
        let (to, port) = self.fabric.resolve(address).ok()?;
        let channel = CallChannel::new(self.fabric.clone(), self.host, to, port);
        Some(BoxCloneSyncService::new(service_fn(move |request| channel.clone().call(request))))
    }
}

struct SimListener {
    accepting: Accepting,
    local: String,
}

enum Accepting {
    Pipe(PipeListener),
    Wire(wire::WireListener),
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async move {
            match &mut self.accepting {
                Accepting::Pipe(listener) => {
                    let (end, from): (PipeEnd, String) = listener.accept().await;
                    Ok((Box::new(end) as BoxIo, from))
                }
                Accepting::Wire(listener) => {
                    let (io, from) = listener.accept().await?;
                    Ok((Box::new(io) as BoxIo, from))
                }
            }
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.local.clone())
    }
}
