//! The simulator: whole clusters of real nodes and real clients in one process, on a simulated network, clock, disk and
//! registry, broken on purpose. One seed decides everything; the same seed gives the same trace in another process.
//!
//! An application's own test starts a cluster and breaks it like this:
//!
//! ```
//! use holdfast::Condition;
//! use sim::{World, WorldOptions, scenario};
//!
//! // In a test file: a test that runs in two processes and compares their traces.
//! scenario!(my_data_survives_a_power_loss, WorldOptions::default(), |world| {
//!     world.wait_whole();
//!     world.call("c0", |client| async move { client.put("answer", Condition::Always, 42).await.unwrap() });
//!     world.power_loss("n0");
//!     world.power_loss("n1");
//!     world.restart("n0");
//!     let found = world.call("c0", |client| async move { client.get("answer").await.unwrap() });
//!     assert!(found.is_some());
//!     world.restart("n1");
//! });
//! ```
//!
//! `docs/simulation.md` tells what is simulated, and how to explore, replay and shrink.
//!
//! * [`world`]: hosts, links, power: what a scenario does.
//! * [`plan`], [`faults`], [`workload`]: random runs, written out. [`run`](mod@run) carries one out.
//! * [`farm`], [`isolate`]: runs and scenarios in processes of their own.
//! * [`shrink`](mod@shrink), [`report`]: what is left of a failure, and its page.
//! * [`hooks`]: time and randomness of the operating system, as the seed says.
//! * [`real_world`]: it is out of bounds.
//! * [`history`], [`checks`]: what clients saw, and whether it can be.
//! * [`disk`], [`ambient`], [`registry`]: the world of a node, as parameters.
//! * [`oracles`]: whether what nodes do can be, checked across all of them.
//! * [`reach`]: whether what can happen in the product's code has happened.
//! * [`mutants`]: planted bugs, and whether all of this finds them.
//! * [`relayout`]: layouts that may follow one another.

pub mod ambient;
mod browser;
pub mod checks;
pub mod cli;
pub mod client;
pub mod cluster_node;
pub mod disk;
pub mod farm;
pub mod faults;
mod finale;
pub mod fired;
pub mod history;
pub mod hooks;
mod host;
pub mod isolate;
pub mod mutants;
mod net;
mod next_version;
pub mod oracles;
mod panics;
mod picture;
pub mod plan;
pub mod random;
pub mod reach;
pub mod real_world;
pub mod registry;
pub mod relayout;
pub mod report;
pub mod run;
pub mod shrink;
pub mod sum;
pub mod trace;
pub mod workload;
pub mod world;

pub use client::SimClient;
pub use history::History;
pub use net::LinkOptions;
pub use oracles::Oracles;
pub use random::Random;
pub use world::{Job, Mode, World, WorldOptions};
