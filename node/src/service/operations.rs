//! What the services need of the engine, as a trait: the tests put a small in-memory implementation behind the same
//! services, so that parsing, limits and transport are tested without a cluster.

use std::future::Future;

use holdfast_core::error::Error;
use holdfast_core::ids::{NodeId, ObjectName, OpId};
use holdfast_core::listing::{Listing, Query};
use holdfast_core::record::Record;
use holdfast_proto::v1;
use tokio::time::Instant;

use crate::engine::{Deleted, Engine, Mutation, NewObject, OutcomeAnswer};

/// The engine's operations. See [`Engine`] for what each does.
pub trait Operations: Clone + Send + Sync + 'static {
    /// See [`Engine::put`].
    fn put(
        &self,
        name: ObjectName,
        mutation: Mutation,
        object: NewObject,
        deadline: Instant,
    ) -> impl Future<Output = Result<Record, Error>> + Send;

    /// See [`Engine::delete`].
    fn delete(
        &self,
        name: ObjectName,
        mutation: Mutation,
        deadline: Instant,
    ) -> impl Future<Output = Result<Deleted, Error>> + Send;

    /// See [`Engine::get`].
    fn get(&self, name: ObjectName, deadline: Instant) -> impl Future<Output = Result<Record, Error>> + Send;

    /// See [`Engine::head`].
    fn head(&self, name: ObjectName, deadline: Instant)
    -> impl Future<Output = Result<Record, Error>> + Send;

    /// See [`Engine::list`].
    fn list(&self, query: Query, deadline: Instant) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// See [`Engine::outcome`].
    fn outcome(
        &self,
        name: ObjectName,
        op: OpId,
        deadline: Instant,
    ) -> impl Future<Output = Result<OutcomeAnswer, Error>> + Send;

    /// See [`Engine::replicas`].
    fn replicas(&self, name: &ObjectName) -> Vec<NodeId>;

    /// See [`Engine::topology`].
    fn topology(&self) -> Option<v1::TopologyResponse>;

    /// See [`Engine::status`].
    fn status(&self) -> impl Future<Output = v1::StatusResponse> + Send;

    /// See [`Engine::ready`].
    fn ready(&self) -> Result<(), Error>;

    /// This process's number, as the topology tells it.
    fn life(&self) -> u64;
}

impl Operations for Engine {
    async fn put(
        &self,
        name: ObjectName,
        mutation: Mutation,
        object: NewObject,
        deadline: Instant,
    ) -> Result<Record, Error> {
        Self::put(self, name, mutation, object, deadline).await
    }

    async fn delete(
        &self,
        name: ObjectName,
        mutation: Mutation,
        deadline: Instant,
    ) -> Result<Deleted, Error> {
        Self::delete(self, name, mutation, deadline).await
    }

    async fn get(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        Self::get(self, name, deadline).await
    }

    async fn head(&self, name: ObjectName, deadline: Instant) -> Result<Record, Error> {
        Self::head(self, name, deadline).await
    }

    async fn list(&self, query: Query, deadline: Instant) -> Result<Listing, Error> {
        Self::list(self, query, deadline).await
    }

    async fn outcome(&self, name: ObjectName, op: OpId, deadline: Instant) -> Result<OutcomeAnswer, Error> {
        Self::outcome(self, name, op, deadline).await
    }

    fn replicas(&self, name: &ObjectName) -> Vec<NodeId> {
        Self::replicas(self, name)
    }

    fn topology(&self) -> Option<v1::TopologyResponse> {
        Self::topology(self)
    }

    async fn status(&self) -> v1::StatusResponse {
        Self::status(self).await
    }

    fn ready(&self) -> Result<(), Error> {
        Self::ready(self)
    }

    fn life(&self) -> u64 {
        self.identity().life
    }
}
