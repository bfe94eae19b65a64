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
//! * [`oracles`]: whether what nodes do can be, checked across all of them.
//! * [`reach`]: whether what can happen in the product's code has happened.
//! * [`relayout`]: layouts that may follow one another.
//! * [`workload`], [`faults`]: random operations and random faults.

pub mod ambient;
pub mod checks;
pub mod client;
pub mod cluster_node;
pub mod disk;
pub mod faults;
pub mod history;
pub mod hooks;
pub mod isolate;
pub mod net;
pub mod oracles;
pub mod random;
pub mod reach;
pub mod registry;
pub mod relayout;
pub mod trace;
pub mod workload;
pub mod world;

pub use client::SimClient;
pub use history::History;
pub use oracles::Oracles;
pub use random::Random;
pub use world::{Job, World, WorldOptions};
