//! The repository's commands: `cargo xtask demo`, `test`, `bench`, `build`.
//!
//! Each builds what it needs, says what it does, and names the command to repeat a step that failed.

mod bench;
mod build;
mod demo;
mod install;
mod page;
mod steps;
mod test;
mod wasm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Holdfast's commands for those who build it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is missing, start a cluster on this machine and print the page's address
    Demo(demo::DemoArguments),
    /// Run every check and test, also on a real etcd and in a real headless Chromium
    Test(test::TestArguments),
    /// Measure this machine's nodes, and the machine's own limits in the same run
    Bench(bench::BenchArguments),
    /// Build the npm package, the page and the node (release)
    Build,
    /// Build the npm package only
    Wasm,
    /// Build the npm package and the page
    Page,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Demo(arguments) => demo::demo(&arguments),
        Task::Test(arguments) => test::test(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Build => build::everything().map(|binary| println!("The node is {}", binary.display())),
        Task::Wasm => wasm::build_wasm(workspace::repository()),
        Task::Page => page::build_page(workspace::repository()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\n{message}");
            ExitCode::FAILURE
        }
    }
}
