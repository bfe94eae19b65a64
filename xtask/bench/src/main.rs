//! Measures real nodes on this machine: closed loops over loopback, and in the same run the limits they are judged by
//! (a bare tonic echo, a bare append+fsync loop).
//!
//! `cargo xtask bench` builds the node and runs this. Rounds are interleaved, so that a machine that is slow for a
//! while is slow for all; medians are reported with the least and the greatest value.

mod bars;
mod disk;
mod echo;
mod load;
mod machine;
mod plan;
mod report;
mod run;
mod table;
mod target;
mod usage;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures Holdfast's nodes on this machine.
#[derive(Parser)]
#[command(name = "holdfast-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure everything
    Run(Box<run::RunArguments>),
    /// The bare tonic server that nodes are compared with
    #[command(hide = true)]
    Echo(echo::EchoArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Run(arguments) => run::run(&arguments),
        Task::Echo(arguments) => echo::serve(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What stops a bench: told to the person who runs it, never handled.
type Failure = Box<dyn std::error::Error + Send + Sync>;
