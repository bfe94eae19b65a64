//! A real etcd of one member, started for a test on free loopback ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use node::registry::RegistryStore;
use node::registry::etcd::{EtcdConfig, EtcdStore};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Killed when dropped.
pub(crate) struct Etcd {
    pub(crate) folder: TempDir,
    child: Option<Child>,
    client_port: u16,
    peer_port: u16,
    extra: Vec<String>,
    scheme: &'static str,
}

impl Etcd {
    /// Chooses ports; does not start it.
    pub(crate) fn new() -> Self {
        let (one, two) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        Self {
            folder: TempDir::new().unwrap(),
            child: None,
            client_port: one.local_addr().unwrap().port(),
            peer_port: two.local_addr().unwrap().port(),
            extra: Vec::new(),
            scheme: "http",
        }
    }

    pub(crate) fn secure(mut self, extra: Vec<String>) -> Self {
        self.extra = extra;
        self.scheme = "https";
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    pub(crate) fn store(&self) -> Arc<dyn RegistryStore> {
        Arc::new(EtcdStore::new(EtcdConfig::new(&self.url())).unwrap())
    }

    /// Starts it on its data, without waiting.
    pub(crate) fn start(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let client = self.url();
        let child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(&self.extra)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child =
            Some(child.expect("etcd cannot be started: install etcd-server (apt-get install etcd-server)"));
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("data")
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&self, store: &Arc<dyn RegistryStore>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = store.list("/").await {
            assert!(Instant::now() < deadline, "etcd does not answer: {error}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running etcd that answers.
pub(crate) async fn running() -> Etcd {
    let mut etcd = Etcd::new();
    etcd.start();
    etcd.answers(&etcd.store()).await;
    etcd
}
