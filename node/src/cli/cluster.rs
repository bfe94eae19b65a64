//! `node cluster status` and `node cluster wait`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use holdfast::{Client, ClientOptions, ClusterStatus, NodeStatus};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Connection;
use super::failure::Failure;
use super::output::{print, print_json};

/// Between looks while waiting: soon enough for a script, cheap enough for a node.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A node that takes longer to say how it does is asked again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Show the nodes and how the partitions are, as the answering node sees them.
#[derive(Args, Clone, Debug)]
pub struct ShowStatus {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Wait until enough nodes are there and every partition is whole.
#[derive(Args, Clone, Debug)]
pub struct Wait {
    /// Addresses of nodes, separated by commas
    #[arg(
        long,
        env = "HOLDFAST_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    endpoint: Vec<String>,
    /// Nodes that must be registered, reachable and in the layout
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    nodes: usize,
    /// How long to wait, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl ShowStatus {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let status = self.connection.client()?.cluster_status().await?;
        if self.json { print_json(&status_json(&status)) } else { print(status_text(&status).as_bytes()) }
    }
}

impl Wait {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let options = ClientOptions { timeout: LOOK_TIMEOUT, ..ClientOptions::new(&self.endpoint) };
        let client = Client::new(options)?;
        let deadline = Instant::now() + self.timeout;
        let mut missing = "no node answered".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, client.cluster_status()).await {
                Ok(Ok(status)) => match self.missing(&status) {
                    None => return Ok(()),
                    Some(what) => missing = what,
                },
                Ok(Err(error)) => missing = error.to_string(),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                let waited = humantime::format_duration(self.timeout);
                return Err(Failure::failed(format!("not ready after {waited}: {missing}")));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn missing(&self, status: &ClusterStatus) -> Option<String> {
        let ready =
            status.nodes.iter().filter(|node| node.registered && node.member && is_up(status, node)).count();
        let partitions = status.partitions;
        if ready < self.nodes {
            Some(format!("{ready} of {} nodes are there", self.nodes))
        } else if partitions.total == 0 || partitions.whole < partitions.total {
            Some(format!("{} of {} partitions are whole", partitions.whole, partitions.total))
        } else {
            None
        }
    }
}

/// The one that answers is up, whatever it says of itself.
fn is_up(status: &ClusterStatus, node: &NodeStatus) -> bool {
    node.reachable || node.node_id == status.node_id
}

fn status_text(status: &ClusterStatus) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NODE", "ADDRESS", "ZONE", "STATE", "REPLICA OF", "LEADS", "VERSION"]);
    for node in &status.nodes {
        let number = |count: u32| Cell::new(count).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(node.node_id),
            Cell::new(&node.client_url),
            Cell::new(&node.zone),
            Cell::new(state_text(status, node)),
            number(node.replica_of),
            number(node.leads),
            Cell::new(&node.software_version),
        ]);
    }
    let counts = status.partitions;
    let mut text = format!(
        "cluster {}, layout {}, registry {}\n{} partitions: {} whole, {} degraded, {} unavailable\n\
         under way on the node that answers: {} requests, {} repairs\n",
        status.cluster,
        status.layout_version,
        if status.registry_connected { "connected" } else { "not reached" },
        counts.total,
        counts.whole,
        counts.degraded,
        counts.unavailable,
        status.operations,
        status.repairs,
    );
    for line in table.lines() {
        writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
    }
    text
}

fn state_text(status: &ClusterStatus, node: &NodeStatus) -> &'static str {
    match (is_up(status, node), node.registered, node.member) {
        (true, true, true) => "up",
        (true, false, true) => "up, not registered",
        (true, _, false) => "up, not in the layout",
        (false, true, _) => "not reached",
        (false, false, _) => "down",
    }
}

fn status_json(status: &ClusterStatus) -> Value {
    let nodes = status.nodes.iter().map(|node| {
        json!({
            "node_id": node.node_id.to_string(),
            "client_url": node.client_url,
            "zone": node.zone,
            "up": is_up(status, node),
            "registered": node.registered,
            "reachable": node.reachable,
            "member": node.member,
            "software_version": node.software_version,
            "replica_of": node.replica_of,
            "leads": node.leads,
            "started_unix_ms": node.started_unix_ms,
            "capacity": node.capacity,
        })
    });
    let counts = status.partitions;
    json!({
        "cluster": status.cluster,
        "answered_by": status.node_id.to_string(),
        "software_version": status.software_version,
        "uptime_ms": status.uptime_ms,
        "layout_version": status.layout_version,
        "registry_connected": status.registry_connected,
        "nodes": nodes.collect::<Vec<_>>(),
        "partitions": {
            "total": counts.total,
            "whole": counts.whole,
            "degraded": counts.degraded,
            "unavailable": counts.unavailable,
        },
        "operations": status.operations,
        "repairs": status.repairs,
    })
}
