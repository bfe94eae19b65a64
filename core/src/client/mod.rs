//! The client's decisions: where an operation goes, when it is sent again, and what its end means.
//!
//! The Rust client, the browser client and the simulator all drive this; none of them decides anything of its own.
//! It never sees a payload: the edge encodes, sends, hashes and keeps the answers, this says which to do and which
//! answer counts.
//!
//! How to drive it:
//!
//! 1. Make one [`Router`] per client from the addresses the user gave. Keep it as long as the client.
//! 2. Before an operation ask [`Router::refresh_due`]. If it names a node, ask that node for the topology beside
//!    the operation and report with [`Router::on_topology`] or [`Router::on_refresh_failed`].
//! 3. [`Operation::begin`], then perform all effects in order. [`Effect::Send`]: send to [`Router::url`] of the slot
//!    the request, with `retry` as given, and report its end once with [`Operation::on_answer`]. [`Effect::WakeAt`]:
//!    call [`Operation::on_time`] then; a newer one replaces it. Perform all effects of one event before the next.
//! 4. [`Effect::Done`] is the last effect: abort what is still under way.
//!
//! Times are milliseconds of any clock that never goes back. Randomness comes as a parameter.

mod effect;
mod latency;
mod op_clock;
mod operation;
mod policy;
mod router;
mod topology;

#[cfg(test)]
mod operation_properties;
#[cfg(test)]
mod operation_steps;

pub use effect::{Answer, Effect, Ending, Failure, Kind, Spec};
pub use op_clock::OpClock;
pub use operation::Operation;
pub use policy::Policy;
pub use router::{Router, Slot};
pub use topology::{NODES_MAX, REPLICATION_MAX, Topology, TopologyNode, URL_BYTES_MAX};
