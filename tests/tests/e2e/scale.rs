//! How long, how often and how many: as every change runs it, or as the promises are worded.

use std::time::Duration;

/// Full scale. `cargo xtask test --full` sets it.
const FULL_VARIABLE: &str = "HOLDFAST_FULL";
/// Overrides the number of rounds alone.
const ROUNDS_VARIABLE: &str = "HOLDFAST_ROUNDS";

/// `promised` at full scale, else `short`.
pub(crate) fn choose<T>(short: T, promised: T) -> T {
    if std::env::var_os(FULL_VARIABLE).is_some_and(|value| value != "0") { promised } else { short }
}

/// The same in seconds.
pub(crate) fn seconds(short: u64, promised: u64) -> Duration {
    Duration::from_secs(choose(short, promised))
}

/// Rounds of a test that repeats itself.
pub(crate) fn rounds(short: u32, promised: u32) -> u32 {
    match std::env::var(ROUNDS_VARIABLE) {
        Ok(text) => text.parse().expect("HOLDFAST_ROUNDS is a number"),
        Err(_) => choose(short, promised),
    }
}
