//! The client port over real sockets, in front of a small in-memory engine: parsing, limits, errors, transports.

mod bed;
mod garbage;
mod grpc;
mod grpc_web;
mod memory;
mod plain_http;
mod stop;
