//! What every registry backend promises, run against the embedded one and a real etcd; and what only one of them has.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[macro_use]
mod suite;
mod embedded;
mod etcd;
mod etcd_process;
mod faulty;
