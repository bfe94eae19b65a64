//! Whatever the registry does wrong: nodes serve on, those that lost their registration come back, no layout is lost,
//! goes back or changes, and nothing moves because of it.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod answers;
mod bed;
mod leases;
mod restored;
mod swarm;
mod watches;
