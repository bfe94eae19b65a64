//! Holdfast's node as a library: everything that the `node` binary does, with connector, listener, clock, randomness
//! and disk as parameters, so that the simulator runs the same code.

pub mod engine;
pub mod env;
pub mod peer;
pub mod registry;
pub mod store;
