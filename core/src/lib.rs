//! Holdfast's decisions, and nothing else: no I/O, no clock, no randomness, no threads, no async.
//!
//! Whoever performs the effects (the node, the browser client, the simulator) drives these state machines: something
//! happened goes in (`on_*`), effects come out. That is what lets the simulator run the code that production runs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
pub mod condition;
pub mod error;
pub mod history;
pub mod ids;
pub mod listing;
pub mod placement;
pub mod record;
pub mod register;
pub mod sometimes;
pub mod term;
