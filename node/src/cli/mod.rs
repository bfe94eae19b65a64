//! The client commands of the `node` binary: `put`, `get`, `ls`, `rm`, `stat`, `outcome`, `cluster`.
//!
//! An edge of its own: it runs against the real world only (files, standard streams), never in the simulator, and
//! knows nothing of the node's inside. All it does goes through the `holdfast` client.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use holdfast::{Client, ClientOptions};

mod cluster;
mod failure;
mod get;
mod ls;
mod outcome;
mod output;
mod put;
mod rm;
mod stat;
mod target;

use failure::Failure;

/// Shown below each command's help.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed (and did not happen)
  2  wrong usage, or a request that breaks a rule
  3  no such object
  4  the condition does not hold
  5  outcome unknown: it may or may not have happened; the op id and what to run are printed";

/// What a client can do with a cluster.
#[derive(Subcommand, Clone, Debug)]
pub enum ClientCommand {
    /// Store a file as an object
    #[command(after_help = EXIT_CODES)]
    Put(put::Put),
    /// Fetch an object into a file, or to standard output
    #[command(after_help = EXIT_CODES)]
    Get(get::Get),
    /// List a bucket
    #[command(after_help = EXIT_CODES)]
    Ls(ls::Ls),
    /// Delete an object
    #[command(after_help = EXIT_CODES)]
    Rm(rm::Rm),
    /// Show what is known of an object
    #[command(after_help = EXIT_CODES)]
    Stat(stat::Stat),
    /// Settle what became of a put or rm whose outcome is unknown
    #[command(after_help = EXIT_CODES)]
    Outcome(outcome::Settle),
    /// How the cluster does
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

/// What can be asked of the cluster as a whole.
#[derive(Subcommand, Clone, Debug)]
pub enum ClusterCommand {
    /// Show the nodes and how the partitions are
    #[command(after_help = EXIT_CODES)]
    Status(cluster::ShowStatus),
    /// Wait until the nodes are there and every partition is whole
    #[command(after_help = EXIT_CODES)]
    Wait(cluster::Wait),
}

/// Which cluster, and how long.
#[derive(Args, Clone, Debug)]
struct Connection {
    /// Addresses of nodes, separated by commas. One is enough; more help while that one is down
    #[arg(
        long,
        env = "HOLDFAST_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    endpoint: Vec<String>,
    /// How long it may take, such as 10s or 500ms
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Connection {
    fn client(&self) -> Result<Client, Failure> {
        let options = ClientOptions { timeout: self.timeout, ..ClientOptions::new(&self.endpoint) };
        Ok(Client::new(options)?)
    }

    /// As options for another command, for messages that say what to run.
    fn as_flags(&self) -> String {
        format!("--endpoint {}", output::quoted(&self.endpoint.join(",")))
    }
}

/// Carries a command out. What goes wrong is printed on standard error, and told by the exit code.
pub async fn run(command: ClientCommand) -> ExitCode {
    let done = match &command {
        ClientCommand::Put(put) => put.run().await,
        ClientCommand::Get(get) => get.run().await,
        ClientCommand::Ls(ls) => ls.run().await,
        ClientCommand::Rm(rm) => rm.run().await,
        ClientCommand::Stat(stat) => stat.run().await,
        ClientCommand::Outcome(settle) => settle.run().await,
        ClientCommand::Cluster(ClusterCommand::Status(status)) => status.run().await,
        ClientCommand::Cluster(ClusterCommand::Wait(wait)) => wait.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}
