//! Which nodes hold which partition.

mod layout;

pub use layout::{Layout, Member, PartitionLayout};
