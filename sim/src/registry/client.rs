//! The node's side of the fake registry.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _, stream};
use node::env::{BoxIo, Net};
use node::registry::RegistryStore;
use node::registry::store::{Entry, LeaseId, Listing, Revision, StoreError, Swap, Watch};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::server::codec;
use super::wire::{Request, Response, millis};

/// A connection on which nothing was asked for that long is not used again: the host may have closed it.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(20);

type Frames = Framed<BoxIo, LengthDelimitedCodec>;

/// The fake registry as a node's backend. Each call is tried once. Connections are used again, one call at a time; a
/// call that is given up takes its connection with it.
#[derive(Clone)]
pub struct SimRegistry {
    net: Arc<dyn Net>,
    /// `host:port`.
    address: String,
    /// Connections that wait for the next call, and since when.
    idle: Arc<Mutex<Vec<(Frames, Instant)>>>,
}

impl fmt::Debug for SimRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRegistry").field("address", &self.address).finish_non_exhaustive()
    }
}

impl SimRegistry {
    /// Reached over `net` at `address` (`host:port`).
    pub fn new(net: Arc<dyn Net>, address: String) -> Self {
        Self { net, address, idle: Arc::default() }
    }

    /// A connection that was used before and seems to live, or a new one.
    async fn connection(&self) -> io::Result<Frames> {
        loop {
            let Some((mut frames, since)) = self.idle.lock().pop() else { break };
            // Nothing was asked on it: whatever there is to read is its end.
            if since.elapsed() < IDLE_MAX && frames.next().now_or_never().is_none() {
                return Ok(frames);
            }
        }
        Ok(Framed::new(self.net.connect(self.address.clone()).await?, codec()))
    }

    async fn open(&self, request: &Request) -> io::Result<Frames> {
        let mut frames = self.connection().await?;
        frames.send(Bytes::from(postcard::to_stdvec(request).map_err(io::Error::other)?)).await?;
        Ok(frames)
    }

    async fn call(&self, request: Request) -> Result<Response, StoreError> {
        let mut frames = self.open(&request).await.map_err(unreachable)?;
        let response = receive(&mut frames).await?;
        self.idle.lock().push((frames, Instant::now()));
        Ok(response)
    }
}

async fn receive(frames: &mut Frames) -> Result<Response, StoreError> {
    let frame = frames.next().await.ok_or(StoreError::Unreachable("the connection ended".to_owned()))?;
    postcard::from_bytes(&frame.map_err(unreachable)?)
        .map_err(|error| StoreError::Unreachable(error.to_string()))
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err calls it")]
fn unreachable(error: io::Error) -> StoreError {
    StoreError::Unreachable(error.to_string())
}

#[async_trait]
impl RegistryStore for SimRegistry {
    fn describe(&self) -> String {
        format!("the fake registry at {}", self.address)
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.call(Request::List { prefix: prefix.to_owned() }).await?.take(Response::listing)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let answer = self.call(Request::Get { key: key.to_owned() }).await?;
        answer.take(|answer| match answer {
            Response::Entry(entry) => Some(entry.map(Entry::from)),
            _ => None,
        })
    }

    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        let lease = lease.map(|lease| lease.0);
        let request = Request::Put { key: key.to_owned(), value: value.to_owned(), lease };
        let answer = self.call(request).await?;
        answer.take(|answer| match answer {
            Response::Revision(revision) => Some(Revision(revision)),
            _ => None,
        })
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        let expected = expected.map(|revision| revision.0);
        let request = Request::Swap { key: key.to_owned(), expected, value: value.to_owned() };
        self.call(request).await?.take(Response::swap)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let request = Request::Watch { prefix: prefix.to_owned(), from: from.0 };
        let mut frames = self.open(&request).await.map_err(unreachable)?;
        // It says at once that it has begun, or why not.
        let first = receive(&mut frames).await?.take(Response::changes)?;
        let batches = stream::unfold(Some(frames), |frames| async move {
            let mut frames = frames?;
            match receive(&mut frames).await.and_then(|answer| answer.take(Response::changes)) {
                Ok(changes) => Some((Ok(changes), Some(frames))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(stream::iter([Ok(first)]).chain(batches)))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let answer = self.call(Request::Grant { ttl_ms: millis(ttl) }).await?;
        answer.take(|answer| match answer {
            Response::Lease(lease) => Some(LeaseId(lease)),
            _ => None,
        })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(Request::KeepAlive { lease: lease.0 }).await?.take(done)
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(Request::Revoke { lease: lease.0 }).await?.take(done)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as Response::take calls it")]
fn done(answer: Response) -> Option<()> {
    matches!(answer, Response::Done).then_some(())
}
