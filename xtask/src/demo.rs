//! `cargo xtask demo`: a cluster on this machine, to look at and to break.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;
use holdfast_tests::etcd::Etcd;
use holdfast_tests::node::{Node, NodeOptions, Registry};
use holdfast_tests::ports;

use crate::{build, install, workspace};

/// Longest start that is waited for.
const READY_MAX: Duration = Duration::from_secs(30);
/// Longest graceful stop that is waited for; then a node is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long a node that was killed stays away: long enough to see that nothing is missed.
const RESTART_AFTER: Duration = Duration::from_secs(20);
/// How often the nodes are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// The first node's ports, where they are free.
const CLIENT_PORT: u16 = 7070;
const PEER_PORT: u16 = 7170;

/// What `cargo xtask demo` takes.
#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Use a real etcd, which is started too, instead of the embedded registry
    #[arg(long)]
    etcd: bool,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
}

/// Builds what is missing, starts the cluster, and keeps it until Ctrl-C.
pub(crate) fn demo(arguments: &DemoArguments) -> Result<(), String> {
    install::for_build()?;
    println!("Building the page and the node (the first time takes some minutes) ...");
    let binary = build::everything()?;
    let kind = if arguments.etcd { "etcd" } else { "embedded" };
    let folder = workspace::target()?.join("demo").join(format!("{kind}-{}", arguments.nodes));

    let (send, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        // Nobody listens any more only when the demo is ending anyway.
        let _ = send.send(());
    })
    .map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;

    let mut etcd = None;
    let registry = if arguments.etcd {
        let etcd = etcd.insert(Etcd::new(&folder.join("etcd")).own_group());
        etcd.start().map_err(|error| error.to_string())?;
        Registry::Etcd(etcd.url())
    } else {
        Registry::Embedded(folder.join("registry"))
    };
    let mut nodes = Vec::new();
    for number in 0..arguments.nodes {
        let node = Node::start(options(&binary, &folder, number, arguments.nodes, &registry))
            .map_err(|error| error.to_string())?;
        nodes.push(node);
    }
    for node in &mut nodes {
        node.wait_ready(READY_MAX).map_err(|error| error.to_string())?;
    }
    explain(&nodes, etcd.as_ref(), &folder);
    watch(&mut nodes, &interrupted);

    println!("\nStopping ...");
    for node in nodes.iter_mut().filter(|node| node.has_process()) {
        if let Err(error) = node.stop(STOP_MAX) {
            println!("{error}: killed");
        }
    }
    println!("The data is kept in {}", folder.display());
    Ok(())
}

fn options(binary: &Path, folder: &Path, number: u16, count: u16, registry: &Registry) -> NodeOptions {
    let name = format!("n{}", number + 1);
    let mut options = NodeOptions::new(binary, folder, &name, registry.clone());
    options.cluster = "demo".to_owned();
    options.client_port = free_or_other(CLIENT_PORT + number);
    options.peer_port = free_or_other(PEER_PORT + number);
    options.zone = format!("zone-{}", number + 1);
    options.replication = u8::try_from(count.min(3)).expect("at most 3");
    options.bootstrap_nodes = u32::from(count);
    options.own_group = true;
    options
}

fn free_or_other(port: u16) -> u16 {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() { port } else { ports::free() }
}

fn explain(nodes: &[Node], etcd: Option<&Etcd>, folder: &Path) {
    println!("\nHoldfast runs on this machine: {} nodes.", nodes.len());
    if let Some(etcd) = etcd {
        println!(
            "Registry: etcd at {} (look into it: etcdctl --endpoints {} get --prefix /holdfast/)",
            etcd.url(),
            etcd.url()
        );
    }
    println!("\n  Open {}/\n", nodes[0].url());
    println!("  node   process    clients                  log");
    for (index, node) in nodes.iter().enumerate() {
        let log = &node.options().log;
        println!("  n{:<5} {:<10} {:<24} {}", index + 1, node.id(), node.url(), log.display());
    }
    if let [_, second, third, ..] = nodes {
        println!("\nBreak it while you drop files on the page:");
        println!(
            "  kill -9 {:<8}           a node dies; it is started again after {} s",
            second.id(),
            RESTART_AFTER.as_secs()
        );
        println!("  kill -STOP {:<8}        a node hangs; kill -CONT {} wakes it", third.id(), third.id());
        println!("The page shows which nodes are up. Uploads, downloads and the list go on.");
    }
    println!("\nFrom a terminal:");
    println!("  curl -T README.md {}/o/demo/README.md", nodes[0].url());
    println!("  curl {}/o/demo/README.md", nodes[nodes.len() - 1].url());
    println!("\nCtrl-C stops everything; the data stays in {}", folder.display());
}

/// Keeps an eye on the nodes until Ctrl-C. One that was killed is started again after a while; one that ended by
/// itself is not: its output says why.
fn watch(nodes: &mut [Node], interrupted: &mpsc::Receiver<()>) {
    let mut dead: Vec<Option<Instant>> = vec![None; nodes.len()];
    loop {
        match interrupted.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        for (index, node) in nodes.iter_mut().enumerate() {
            let name = index + 1;
            if let Some(since) = dead[index] {
                if since.elapsed() >= RESTART_AFTER && !node.has_process() {
                    match node.restart() {
                        Ok(()) => println!("n{name} is started again, as process {}", node.id()),
                        Err(error) => println!("n{name} cannot be started again: {error}"),
                    }
                    dead[index] = None;
                }
            } else if let Some(status) = node.take_ended() {
                if status.code().is_none() {
                    println!(
                        "n{name} was killed ({status}); it is started again in {} s",
                        RESTART_AFTER.as_secs()
                    );
                    dead[index] = Some(Instant::now());
                } else {
                    println!("n{name} ended ({status}); see {}", node.options().log.display());
                }
            }
        }
    }
}
