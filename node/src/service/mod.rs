//! The gRPC services: they check what comes from outside, call the engine, and put its answers on the wire.
//!
//! Routing, replication and retries are the engine's. Transport (HTTP/1.1, grpc-web, plain HTTP) is [`crate::http`]'s.

mod arrivals;
mod cluster;
mod deadline;
mod many;
mod objects;
mod operations;
mod page_token;
mod request;
mod status;

pub use cluster::ClusterService;
pub use deadline::{DEADLINE_DEFAULT, DEADLINE_MAX, deadline_of};
pub use many::{MANY_BODY_BYTES_MAX, MANY_CONCURRENT_MAX, MANY_ENTRIES_MAX};
pub use objects::ObjectsService;
pub use operations::Operations;
pub use page_token::{PAGE_TOKEN_BYTES_MAX, decode_page_token, encode_page_token};
pub use request::{Put, check_hash, list_query, object_info};
pub use status::{grpc_code, http_status, to_status};

pub(crate) use objects::Writer;
pub(crate) use objects::slice_body;
pub(crate) use request::{ByteSpan, body_too_large, new_object, object_of, op_id, span_of};
