//! The promises that only real processes can keep: nodes that are killed, frozen and restarted, an etcd that goes
//! away, a browser that reads what the command line wrote. One file for each.
//!
//! `cargo xtask test e2e` runs them as every change must; `HOLDFAST_FULL=1` takes the durations, rounds and sizes of
//! the promises themselves. What they measure is printed, not asserted: the machine may be busy.

#![allow(clippy::unwrap_used, reason = "all of this program is tests: a scene that cannot go on ends")]

mod acknowledged_writes_survive_kill_of_all;
mod bad_input;
mod bad_start;
mod browser_and_cli;
mod chromium;
mod create_and_swap_races;
mod etcd_outage;
mod failure_report;
mod footprint;
mod kill_and_freeze;
mod load;
mod real_files;
mod scale;
mod scene;
