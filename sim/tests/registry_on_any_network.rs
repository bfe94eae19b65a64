//! The fake registry needs no world: any network, any way to start tasks.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use node::env::{BoxIo, Listener, Net};
use node::registry::RegistryStore as _;
use node::registry::store::Revision;
use parking_lot::Mutex;
use sim::registry::{SimRegistry, Spawner, State, serve};
use sim::trace::Trace;
use tokio::io::duplex;
use tokio::sync::mpsc;

/// Bytes that a pipe holds.
const PIPE: usize = 1 << 16;
const REQUESTS: u32 = 20_000;

/// One listener, reached through pipes in memory.
struct Pipes {
    opened: mpsc::UnboundedSender<BoxIo>,
    accepted: Mutex<Option<mpsc::UnboundedReceiver<BoxIo>>>,
    connections: Mutex<u32>,
}

struct PipeListener(mpsc::UnboundedReceiver<BoxIo>);

impl Net for Pipes {
    fn connect(&self, _: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (near, far) = duplex(PIPE);
        *self.connections.lock() += 1;
        let sent = self.opened.send(Box::new(far)).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { sent.map(|()| Box::new(near) as BoxIo) })
    }

    fn listen(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let accepted = self.accepted.lock().take().unwrap();
        Box::pin(async move { Ok(Box::new(PipeListener(accepted)) as Box<dyn Listener>) })
    }
}

impl Listener for PipeListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>> {
        Box::pin(async move {
            let io = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok((io, "pipe".to_owned()))
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok("pipe:0".to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn requests_share_a_connection_and_are_cheap() {
    let (opened, accepted) = mpsc::unbounded_channel();
    let pipes = Pipes { opened, accepted: Mutex::new(Some(accepted)), connections: Mutex::new(0) };
    let net = Arc::new(pipes);
    let started = Arc::new(Mutex::new(0));
    let count = started.clone();
    let spawn: Spawner = Arc::new(move |task| {
        *count.lock() += 1;
        tokio::spawn(task);
    });
    let state = Arc::new(Mutex::new(State::new(1, Trace::default())));
    tokio::spawn(serve(net.clone(), spawn, state.clone()));
    let registry = SimRegistry::new(net.clone(), "registry:2379".to_owned());
    registry.put("/key", "value", None).await.unwrap();
    let began = Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(registry.get("/key").await.unwrap().unwrap().revision, Revision(1));
    }
    println!("{:?} for each request", began.elapsed() / REQUESTS);
    assert_eq!((*net.connections.lock(), *started.lock()), (1, 1));
}
