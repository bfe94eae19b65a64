//! Finding the nodes in a real etcd. Needs the `etcd` binary (Debian: `apt install etcd-server`).
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast::{Code, EtcdOptions, endpoints_from_etcd};

/// Ends with the test.
struct Etcd {
    child: Child,
    folder: std::path::PathBuf,
    url: String,
}

impl Etcd {
    fn start() -> Self {
        let free = || {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            format!("http://127.0.0.1:{port}")
        };
        let (url, peer) = (free(), free());
        let folder = std::env::temp_dir().join(format!("holdfast-client-etcd-{}", std::process::id()));
        let child = Command::new("etcd")
            .args(["--data-dir", folder.to_str().unwrap(), "--log-level", "error"])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the etcd binary is installed: apt install etcd-server");
        Self { child, folder, url }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[tokio::test]
async fn registered_nodes_are_found_and_nothing_else() {
    let etcd = Etcd::start();
    let options = EtcdOptions { endpoints: vec![etcd.url.clone()], user: None };
    let begin = Instant::now();
    let mut raw = loop {
        if let Ok(mut client) = etcd_client::Client::connect([&etcd.url], None).await
            && client.get("x", None).await.is_ok()
        {
            break client;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "etcd does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let error = endpoints_from_etcd(&options, "main").await.unwrap_err();
    assert_eq!(*error.code(), Code::Unavailable, "{error}");
    for (key, value) in [
        ("/holdfast/main/nodes/01", r#"{"format":1,"client":"http://10.0.0.1:7070","peer":"x"}"#),
        ("/holdfast/main/nodes/02", r#"{"format":1,"client":"http://10.0.0.2:7070","peer":"x"}"#),
        ("/holdfast/main/nodes/03", "not a registration"),
        ("/holdfast/main2/nodes/04", r#"{"client":"http://10.0.0.4:7070"}"#),
        ("/holdfast/main/layout", "{}"),
    ] {
        raw.put(key, value, None).await.unwrap();
    }
    let found = endpoints_from_etcd(&options, "main").await.unwrap();
    assert_eq!(found, ["http://10.0.0.1:7070", "http://10.0.0.2:7070"]);
    assert!(endpoints_from_etcd(&options, "main/nodes").await.is_err());
}
