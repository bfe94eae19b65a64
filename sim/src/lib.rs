//! The simulator: whole clusters of real nodes and real clients in one process, on a simulated network, clock, disk and
//! registry, broken on purpose. One seed decides everything; the same seed gives the same trace in another process.
//!
//! A test is a [`scenario!`]: it gets a [`World`], puts a cluster and clients into it, breaks things, and looks at
//! what the clients saw. `docs/simulation.md` tells what is simulated and how to run and replay a seed.
//!
//! * [`world`]: hosts, links, power: what a scenario does.
//! * [`isolate`]: each scenario in processes of its own, twice, whose traces must be equal.
//! * [`hooks`]: time and randomness of the operating system, as the seed says.
//! * [`net`], [`disk`], [`ambient`], [`registry`]: the world of a node, as parameters.
//! * [`cluster_node`], [`client`]: the real node and the real client in it.
//! * [`history`], [`checks`]: what clients saw, and whether it can be.
//! * [`workload`], [`faults`]: random operations and random faults.
//! * [`report`]: a run as a page that a person reads.

pub mod ambient;
pub mod checks;
pub mod cli;
pub mod client;
pub mod cluster_node;
pub mod disk;
pub mod farm;
pub mod faults;
pub mod fired;
pub mod history;
pub mod hooks;
mod host;
pub mod isolate;
mod net;
mod picture;
pub mod plan;
pub mod random;
pub mod registry;
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
pub use random::Random;
pub use world::{Job, Mode, World, WorldOptions};
