//! The real world is out of bounds for a simulation: a thread, the machine's clock, its randomness, its files and its
//! network. What [`crate::hooks`] cannot answer, because it goes past the C library, ends the run.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use crate::hooks;

/// What a run that asked for one of these has done, for its verdict.
pub(crate) const ASKED: &str =
    "it used a thread, or asked the machine for its clock, randomness, a file or a socket";

/// From here on this thread may not ask the machine for anything of which the seed knows nothing: the kernel ends the
/// process with SIGSYS. Where the kernel knows no filters, the comparison of traces is what is left.
pub fn forbid() {
    // The C library opens files for purposes of its own, such as how much memory there is: only its callers may not.
    hooks::forbid_files();
    let architecture = std::env::consts::ARCH;
    let Ok(target) = TargetArch::try_from(architecture) else { return };
    let rules: BTreeMap<i64, Vec<_>> = forbidden().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, target);
    let program: BpfProgram =
        filter.and_then(TryInto::try_into).expect("a list of system calls makes a filter");
    // A kernel without filters, or inside one that forbids them.
    let _ = apply_filter(&program);
}

fn forbidden() -> impl Iterator<Item = i64> {
    let everywhere = [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_execve,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_timerfd_create,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_accept4,
    ];
    #[cfg(target_arch = "x86_64")]
    let more = [libc::SYS_fork, libc::SYS_vfork, libc::SYS_time];
    #[cfg(not(target_arch = "x86_64"))]
    let more = [];
    everywhere.into_iter().chain(more)
}
