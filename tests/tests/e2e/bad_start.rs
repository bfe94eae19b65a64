//! A node that must not start says why and changes nothing; one that only has to wait waits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_tests::cluster::READY_MAX;
use holdfast_tests::etcd::Etcd;
use holdfast_tests::http;
use holdfast_tests::node::{Node, NodeOptions, Registry};
use holdfast_tests::place;
use tempfile::TempDir;

/// Longest time to a refusal.
const REFUSAL_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(15);

fn scratch() -> TempDir {
    tempfile::tempdir_in(place::scratch().unwrap()).unwrap()
}

fn options(folder: &Path) -> NodeOptions {
    let registry = Registry::Embedded(folder.join("registry"));
    NodeOptions::new(&place::node_binary().unwrap(), folder, "n1", registry)
}

/// A node that served once and was stopped.
fn used(folder: &Path) -> NodeOptions {
    let options = options(folder);
    let mut node = Node::start(options.clone()).unwrap();
    node.wait_ready(READY_MAX).unwrap();
    assert!(node.stop(STOP_MAX).unwrap().success());
    options
}

/// Every file below a folder, with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Starts a node that must refuse, say `words` and leave its data as it was.
fn refuses(options: &NodeOptions, words: &[&str]) {
    let before = contents(&options.data);
    let mut options = options.clone();
    options.log = options.log.with_extension("refused.log");
    let (status, output) = options.refused(REFUSAL_MAX).unwrap();
    assert!(!status.success(), "it ended with {status}:\n{output}");
    for word in words {
        assert!(output.contains(word), "no {word:?} in:\n{output}");
    }
    assert!(contents(&options.data) == before, "the refused start changed the data folder");
}

#[test]
fn data_of_another_cluster_is_refused() {
    let folder = scratch();
    let options = used(folder.path());
    let other = NodeOptions { cluster: "other".to_owned(), ..options.clone() };
    refuses(&other, &["test", "other"]);
    Node::start(options).unwrap().wait_ready(READY_MAX).unwrap();
}

#[test]
fn data_of_a_newer_format_is_refused() {
    let folder = scratch();
    let options = used(folder.path());
    let identity = options.data.join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    let newer: String = text
        .lines()
        .map(|line| {
            if line.starts_with("format: ") { "format: 4000000000\n".to_owned() } else { format!("{line}\n") }
        })
        .collect();
    assert_ne!(newer, text, "the identity names its format");
    fs::write(&identity, &newer).unwrap();
    refuses(&options, &["4000000000", "newer"]);
    fs::write(&identity, text).unwrap();
    Node::start(options).unwrap().wait_ready(READY_MAX).unwrap();
}

#[test]
fn data_in_use_is_refused_and_the_user_goes_on() {
    let folder = scratch();
    let options = options(folder.path());
    let mut node = Node::start(options.clone()).unwrap();
    node.wait_ready(READY_MAX).unwrap();
    let second = NodeOptions::new(&options.binary, folder.path(), "n1", options.registry.clone());
    let second = NodeOptions { log: folder.path().join("second.log"), ..second };
    let (status, output) = second.refused(REFUSAL_MAX).unwrap();
    assert!(!status.success(), "it ended with {status}:\n{output}");
    assert!(output.contains("in use") || output.contains("another process"), "it says why:\n{output}");
    assert!(http::is_ok(&format!("{}/readyz", node.url())));
}

#[test]
fn damaged_identity_is_refused() {
    let folder = scratch();
    let options = used(folder.path());
    fs::write(options.data.join("identity"), b"\xff\xfe\0garbage").unwrap();
    refuses(&options, &["identity"]);
}

#[test]
fn wrong_settings_are_refused() {
    let folder = scratch();
    let good = options(folder.path());
    fs::create_dir_all(&good.data).unwrap();
    for (flags, word) in [
        (["--replication", "0"], "replication"),
        (["--cluster", "Not A Name"], "cluster"),
        (["--client-listen", "nowhere"], "client-listen"),
        (["--no-such-flag", "1"], "--no-such-flag"),
    ] {
        let options = NodeOptions { extra: flags.map(str::to_owned).to_vec(), ..good.clone() };
        let options = NodeOptions { log: folder.path().join(format!("{word}.log")), ..options };
        let (status, output) = options.refused(REFUSAL_MAX).unwrap();
        assert!(!status.success(), "{flags:?}: it ended with {status}");
        assert!(output.contains(word), "{flags:?}: no {word:?} in:\n{output}");
    }
}

#[test]
fn a_missing_etcd_is_waited_for() {
    let folder = scratch();
    let mut etcd = Etcd::new(&folder.path().join("etcd"));
    let mut options = options(folder.path());
    options.registry = Registry::Etcd(etcd.url());
    let mut node = Node::start(options).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(node.take_ended().is_none(), "it waits:\n{}", node.output());
    let output = node.output();
    assert!(output.contains("etcd") && output.contains(&etcd.url()), "it says what it waits for:\n{output}");
    assert!(!http::is_ok(&format!("{}/readyz", node.url())), "it is not ready without a layout");
    etcd.start().unwrap();
    node.wait_ready(READY_MAX).unwrap();
}
