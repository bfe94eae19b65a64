//! What the figures were measured on.

use std::process::Command;

use serde::Serialize;

/// The machine and the state of the sources.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor, as the kernel names it.
    pub(crate) processor: String,
    /// Processors this process may use.
    pub(crate) processors: usize,
    /// The kernel's version.
    pub(crate) kernel: String,
    /// The commit that was measured; `+` when files were changed since.
    pub(crate) commit: String,
}

/// Looks around. What cannot be told is "unknown".
pub(crate) fn look() -> Machine {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|text| !text.is_empty());
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    Machine {
        processor: model.map_or_else(unknown, |(_, name)| name.trim().to_owned()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: output("uname", &["-sr"]).unwrap_or_else(unknown),
        commit: if changed { format!("{commit}+") } else { commit },
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
