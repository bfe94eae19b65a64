//! The fake registry: a host of its own that behaves as etcd does, with revisions, leases, watches, compare-and-swap and
//! compaction. Nodes talk to it over the simulated network, so that cuts hit it too.
//!
//! [`SimRegistry`] implements the node's backend trait over a small protocol (`wire`); `server` answers it from
//! [`State`], which is on the registry's disk: a restart keeps it.

mod client;
mod server;
mod state;
mod wire;

pub use client::SimRegistry;
pub use server::serve;
pub use state::State;

/// The port that the registry listens on.
pub const PORT: u16 = 2379;
