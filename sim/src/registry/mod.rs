//! The fake registry: a host of its own that behaves as etcd does, with revisions, leases, watches, compare-and-swap and
//! compaction, and that can be made to misbehave as etcd does.
//!
//! Nodes talk to it over the simulated network, so that cuts hit it too. [`SimRegistry`] implements the node's backend
//! trait over a small protocol (`wire`); `server` answers it from [`State`]: the `facts` without a fault, and what a
//! [`RegistryFault`] makes of requests (`treatment`) and of watches (`watching`).

mod client;
mod facts;
mod faults;
mod server;
mod state;
mod treatment;
mod watching;
mod wire;

pub use client::SimRegistry;
pub use faults::RegistryFault;
pub use server::{Spawner, serve};
pub use state::State;

/// The port that the registry listens on.
pub const PORT: u16 = 2379;
