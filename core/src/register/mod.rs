//! The register protocol: per-key registers under per-partition terms (CASPaxos with ranged promises; no log).
//!
//! * [`replica`]: the rules of a replica that promises and accepts.
//! * [`leader`]: the one who orders a partition's writes: prepare, learn, decide, accept, complete.
//! * [`message`]: what it wants done, and what comes back.
//! * [`counted`]: what it found by counting, for whoever checks it.
//! * [`decide`]: what a request does to a record, as a pure function.
//! * [`read`]: a quorum read, which any replica may coordinate.
//! * [`digest`]: what a replica holds, so that a new leader knows whether it holds what a majority does.
//! * [`quorum`]: who counts as a majority, also while a partition moves.
//!
//! Terms, not clocks, keep all of it safe. Time appears only as "expired" and "tick" events.

pub mod counted;
pub mod decide;
pub mod digest;
pub mod leader;
pub mod message;
pub mod quorum;
pub mod read;
pub mod replica;
mod slot;

pub use counted::Counted;
pub use decide::{Answer, Attempt, Request};
pub use digest::Digest;
pub use leader::{Effect, Leader, Token};
pub use quorum::Quorum;
pub use read::{QuorumRead, ReadStep};
