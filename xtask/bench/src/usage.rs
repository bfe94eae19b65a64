//! What server processes use, as the kernel counts it.

use std::time::Duration;

/// CPU time of all `processes` so far, user and system. The kernel counts in ticks of about 10 ms.
#[cfg(target_os = "linux")]
pub(crate) fn cpu(processes: &[u32]) -> Duration {
    let ticks: u64 = processes.iter().filter_map(|&id| stat(id)).map(|stat| stat.utime + stat.stime).sum();
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// Resident bytes of one process: now, and at most so far.
#[cfg(target_os = "linux")]
pub(crate) fn resident(process: u32) -> Option<(u64, u64)> {
    let status = procfs::process::Process::new(i32::try_from(process).ok()?).ok()?.status().ok()?;
    // The kernel gives kibibytes.
    Some((status.vmrss? * 1024, status.vmhwm? * 1024))
}

#[cfg(target_os = "linux")]
fn stat(process: u32) -> Option<procfs::process::Stat> {
    procfs::process::Process::new(i32::try_from(process).ok()?).ok()?.stat().ok()
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu(_processes: &[u32]) -> Duration {
    Duration::ZERO
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident(_process: u32) -> Option<(u64, u64)> {
    None
}
