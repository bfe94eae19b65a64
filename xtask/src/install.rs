//! What the tests need on the machine, and how it gets there.

use std::process::{Command, Stdio};

use holdfast_tests::place::{CHROMIUM_NAMES, on_path};

use crate::build::run;

/// A program, by the names it goes by, and Debian's package of it.
struct Need {
    programs: &'static [&'static str],
    package: &'static str,
}

const NEEDS: [Need; 2] = [
    Need { programs: &["etcd"], package: "etcd-server" },
    Need { programs: &CHROMIUM_NAMES, package: "chromium" },
];

/// The target of the browser client's core.
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Installs what is missing where it may (apt as root); else an error that says what to install.
pub(crate) fn for_tests() -> Result<(), String> {
    for_build()?;
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(|need| !need.programs.iter().any(|program| is_there(program)))
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_there("apt-get") {
        return Err(format!("missing: {}. On Debian and Ubuntu: {by_hand}", missing.join(", ")));
    }
    if !is_root() {
        return Err(format!("missing: {}. Install it: sudo {by_hand}", missing.join(", ")));
    }
    println!("installing {}", missing.join(", "));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command
    };
    run(apt().args(["update", "--quiet"]))?;
    run(apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(missing))
}

/// Rust's wasm target (rustup adds it) and Node.js (an error says what to do).
pub(crate) fn for_build() -> Result<(), String> {
    for program in ["node", "npm"] {
        if !is_there(program) {
            return Err(format!("{program} is missing: install Node.js 20 or newer, with npm"));
        }
    }
    if is_there("rustup") {
        let targets = Command::new("rustup")
            .args(["target", "list", "--installed"])
            .output()
            .map_err(|error| format!("cannot run rustup: {error}"))?;
        if !String::from_utf8_lossy(&targets.stdout).lines().any(|line| line == WASM_TARGET) {
            run(Command::new("rustup").args(["target", "add", WASM_TARGET]))?;
        }
    }
    Ok(())
}

/// Whether a program of that name is on the path.
pub(crate) fn is_there(program: &str) -> bool {
    on_path(program).is_some()
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
