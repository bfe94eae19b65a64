//! Real processes to test against: nodes, whole clusters of them, and etcd.
//!
//! The end-to-end tests (`tests/e2e`), the bench and `cargo xtask demo` all start their processes through here. Every
//! process is killed when its handle is dropped, listens on loopback only, and writes its output to a log file.
//! Nothing here speaks gRPC, so that `cargo xtask` builds quickly.

pub mod cluster;
pub mod etcd;
pub mod http;
pub mod node;
pub mod place;
pub mod ports;
pub mod process;
