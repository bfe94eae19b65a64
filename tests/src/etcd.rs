//! A real etcd of one member, on loopback.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::{http, ports};

/// What to install when there is no etcd.
pub const ETCD_INSTALL: &str = "apt-get install --no-install-recommends etcd-server";

/// Longest start that is waited for: etcd elects itself, and fsyncs on a busy disk.
const START_MAX: Duration = Duration::from_secs(30);

/// A running or stopped etcd. Its ports and data stay the same over a restart.
#[derive(Debug)]
pub struct Etcd {
    process: Option<Process>,
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    own_group: bool,
}

impl Etcd {
    /// Chooses ports; nothing runs until [`Etcd::start`]. Data and log go to `folder`.
    pub fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { process: None, folder, client_port: ports::free(), peer_port: ports::free(), own_group: false }
    }

    /// Puts it in a process group of its own: Ctrl-C at the terminal does not reach it.
    #[must_use]
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(&mut self) -> io::Result<()> {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        command
            .args(["--name", "one", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")]);
        let process =
            Process::start("etcd", &mut command, &self.folder.join("etcd.log")).map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    io::Error::new(error.kind(), format!("there is no etcd on this machine: {ETCD_INSTALL}"))
                } else {
                    error
                }
            })?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + START_MAX;
        while !http::is_ok(&format!("{client}/health")) {
            if let Some(status) = process.exited()? {
                return Err(io::Error::other(format!("etcd ended ({status}):\n{}", process.output())));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::other(format!("etcd does not serve:\n{}", process.output())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGKILL. [`Etcd::start`] brings it back with the same data.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_dies_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut etcd = Etcd::new(folder.path());
        etcd.start().unwrap();
        let health = format!("{}/health", etcd.url());
        assert!(http::is_ok(&health));
        etcd.kill().unwrap();
        assert!(!http::is_ok(&health));
        etcd.start().unwrap();
        assert!(http::is_ok(&health));
    }
}
