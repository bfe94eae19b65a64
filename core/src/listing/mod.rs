//! Listing: one page of a bucket's keys in byte order, merged from what the replicas hold.
//!
//! No index knows all keys; every node knows the heads of the partitions it holds, in key order. [`ListMerge`] asks so
//! many nodes that of every partition a majority of replicas is among them, and judges each key by those copies. What
//! was acknowledged before the call is on a majority, so it shows in at least one copy of any majority: it cannot be
//! missed. Copies that do not settle a key (a write is under way, or a replica lags) make it *doubtful*: the caller then
//! reads that key through the register protocol.
//!
//! * [`Query`]: what is asked, checked; roll-up into common prefixes.
//! * [`ListMerge`]: the state machine: pages and failures in, [`Effect`]s out.

mod merge;
mod position;
mod query;
mod sources;

pub use merge::{Effect, Entry, ListMerge, Listing};
pub use query::{LIST_LIMIT_MAX, Query};
