//! Several nodes and their registry, in a temporary folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::etcd::Etcd;
use crate::node::{Node, NodeOptions, Registry};
use crate::place;

/// Longest start that is waited for, all nodes together, on a busy machine.
pub const READY_MAX: Duration = Duration::from_secs(30);

/// Lines of each log that are shown when a test fails.
const TAIL_LINES: usize = 40;

/// Which registry a cluster uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegistryKind {
    /// The embedded one, in a shared folder.
    Embedded,
    /// A real etcd, started with the cluster.
    Etcd,
}

/// Real nodes, ready to serve. When a test panics, the ends of their logs are printed and the data is kept.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in their order.
    pub nodes: Vec<Node>,
    /// The registry's etcd, if it has one.
    pub etcd: Option<Etcd>,
    folder: TempDir,
}

impl Cluster {
    /// `count` nodes in zones of their own, replication `min(count, 3)`, each with `extra` flags; returns when all
    /// are ready.
    pub fn start(count: u32, registry: RegistryKind, extra: &[&str]) -> io::Result<Self> {
        Self::start_in(&place::node_binary()?, &place::scratch()?, count, registry, extra)
    }

    /// The same with a given binary, and with the data below `parent`.
    pub fn start_in(
        binary: &Path,
        parent: &Path,
        count: u32,
        registry: RegistryKind,
        extra: &[&str],
    ) -> io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        let folder = TempDir::with_prefix_in("cluster-", parent)?;
        let mut etcd = None;
        let registry = match registry {
            RegistryKind::Embedded => Registry::Embedded(folder.path().join("registry")),
            RegistryKind::Etcd => {
                let etcd = etcd.insert(Etcd::new(&folder.path().join("etcd")));
                etcd.start()?;
                Registry::Etcd(etcd.url())
            }
        };
        let mut cluster = Self { nodes: Vec::new(), etcd, folder };
        for number in 1..=count {
            let name = format!("n{number}");
            let mut options = NodeOptions::new(binary, cluster.folder.path(), &name, registry.clone());
            options.replication = u8::try_from(count.min(3)).expect("at most 3");
            options.bootstrap_nodes = count;
            options.extra = extra.iter().map(|&flag| flag.to_owned()).collect();
            cluster.nodes.push(Node::start(options)?);
        }
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// Returns when every node is ready.
    pub fn wait_ready(&mut self) -> io::Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.wait_ready(READY_MAX))
    }

    /// The clients' addresses of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// The temporary folder, for files that live as long as the cluster.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.folder.disable_cleanup(true);
        eprintln!("the data of this cluster is kept in {}", self.folder.path().display());
        for node in &self.nodes {
            let output = node.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("--- end of {} ---", node.options().log.display());
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                eprintln!("{line}");
            }
        }
    }
}
