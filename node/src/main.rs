//! The `node` binary: runs a node, and speaks to running ones.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Serve(input) => Settings::resolve(*input)
            .map_err(|error| error.to_string())
            .and_then(|settings| run_node(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("node: {message}");
            ExitCode::FAILURE
        }
    }
}
