//! The whole run: start the servers, go round all cells several times, sum up, write down.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use holdfast_tests::cluster::{Cluster, RegistryKind};
use holdfast_tests::ports;
use holdfast_tests::process::Process;

use crate::Failure;
use crate::disk::{self, Sync};
use crate::load::{self, Maker, Sample};
use crate::plan::{BODY_BYTES, Cell, Operation, Server, cells};
use crate::report::{CellResult, DiskResult, Footprint, Report, summarise};
use crate::target::Target;
use crate::{bars, machine, table, usage};

/// Longest wait for the echo server.
const ECHO_START_MAX: Duration = Duration::from_secs(5);
/// How long servers are watched without load.
const IDLE: Duration = Duration::from_secs(2);

/// What `holdfast-bench run` takes.
#[derive(Args)]
pub(crate) struct RunArguments {
    /// The node's binary, built in release
    #[arg(long)]
    node_binary: PathBuf,
    /// Cargo's profile that the programs were built with, for the record
    #[arg(long, default_value = "release")]
    profile: String,
    /// Folder for the servers' data, on the disk to be measured
    #[arg(long)]
    data: PathBuf,
    /// Two short rounds: about a minute
    #[arg(long)]
    quick: bool,
    /// Rounds over all cells [default: 5, with --quick 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds for each cell in each round [default: 2, with --quick 0.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these servers, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Server>,
    /// Only these loads: requests in flight, separated by commas [default: 1,16,64]
    #[arg(long, value_delimiter = ',')]
    in_flight: Vec<usize>,
    /// Only these bodies, in bytes, separated by commas [default: 1024,65536]
    #[arg(long, value_delimiter = ',')]
    bodies: Vec<usize>,
    /// Only these requests, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    operations: Vec<Operation>,
    /// HTTP/2 connections to each node
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Write the results here too (docs/bench.json), and the README's figures
    #[arg(long)]
    commit_results: Option<PathBuf>,
}

/// Runs everything and writes the results.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.connections == 0 || arguments.threads == 0 || arguments.rounds == Some(0) {
        return Err("--connections, --threads and --rounds are at least 1".into());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
    let report = runtime.block_on(measure_all(arguments))?;
    println!("\n{}", table::terminal(&report));
    let json = serde_json::to_string_pretty(&report)? + "\n";
    let path = PathBuf::from(format!("bench-results/{}.json", report.unix_s));
    write(&path, &json)?;
    println!("Written to {}", path.display());
    if let Some(path) = &arguments.commit_results {
        write(path, &json)?;
        let readme = std::fs::read_to_string("README.md")?;
        std::fs::write("README.md", table::with_figures(&readme, &report)?)?;
        println!("Written to {} and README.md", path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(path, text)?)
}

/// The processes under test. They end when this is dropped.
struct Servers {
    targets: BTreeMap<Server, Arc<Target>>,
    footprints: Vec<Footprint>,
    _clusters: Vec<Cluster>,
    _echo: Option<Process>,
}

async fn measure_all(arguments: &RunArguments) -> Result<Report, Failure> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 5 });
    let seconds = arguments.seconds.unwrap_or(if arguments.quick { 0.5 } else { 2.0 });
    let time = Duration::try_from_secs_f64(seconds)?;
    let warm_up = time.mul_f64(0.25);
    let mut servers = start(arguments).await?;
    let maker = Arc::new(Maker::new(&BODY_BYTES));
    println!("Putting the objects that are read ...");
    for (_, target) in servers.targets.iter().filter(|&(&server, _)| server != Server::Echo) {
        for size in BODY_BYTES {
            load::fill(target, &maker, size).await?;
        }
    }
    let wanted = |cell: &Cell| {
        servers.targets.contains_key(&cell.server)
            && (arguments.in_flight.is_empty() || arguments.in_flight.contains(&cell.in_flight))
            && (arguments.bodies.is_empty() || arguments.bodies.contains(&cell.body_bytes))
            && (arguments.operations.is_empty() || arguments.operations.contains(&cell.operation))
    };
    let cells: Vec<Cell> = cells().into_iter().filter(wanted).collect();
    if cells.is_empty() {
        return Err(
            "nothing is left to be measured: choose among 1,16,64 in flight and 1024,65536 bytes".into()
        );
    }
    let mut samples: BTreeMap<Cell, Vec<Sample>> = BTreeMap::new();
    let mut of_disk: BTreeMap<Sync, Vec<Sample>> = BTreeMap::new();
    for round in 1..=rounds {
        let started = Instant::now();
        for sync in [Sync::Fsync, Sync::Fdatasync] {
            let folder = arguments.data.clone();
            let sample = tokio::task::spawn_blocking(move || disk::measure(&folder, sync, time)).await??;
            of_disk.entry(sync).or_default().push(sample);
        }
        for &cell in &cells {
            let target = &servers.targets[&cell.server];
            load::measure(target, &maker, cell, warm_up).await?;
            samples.entry(cell).or_default().push(load::measure(target, &maker, cell, time).await?);
        }
        println!("round {round} of {rounds}: {:.0} s", started.elapsed().as_secs_f64());
    }
    for footprint in &mut servers.footprints {
        footprint.peak_bytes = largest(&servers.targets[&footprint.server].processes, |(_, peak)| peak);
    }
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let of_cells = |cell: Cell| CellResult { cell, summary: summarise(&samples[&cell]) };
    let mut report = Report {
        command: format!(
            "cargo xtask bench --profile {} -- --rounds {rounds} --seconds {seconds}",
            arguments.profile
        ),
        unix_s,
        machine: machine::look(),
        rounds,
        seconds_per_cell: seconds,
        connections_per_node: arguments.connections,
        load_threads: arguments.threads,
        cells: cells.into_iter().map(of_cells).collect(),
        disk: of_disk.iter().map(|(&sync, all)| DiskResult { sync, summary: summarise(all) }).collect(),
        footprints: servers.footprints.clone(),
        bars: Vec::new(),
    };
    report.bars = bars::judge(&report);
    Ok(report)
}

