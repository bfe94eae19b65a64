//! The `node` binary: runs a node, and speaks to running ones.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use node::cli::{self, ClientCommand};
use node::config::{Settings, SettingsInput};
use node::launch::run_node;

/// Holdfast: a distributed object store that browsers talk to directly.
#[derive(Parser)]
#[command(name = "node", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node: `node serve` alone, with nothing else, is a store for one machine
    Serve(Box<SettingsInput>),
    #[command(flatten)]
    Client(ClientCommand),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Serve(input) => Settings::resolve(*input)
            .map_err(|error| error.to_string())
            .and_then(|settings| run_node(&settings)),
        Command::Client(command) => return run_client(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("node: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_client(command: ClientCommand) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(command)),
        Err(error) => {
            eprintln!("node: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
