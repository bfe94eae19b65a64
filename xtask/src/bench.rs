//! `cargo xtask bench`: builds the node and the bench in release, and runs the bench.

use clap::Args;

use crate::build;
use crate::workspace;

/// What `cargo xtask bench` takes: everything goes to the bench itself (`cargo xtask bench -- --help`).
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// Cargo's profile of the programs: `dist` is what is deployed
    #[arg(long, default_value = "release")]
    profile: String,
    /// The bench's own options, such as --quick or --commit-results docs/bench.json
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds and runs.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<(), String> {
    let profile = arguments.profile.as_str();
    println!("Building the node and the bench ({profile}) ...");
    build::run(&mut workspace::cargo([
        "build", "--profile", profile, "--package", "node", "--package", "holdfast-bench",
    ]))?;
    let target = workspace::target()?;
    let programs = target.join(profile);
    let mut bench = std::process::Command::new(programs.join("holdfast-bench"));
    bench.arg("run").arg("--node-binary").arg(programs.join("node")).args(["--profile", profile]);
    bench.arg("--data").arg(target.join("bench"));
    build::run(bench.args(&arguments.options).current_dir(workspace::repository()))
}
