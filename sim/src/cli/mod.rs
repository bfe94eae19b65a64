//! The command line.

mod explore;
mod mutants;
mod replay;
mod speed;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::farm::Farm;

/// Whole clusters in one process, broken on purpose. One seed decides everything.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds, each in a process of its own, and keep the plans of those that fail.
    Explore(explore::Explore),
    /// Run a plan file again, and make a page of what happened.
    Replay(replay::Replay),
    /// Write the plan of a seed.
    Plan(replay::WritePlan),
    /// Take from a failing plan what it does not need to fail.
    Shrink(replay::ShrinkPlan),
    /// Plant known mistakes into a copy of the product, and see whether they are found.
    Mutants(mutants::Mutants),
    /// Measure how much simulated time passes in a second of the processor's.
    Speed(speed::Speed),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Explore(explore) => explore.run(),
        Command::Replay(replay) => replay.run(),
        Command::Plan(plan) => plan.run(),
        Command::Shrink(shrink) => shrink.run(),
        Command::Mutants(mutants) => mutants.run(),
        Command::Speed(speed) => speed.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// What a command ends with: whether all was well; an error if it could not be done.
type Done = Result<bool, Box<dyn std::error::Error>>;

fn farm(workers: Option<usize>) -> Result<Farm, Box<dyn std::error::Error>> {
    let program: PathBuf = std::env::current_exe()?;
    let mut farm = Farm::new(&program);
    if let Some(workers) = workers {
        farm.workers = workers.clamp(1, 256);
    }
    Ok(farm)
}