async fn start(arguments: &RunArguments) -> Result<Servers, Failure> {
    println!("Starting the servers ...");
    std::fs::create_dir_all(&arguments.data)?;
    let wanted = |server| arguments.servers.is_empty() || arguments.servers.contains(&server);
    let mut targets = BTreeMap::new();
    let mut footprints = Vec::new();
    let mut clusters = Vec::new();
    let kinds = [(Server::OneNode, 1), (Server::ThreeNodes, 3)];
    for (server, count) in kinds.into_iter().filter(|&(server, _)| wanted(server)) {
        let started = Instant::now();
        let (binary, data) = (&arguments.node_binary, &arguments.data);
        // Nodes that share a machine share its processors, as an operator would have them do.
        let processors = u32::try_from(std::thread::available_parallelism()?.get())?;
        let threads = processors.div_ceil(count).to_string();
        let flags = ["--worker-threads", threads.as_str()];
        let cluster = Cluster::start_in(binary, data, count, RegistryKind::Embedded, &flags)?;
        let start_ms = started.elapsed().as_secs_f64() * 1000.0;
        let processes: Vec<u32> = cluster.nodes.iter().map(holdfast_tests::node::Node::id).collect();
        let before = usage::cpu(&processes);
        tokio::time::sleep(IDLE).await;
        let idle_cpu = usage::cpu(&processes).saturating_sub(before);
        footprints.push(Footprint {
            server,
            start_ms,
            idle_bytes: largest(&processes, |(now, _)| now),
            peak_bytes: 0,
            idle_cpu_ms: idle_cpu.as_secs_f64() * 1000.0 / IDLE.as_secs_f64(),
        });
        let target = Target::connect(&cluster.urls(), processes, arguments.connections, true).await?;
        targets.insert(server, Arc::new(target));
        clusters.push(cluster);
    }
    let mut echo = None;
    if wanted(Server::Echo) {
        let (process, url) = start_echo(&arguments.data)?;
        let target = Target::connect(&[url], vec![process.id()], arguments.connections, false).await?;
        targets.insert(Server::Echo, Arc::new(target));
        echo = Some(process);
    }
    Ok(Servers { targets, footprints, _clusters: clusters, _echo: echo })
}

fn start_echo(data: &Path) -> Result<(Process, String), Failure> {
    let address = format!("127.0.0.1:{}", ports::free());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["echo", "--listen", &address]);
    let echo = Process::start("the echo server", &mut command, &data.join("echo.log"))?;
    let started = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if started.elapsed() > ECHO_START_MAX {
            return Err(format!("the echo server does not listen:\n{}", echo.output()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((echo, format!("http://{address}")))
}

fn largest(processes: &[u32], which: fn((u64, u64)) -> u64) -> u64 {
    processes.iter().filter_map(|&id| usage::resident(id)).map(which).max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn empty_report() -> Report {
        Report {
            command: String::new(),
            unix_s: 0,
            machine: machine::look(),
            rounds: 1,
            seconds_per_cell: 1.0,
            connections_per_node: 1,
            load_threads: 1,
            cells: Vec::new(),
            disk: Vec::new(),
            footprints: Vec::new(),
            bars: Vec::new(),
        }
    }
}
