//! Step tests of the leader.
