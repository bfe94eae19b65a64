//! `cargo xtask test`: every check and test, in the order in which a mistake shows soonest.

use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};
use holdfast_tests::place::NODE_BINARY_VARIABLE;

use crate::build;
use crate::install;
use crate::steps::{Counts, Steps, run_tests};
use crate::workspace::{cargo, repository};

/// What `cargo xtask test` takes.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// Only these steps (each still needs what the steps before it have built)
    #[arg(value_enum)]
    steps: Vec<Name>,
    /// The end-to-end tests with the full durations and rounds of their promises (about half an hour)
    #[arg(long)]
    full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Name {
    Install,
    Format,
    Page,
    Clippy,
    Docs,
    Crates,
    Doctests,
    Typescript,
    Node,
    E2e,
    Deny,
}

const ALL: [Name; 11] = [
    Name::Install,
    Name::Format,
    Name::Page,
    Name::Clippy,
    Name::Docs,
    Name::Crates,
    Name::Doctests,
    Name::Typescript,
    Name::Node,
    Name::E2e,
    Name::Deny,
];

/// Runs the steps and sums up. A failed step does not stop the later ones, except those that need its result.
pub(crate) fn test(arguments: &TestArguments) -> Result<(), String> {
    let chosen = |name| arguments.steps.is_empty() || arguments.steps.contains(&name);
    let names: Vec<Name> = ALL.into_iter().filter(|&name| chosen(name)).collect();
    let mut steps = Steps::new(names.len());
    let mut broken: Option<&str> = None;
    for name in names {
        if let Some(cause) = broken.filter(|_| name == Name::E2e) {
            steps.skip(label(name), &format!("{cause} failed"));
            continue;
        }
        if name == Name::Deny && !install::is_there("cargo-deny") {
            steps.skip(label(name), "cargo-deny is not installed: cargo install --locked cargo-deny");
            continue;
        }
        let passed = steps.run(label(name), about(name), || work(name, arguments.full));
        if !passed && matches!(name, Name::Install | Name::Page | Name::Node) {
            broken = Some(label(name));
        }
    }
    steps.finish()
}

fn label(name: Name) -> &'static str {
    match name {
        Name::Install => "install",
        Name::Format => "format",
        Name::Page => "page",
        Name::Clippy => "clippy",
        Name::Docs => "docs",
        Name::Crates => "crates",
        Name::Doctests => "doctests",
        Name::Typescript => "typescript",
        Name::Node => "node",
        Name::E2e => "e2e",
        Name::Deny => "deny",
    }
}

fn about(name: Name) -> &'static str {
    match name {
        Name::Install => "what the tests need on this machine",
        Name::Format => "rustfmt",
        Name::Page => "the wasm core, the npm package and the page are built",
        Name::Clippy => "lints of all crates, warnings are errors",
        Name::Docs => "rustdoc, warnings are errors",
        Name::Crates => "tests of all crates, the simulator among them",
        Name::Doctests => "examples in the documentation",
        Name::Typescript => "types and tests of the npm package",
        Name::Node => "the node is built in release",
        Name::E2e => "real node processes, real etcd, real headless Chromium",
        Name::Deny => "licences, bans and sources of the dependencies",
    }
}

fn work(name: Name, full: bool) -> Result<Counts, String> {
    let package = repository().join("client-wasm/js");
    let npm = |script: &str| {
        let mut command = Command::new("npm");
        command.args(["run", "--silent", script]).current_dir(&package);
        command
    };
    let done = |result: Result<(), String>| result.map(|()| Counts::default());
    match name {
        Name::Install => done(install::for_tests()),
        Name::Format => done(build::run(&mut cargo(["fmt", "--all", "--check"]))),
        Name::Page => done(build::page()),
        Name::Clippy => done(clippy()),
        Name::Docs => {
            let mut docs = cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
            done(build::run(docs.env("RUSTDOCFLAGS", "-D warnings")))
        }
        Name::Crates => run_tests(&mut crate_tests(&["--workspace", "--exclude", "holdfast-tests"])),
        // There need not be any example: only a failure counts.
        Name::Doctests => done(build::run(&mut cargo(["test", "--quiet", "--workspace", "--doc"]))),
        Name::Typescript => {
            build::run(&mut npm("check"))?;
            run_tests(&mut npm("test"))
        }
        Name::Node => done(build::node().map(|binary| println!("{}", binary.display()))),
        Name::E2e => {
            let mut tests = crate_tests(&["--package", "holdfast-tests"]);
            if full {
                tests.env("HOLDFAST_FULL", "1");
            }
            run_tests(tests.env(NODE_BINARY_VARIABLE, node_binary()?))
        }
        // Not the advisories: they need the network, and a new one fails a commit that passed yesterday.
        Name::Deny => done(build::run(&mut cargo([
            "deny",
            "--workspace",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))),
    }
}

fn clippy() -> Result<(), String> {
    build::run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let wasm = [
        "clippy",
        "--package",
        "holdfast-wasm",
        "--target",
        "wasm32-unknown-unknown",
        "--",
        "-D",
        "warnings",
    ];
    build::run(&mut cargo(wasm))
}

/// cargo nextest where it is installed, else cargo test. The end-to-end tests measure gaps: one at a time.
fn crate_tests(packages: &[&str]) -> Command {
    let alone = packages.contains(&"--package");
    let mut command = if install::is_there("cargo-nextest") {
        let mut command = cargo(["nextest", "run", "--no-fail-fast"]);
        command.args(packages);
        if alone {
            // What the tests measured is printed too.
            command.args(["--test-threads", "1", "--success-output", "immediate"]);
        }
        command
    } else {
        let mut command = cargo(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
        command.args(packages);
        if alone {
            command.args(["--", "--test-threads", "1", "--nocapture"]);
        }
        command
    };
    command.env("RUST_BACKTRACE", "1");
    command
}

fn node_binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(NODE_BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let binary = crate::workspace::target()?.join("release/node");
    if binary.is_file() { Ok(binary) } else { Err("the node is not built: cargo xtask test node".to_owned()) }
}
