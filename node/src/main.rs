//! The `node` binary: runs a node, and speaks to running ones.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use node::cli::ClientCommand;
use node::config::{Settings, SettingsInput};
use node::launch::run_node;

/// Exit code for settings that cannot be used, as clap's for flags that it does not know.
const WRONG_SETTINGS: u8 = 2;

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
    Client(Box<ClientCommand>),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(input) => serve(*input),
        Command::Client(command) => speak(*command),
    }
}

fn serve(input: SettingsInput) -> ExitCode {
    let settings = match Settings::resolve(input) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    match run_node(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn speak(command: ClientCommand) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(node::cli::run(command)),
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
