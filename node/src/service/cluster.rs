//! The `Cluster` service: who the nodes are and how they do.

use holdfast_core::error::{Code, Error};
use holdfast_proto::v1;
use tonic::{Request, Response, Status};

use super::{Operations, to_status};

/// `Cluster`, on top of the engine. Cheap to clone.
#[derive(Clone)]
pub struct ClusterService<O> {
    operations: O,
}

impl<O: Operations> ClusterService<O> {
    /// Over `operations`.
    pub fn new(operations: O) -> Self {
        Self { operations }
    }
}

#[tonic::async_trait]
impl<O: Operations> v1::cluster_server::Cluster for ClusterService<O> {
    async fn topology(
        &self,
        _request: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        self.operations.topology().map(Response::new).ok_or_else(|| {
            to_status(&Error::new(
                Code::Unavailable,
                "this node has no layout yet: it waits for the registry, or for more nodes to make the first one",
            ))
        })
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.operations.status().await))
    }
}
