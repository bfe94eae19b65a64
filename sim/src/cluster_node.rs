//! A real node on a simulated host: `node::serve`, given this world instead of the machine's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::config::{LogFormat, RegistrySettings, Settings};
use node::env::witness::{Fact, Witness};
use node::env::{Blocking, Env, Net};
use node::registry::RegistryStore;
use node::serve::serve;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::ambient::{SimAmbient, WallClock};
use crate::disk::SimDisk;
use crate::fired::fire;
use crate::host::HostId;
use crate::net::{Fabric, SimNet};
use crate::next_version::{NextNet, NextRegistry};
use crate::oracles::Oracles;
use crate::random::Random;
use crate::registry::{self, SimRegistry};
use crate::trace::Trace;

/// The port for clients.
pub const CLIENT_PORT: u16 = 7070;
/// The port for other nodes.
pub const PEER_PORT: u16 = 7071;

/// One node's place in the world. It outlives the node's processes.
#[derive(Clone)]
pub(crate) struct NodePlace {
    pub(crate) name: String,
    pub(crate) host: HostId,
    pub(crate) disk: SimDisk,
    pub(crate) net: SimNet,
    pub(crate) random: Random,
    pub(crate) clock: WallClock,
    pub(crate) settings: Arc<Settings>,
    pub(crate) trace: Trace,
    pub(crate) end: Arc<Mutex<ProcessEnd>>,
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) oracles: Oracles,
    /// Whether the next process is of the next version.
    pub(crate) next_version: Arc<AtomicBool>,
}

/// How the node's process ends.
#[derive(Debug, Default)]
pub(crate) struct ProcessEnd {
    /// How many processes there were.
    pub(crate) starts: u64,
    /// Asks the running one to stop.
    pub(crate) stop: CancellationToken,
    /// It ended by itself; the error if it was one.
    pub(crate) ended: Option<Result<(), String>>,
}

/// The settings of a simulated node.
pub(crate) fn settings(nodes: usize, zone: &str, lease_ttl: Duration) -> Settings {
    let count = u16::try_from(nodes).expect("few nodes");
    Settings {
        data_dir: PathBuf::new(),
        cluster: "sim".to_owned(),
        client_listen: format!("0.0.0.0:{CLIENT_PORT}"),
        peer_listen: format!("0.0.0.0:{PEER_PORT}"),
        client_advertise: None,
        peer_advertise: None,
        zone: Some(zone.to_owned()),
        capacity: Some(1 << 30),
        // Not looked at: the world brings its own registry.
        registry: RegistrySettings::Alone,
        replication: u8::try_from(nodes.min(3)).expect("at most three"),
        bootstrap_nodes: count,
        lease_ttl,
        fsync: true,
        // Small, so that a run of some seconds has many checkpoints.
        checkpoint_log: 64 << 10,
        checkpoint_quiet: Duration::from_secs(5),
        stop_grace: Duration::from_secs(5),
        log_format: LogFormat::Text,
        log: String::new(),
        worker_threads: None,
    }
}

impl NodePlace {
    /// One process of the node. The world buries it when it has ended, so that its connections close.
    pub(crate) async fn run(self) {
        let (start, stop) = {
            let mut end = self.end.lock();
            end.starts += 1;
            end.ended = None;
            end.stop = CancellationToken::new();
            (end.starts, end.stop.clone())
        };
        let random = self.random.fork(&format!("process {start}"));
        let next = self.next_version.load(Ordering::Relaxed);
        let net: Arc<dyn Net> =
            if next { Arc::new(NextNet(self.net.clone())) } else { Arc::new(self.net.clone()) };
        let env = Env {
            net,
            disk: self.disk.attach(),
            ambient: Arc::new(SimAmbient::new(random, self.clock.clone())),
            blocking: Blocking::InPlace,
            witness: Arc::new(Ear { oracle: self.oracles.for_node(&self.name), place: self.clone() }),
        };
        let registry = SimRegistry::new(Arc::new(self.net.clone()), format!("registry:{}", registry::PORT));
        let registry: Arc<dyn RegistryStore> =
            if next { Arc::new(NextRegistry(registry)) } else { Arc::new(registry) };
        let served = serve(env, registry, &self.settings, 1 << 30, stop).await;
        self.trace.line(format_args!("{}: the process ends: {served:?}", self.name));
        self.end.lock().ended = Some(served.map_err(|error| error.to_string()));
        self.fabric.want_driver();
    }
}

/// What a node's process tells goes to the oracles. One that comes back without its memory ends before it says anything.
struct Ear {
    oracle: Arc<dyn Witness>,
    place: NodePlace,
}

impl Witness for Ear {
    fn is_watching(&self) -> bool {
        self.oracle.is_watching()
    }

    fn sees(&self, fact: Fact<'_>) {
        let opened = matches!(fact, Fact::Opened { .. });
        self.oracle.sees(fact);
        if opened && self.place.oracles.has_forgotten(&self.place.name) {
            self.place.end_forgetful();
        }
    }
}

impl NodePlace {
    /// Within the process: not one of its tasks is polled again, and the world buries it.
    fn end_forgetful(&self) {
        fire("disk-lost-for-good", 1);
        self.trace
            .line(format_args!("{}: its disk has lost what it had acknowledged: it stays down", self.name));
        self.disk.process_kill();
        if let Some(process) = self.fabric.process(self.host) {
            process.freeze();
        }
        self.end.lock().ended = Some(Err("its disk has lost what it had acknowledged".to_owned()));
        self.fabric.want_driver();
    }
}
