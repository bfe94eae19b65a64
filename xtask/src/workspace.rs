//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use holdfast_tests::place::repository;

/// A call of the cargo that runs this, in the repository.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(repository());
    command
}

/// The build folder, wherever cargo's configuration has put it.
pub(crate) fn target() -> Result<PathBuf, String> {
    let output = cargo(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("`cargo metadata` answered something else: {error}"))?;
    let folder = metadata["target_directory"].as_str().ok_or("`cargo metadata` names no target folder")?;
    Ok(Path::new(folder).to_owned())
}
