//! Holdfast's wire messages, generated from `proto/`, and their conversions to core types.
//!
//! Only this crate and the edges know the wire types.

mod client_convert;
pub mod convert;

/// Package `holdfast.v1`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/holdfast.v1.rs"));
}

/// The encoded descriptor set of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
