//! Holdfast's node as a library: everything that the `node` binary does, with connector, listener, clock, randomness
//! and disk as parameters, so that the simulator runs the same code.

pub mod cli;
pub mod config;
pub mod engine;
pub mod env;
pub mod http;
pub mod launch;
pub mod logging;
pub mod metrics;
pub mod page;
pub mod peer;
pub mod pulse;
pub mod registry;
pub mod serve;
pub mod service;
pub mod store;
