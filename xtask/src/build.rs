//! Builds what the demo, the tests and the bench run.

use std::path::PathBuf;
use std::process::Command;

use crate::{page, workspace};

/// The npm package, the page and the node; the node's binary.
pub(crate) fn everything() -> Result<PathBuf, String> {
    page()?;
    node()
}

/// The npm package and the page.
pub(crate) fn page() -> Result<(), String> {
    page::build_page(workspace::repository())
}

/// The node in release; its binary. The page must be there before: the node holds it.
pub(crate) fn node() -> Result<PathBuf, String> {
    run(&mut workspace::cargo(["build", "--release", "--package", "node"]))?;
    Ok(workspace::target()?.join("release/node"))
}

/// Runs a command to its end. Errors name it and its status.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", describe(command))),
        Err(error) => Err(format!("cannot start {}: {error}", describe(command))),
    }
}

/// A command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
