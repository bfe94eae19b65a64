//! `cargo xtask bench`: builds the node and the bench in release, and runs the bench.

use clap::Args;

use crate::build;
use crate::workspace;

/// What `cargo xtask bench` takes: everything goes to the bench itself (`cargo xtask bench -- --help`).
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// The bench's own options, such as --quick or --commit-results docs/bench.json
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds and runs.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<(), String> {
    println!("Building the node and the bench in release ...");
    build::run(&mut workspace::cargo([
        "build",
        "--release",
        "--package",
        "node",
        "--package",
        "holdfast-bench",
    ]))?;
    let target = workspace::target()?;
    let mut bench = std::process::Command::new(target.join("release/holdfast-bench"));
    bench.arg("run").arg("--node-binary").arg(target.join("release/node"));
    bench.arg("--data").arg(target.join("bench"));
    build::run(bench.args(&arguments.options).current_dir(workspace::repository()))
}
