//! The `node` binary: what it says about wrong settings, and how it starts and stops.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

fn node() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
    command
}

/// Runs `node serve` on a setting that is wrong.
fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = node().arg("serve").args(arguments).output().unwrap();
    assert!(!status.success(), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// A running node.
struct Running {
    child: Child,
    /// `host:port` for clients, as it said itself.
    address: String,
}

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = node()
            .args(["serve", "--client-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--data-dir"])
            .arg(data)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let serving = lines.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            seen.push(line.clone());
            (line["message"] == "serving").then(|| line["clients"].as_str().unwrap().to_owned())
        });
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = serving.unwrap_or_else(|| panic!("it does not serve: {seen:?}"));
        Self { child, address: url.strip_prefix("http://").unwrap().to_owned() }
    }

    fn request(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n"))
    }

    fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.get("/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "it does not get ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and how it ended.
    fn stop(mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serves_stops_and_comes_back_with_what_it_had() {
    let folder = TempDir::new().unwrap();
    let first = Running::start(folder.path());
    first.wait_until_ready();
    assert!(first.get("/healthz").starts_with("HTTP/1.1 200"));
    let put = "PUT /o/b/a%20key HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert!(first.request(put).starts_with("HTTP/1.1 200"));
    assert!(first.get("/metrics").contains("holdfast_store_commits_total"));

    let busy = refused(&[
        "--client-listen",
        "127.0.0.1:0",
        "--peer-listen",
        "127.0.0.1:0",
        "--data-dir",
        folder.path().to_str().unwrap(),
    ]);
    assert!(busy.contains("in use"), "{busy}");

    assert!(first.stop(), "a stop is a success");
    let second = Running::start(folder.path());
    second.wait_until_ready();
    let answer = second.get("/o/b/a%20key");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert!(second.stop());

    let other = refused(&[
        "--cluster",
        "another",
        "--data-dir",
        folder.path().to_str().unwrap(),
        "--client-listen",
        "127.0.0.1:0",
        "--peer-listen",
        "127.0.0.1:0",
    ]);
    assert!(other.contains("belongs to cluster"), "{other}");
}

#[test]
fn wrong_settings_are_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "data-dir = 'd'\nclutser = 'x'\n").unwrap();
    let unknown = refused(&["--config", file.to_str().unwrap()]);
    assert!(unknown.contains("clutser") && unknown.contains("node.toml"), "{unknown}");
    assert!(refused(&["--config", "/no/such/file"]).contains("cannot be read"));
    assert!(refused(&["--replication", "3"]).contains("--registry-dir"));
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    assert!(refused(&["--data-dir", data, "--log", "=="]).contains("log filter"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let busy = refused(&["--data-dir", data, "--client-listen", &taken, "--peer-listen", "127.0.0.1:0"]);
    assert!(busy.contains("cannot listen on") && busy.contains("--client-listen"), "{busy}");
}

#[test]
fn the_help_names_every_setting_with_its_default() {
    let help =
        node().args(["serve", "--help"]).env("HOLDFAST_ETCD_PASSWORD", "hush").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    assert!(!help.contains("hush"), "the password must not be shown");
    let options: Vec<&str> = help.split("\n      --").skip(1).collect();
    assert!(options.len() >= 22, "{}", options.len());
    for option in options {
        let name = option.split_whitespace().next().unwrap();
        let known = matches!(name, "config" | "help") || option.contains("[default:");
        assert!(known, "--{option}");
    }
}
