//! One real `node serve` process, which can be killed, frozen and started again on the same data and ports.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::{http, ports};

/// Where a node finds its registry.
#[derive(Clone, Debug)]
pub enum Registry {
    /// The embedded one: a folder that all nodes of the machine share.
    Embedded(PathBuf),
    /// etcd, by its address.
    Etcd(String),
}

/// How to start one node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The `node` binary.
    pub binary: PathBuf,
    /// The cluster's name.
    pub cluster: String,
    /// Its data folder.
    pub data: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Port for clients, on loopback.
    pub client_port: u16,
    /// Port for other nodes, on loopback.
    pub peer_port: u16,
    /// Its zone.
    pub zone: String,
    /// Where the registry is.
    pub registry: Registry,
    /// Replicas of each partition.
    pub replication: u8,
    /// How many nodes the first layout waits for.
    pub bootstrap_nodes: u32,
    /// More flags, after all others.
    pub extra: Vec<String>,
    /// In a process group of its own: Ctrl-C at the terminal does not reach it.
    pub own_group: bool,
}

impl NodeOptions {
    /// A node called `name` with its data in `folder/name`, on free ports, alone in its cluster.
    pub fn new(binary: &Path, folder: &Path, name: &str, registry: Registry) -> Self {
        Self {
            binary: binary.to_owned(),
            cluster: "test".to_owned(),
            data: folder.join(name),
            log: folder.join(format!("{name}.log")),
            client_port: ports::free(),
            peer_port: ports::free(),
            zone: name.to_owned(),
            registry,
            replication: 1,
            bootstrap_nodes: 1,
            extra: Vec::new(),
            own_group: false,
        }
    }

    /// The command line.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data-dir").arg(&self.data).args(["--cluster", &self.cluster]);
        command.args(["--client-listen", &format!("127.0.0.1:{}", self.client_port)]);
        command.args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_port)]);
        command.args(["--zone", &self.zone, "--replication", &self.replication.to_string()]);
        command.args(["--bootstrap-nodes", &self.bootstrap_nodes.to_string()]);
        match &self.registry {
            Registry::Embedded(folder) => command.arg("--registry-dir").arg(folder),
            Registry::Etcd(url) => command.args(["--etcd", url]),
        };
        command.args(&self.extra);
        // The tester's own settings are not the node's.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOLDFAST_"))
        {
            command.env_remove(name);
        }
        #[cfg(unix)]
        if self.own_group {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command
    }

    /// Runs it until it ends by itself, as a node that refuses to start does: its exit status and output.
    pub fn refused(&self, within: Duration) -> io::Result<(ExitStatus, String)> {
        let mut process = Process::start("node", &mut self.command(), &self.log)?;
        let status = process.wait(within)?;
        Ok((status, process.output()))
    }
}

/// One node: running, frozen or dead.
#[derive(Debug)]
pub struct Node {
    process: Option<Process>,
    options: NodeOptions,
}

impl Node {
    /// Starts it. It may not serve yet: see [`Node::wait_ready`].
    pub fn start(options: NodeOptions) -> io::Result<Self> {
        let mut node = Self { process: None, options };
        node.restart()?;
        Ok(node)
    }

    /// Starts it again after [`Node::kill`] or [`Node::stop`], on the same data and ports.
    pub fn restart(&mut self) -> io::Result<()> {
        assert!(self.process.is_none(), "the node is running already");
        self.process = Some(Process::start("node", &mut self.options.command(), &self.options.log)?);
        Ok(())
    }

    /// Returns when `/readyz` answers 200: it serves objects. Errors when it ends, or is not ready `within` that time.
    pub fn wait_ready(&mut self, within: Duration) -> io::Result<()> {
        let url = format!("{}/readyz", self.url());
        let deadline = Instant::now() + within;
        loop {
            let process = self.process.as_mut().ok_or_else(|| io::Error::other("the node is not running"))?;
            if let Some(status) = process.exited()? {
                return Err(io::Error::other(format!("the node ended ({status}):\n{}", process.output())));
            }
            if http::is_ok(&url) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let message =
                    format!("{url} is not ready within {within:?}; it wrote:\n{}", process.output());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not running.
    pub fn id(&self) -> u32 {
        self.running().id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// SIGTERM, and its exit status. Errors when it has not ended `within` that time.
    pub fn stop(&mut self, within: Duration) -> io::Result<ExitStatus> {
        self.process.take().ok_or_else(|| io::Error::other("the node is not running"))?.stop(within)
    }

    /// SIGSTOP: it hangs with its connections open.
    pub fn freeze(&self) -> io::Result<()> {
        self.running().freeze()
    }

    /// SIGCONT.
    pub fn thaw(&self) -> io::Result<()> {
        self.running().thaw()
    }

    /// Whether it was started and nobody has taken note of its end: see [`Node::take_ended`].
    pub fn has_process(&self) -> bool {
        self.process.is_some()
    }

    /// Its exit status if it has ended by itself, or by somebody else's hand; it can be started again then.
    pub fn take_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.exited().ok()??;
        self.process = None;
        Some(status)
    }

    /// Base address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.client_port)
    }

    /// Address for clients.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.options.client_port).into()
    }

    /// How it was started.
    pub fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// What it has written so far, over all its starts.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.options.log).unwrap_or_default()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the caller started this node and has not killed it")
    }
}
