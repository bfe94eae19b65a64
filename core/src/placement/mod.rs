//! Which nodes hold which partition.
//!
//! Planning goes in steps, each in its file: how many replicas every node should hold (`targets`), which ones
//! (`assign`), and who leads each partition (`leaders`). Only `targets` looks at capacity and zones, so whoever changes
//! a layout can compare its targets with what the nodes hold now and move no more than the difference.

mod assign;
mod layout;
mod leaders;
mod plan;
mod rendezvous;
mod targets;

pub use layout::{Layout, Member, PartitionLayout};
pub use plan::{PlanError, REPLICATION_MAX, first_layout};
