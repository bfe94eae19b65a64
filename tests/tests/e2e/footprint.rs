//! What an idle node needs, and how soon it serves (bars: 30 MiB resident, 500 ms).

use std::time::{Duration, Instant};

use holdfast_tests::cluster::READY_MAX;
use holdfast_tests::node::{Node, NodeOptions, Registry};
use holdfast_tests::place;

/// With a release binary; a debug one has symbols and no inlining.
const IDLE_BYTES_MAX: u64 = 30 * 1024 * 1024;

#[test]
fn an_idle_node_is_small_and_starts_soon() {
    let folder = tempfile::tempdir_in(place::scratch().unwrap()).unwrap();
    let binary = place::node_binary().unwrap();
    let registry = Registry::Embedded(folder.path().join("registry"));
    let options = NodeOptions::new(&binary, folder.path(), "n1", registry);
    for start in ["first start", "second start"] {
        let begun = Instant::now();
        let mut node = Node::start(options.clone()).unwrap();
        node.wait_ready(READY_MAX).unwrap();
        let ready = begun.elapsed();
        std::thread::sleep(Duration::from_secs(2));
        let resident = resident_bytes(node.id());
        println!("{start}: serving after {} ms, idle {} KiB resident", ready.as_millis(), resident / 1024);
        if binary.components().any(|part| part.as_os_str() == "release") {
            assert!(resident <= IDLE_BYTES_MAX, "an idle node has {resident} bytes resident");
        }
        let status = node.stop(Duration::from_secs(15)).unwrap();
        assert!(status.success(), "a node that is asked to stop ends with {status}:\n{}", node.output());
    }
}

fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("it is a number");
    kib * 1024
}
