//! Where the programs under test and their data are.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a built `node` to use instead of the one beside the tests.
pub const NODE_BINARY_VARIABLE: &str = "HOLDFAST_NODE_BIN";

/// The `node` binary: the one that `HOLDFAST_NODE_BIN` names, else the one beside this program, which cargo is asked
/// to bring up to date. Errors say what to do.
pub fn node_binary() -> io::Result<PathBuf> {
    if let Some(path) = env::var_os(NODE_BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(io::Error::other(format!("{NODE_BINARY_VARIABLE} names no file: {}", path.display())))
        };
    }
    let profile = profile_folder()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "node", "--bin", "node"]).current_dir(repository());
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let target = profile.parent().ok_or_else(|| io::Error::other("the build folder has no parent"))?;
    if !cargo.arg("--target-dir").arg(target).status()?.success() {
        return Err(io::Error::other("cannot build the node: run `cargo build -p node` to see why"));
    }
    Ok(profile.join("node"))
}

/// A folder for the data of processes under test: in the build folder, so that it is on a real disk (a temporary
/// folder may be in memory, where fsync costs nothing).
pub fn scratch() -> io::Result<PathBuf> {
    let profile = profile_folder()?;
    let folder = profile.parent().unwrap_or(&profile).join("e2e");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The names that Chromium's packages give it.
pub const CHROMIUM_NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The installed Chromium. Errors say what to install.
pub fn chromium() -> io::Result<PathBuf> {
    CHROMIUM_NAMES.iter().find_map(|name| on_path(name)).ok_or_else(|| {
        io::Error::other("there is no Chromium: apt-get install --no-install-recommends chromium")
    })
}

/// Where a program of that name is found, as a shell would find it.
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the repository")
}

/// `target/debug` or `target/release`: tests run from `deps` below it, programs from it.
fn profile_folder() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent().ok_or_else(|| io::Error::other("this program has no folder"))?;
    let folder =
        if folder.file_name().is_some_and(|name| name == "deps") { folder.parent() } else { Some(folder) };
    folder.map(Path::to_owned).ok_or_else(|| io::Error::other("cannot tell the build folder"))
}
