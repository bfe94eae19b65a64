//! The client port over real sockets, in front of a small in-memory engine: parsing, limits, errors, transports.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod bed;
mod garbage;
mod grpc;
mod grpc_web;
mod memory;
mod plain_http;
mod stop;
