//! The `sim` program: explores seeds, replays and shrinks plans, kills mutants, measures its own speed.

use std::process::ExitCode;

use sim::{cli, farm};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(farm::WORKER) {
        return match farm::work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("a worker fails: {error}");
                ExitCode::FAILURE
            }
        };
    }
    cli::main()
}
