//! The client port: HTTP/1.1 and HTTP/2, gRPC, grpc-web and plain HTTP together.
//!
//! [`ClientPort`] sorts requests by path and content type. gRPC goes straight to the services, grpc-web through
//! tonic-web, everything else to the plain HTTP side. Limits, errors and CORS are the same for all.

mod accept;
mod body;
mod conditional;
mod grpc;
mod listing;
mod object_path;
mod port;
mod probes;
mod range;
mod read;
mod reply;
mod route;
mod write;

pub use accept::serve_connections;
pub use body::{DRAIN_BYTES_MAX, MANY_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX};
pub use port::{ClientPort, StoreCheck};
