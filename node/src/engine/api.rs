//! What the services call. Names and limits are checked before; here begin routing and the register protocol.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_core::condition::Condition;
use holdfast_core::error::Error;
use holdfast_core::ids::{BucketName, NodeId, ObjectKey, ObjectName, OpId};
use holdfast_core::record::{Object, Record};
use holdfast_core::term::Version;
use tokio::time::Instant;

/// An object to be put, as it came from the client.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Checked media type, not empty.
    pub content_type: String,
    /// Checked.
    pub metadata: BTreeMap<String, String>,
    /// At most `BODY_BYTES_MAX`.
    pub body: Bytes,
    /// BLAKE3 of `body`, computed (and compared with the client's, if that sent one) by the service.
    pub hash: [u8; 32],
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The bucket.
    pub bucket: BucketName,
    /// Keys must start with it; may be empty.
    pub prefix: String,
    /// Rolls keys up; `None`: plain listing.
    pub delimiter: Option<String>,
    /// Exclusive start (a key or a common prefix that ended the page before).
    pub after: Option<String>,
    /// At most this many objects and prefixes.
    pub limit: usize,
}

/// What a listing found.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Objects in key order, heads only.
    pub objects: Vec<(ObjectKey, Version, Object)>,
    /// Common prefixes in order.
    pub prefixes: Vec<String>,
    /// Where the next page starts (exclusive), if there is one.
    pub next_after: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeAnswer {
    /// It took effect and wrote this version.
    Committed(Version),
    /// It never took effect and never will.
    Fenced,
    /// Forgotten.
    Unknown,
}

/// Carries out operations. Cheap to clone.
#[derive(Clone)]
pub struct Engine {}

#[allow(clippy::unused_async, unused_variables, clippy::unimplemented, reason = "being built")]
impl Engine {
    /// Writes an object. Retrying with the same `op` never applies twice. Answers the new record's head.
    pub async fn put(
        &self,
        name: ObjectName,
        op: OpId,
        condition: Condition,
        object: NewObject,
        deadline: Instant,
    ) -> Result<Record, Error> {
        unimplemented!()
    }

    /// Deletes. `false`: there was nothing to delete.
    pub async fn delete(
        &self,
        name: ObjectName,
        op: OpId,
        condition: Condition,
        deadline: Instant,
    ) -> Result<bool, Error> {
        unimplemented!()
    }

    /// The whole record (an object with its body), linearizable. `NotFound` for a tombstone.
    pub async fn get(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        unimplemented!()
    }

    /// As `get`, without the body.
    pub async fn head(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        unimplemented!()
    }

    /// One page of a listing.
    pub async fn list(&self, query: ListQuery, deadline: Instant) -> Result<ListPage, Error> {
        unimplemented!()
    }

    /// Settles what became of `op`.
    pub async fn outcome(
        &self,
        name: ObjectName,
        op: OpId,
        deadline: Instant,
    ) -> Result<OutcomeAnswer, Error> {
        unimplemented!()
    }

    /// The replicas of a name's partition, preferred leader first.
    pub fn replicas(&self, name: &ObjectName) -> Vec<NodeId> {
        unimplemented!()
    }

    /// What `Cluster.Topology` answers; `None` until there is a layout.
    pub fn topology(&self) -> Option<holdfast_proto::v1::TopologyResponse> {
        unimplemented!()
    }

    /// What `Cluster.Status` answers.
    pub fn status(&self) -> holdfast_proto::v1::StatusResponse {
        unimplemented!()
    }

    /// Whether this node can serve: it has a layout and its store works.
    pub fn ready(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
