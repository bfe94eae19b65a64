//! The registry in etcd.
//!
//! One client at a time, to one member; when that member fails a call, the next one is asked. `etcd-client`'s own
//! balancer takes a hung member for a live one, and it does not take up broken watches: both are done here and in the
//! layer above. Why it is like this: `docs/decisions/etcd-client.md`.

mod answer;
mod config;
mod watcher;

use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, Compare, CompareOp, Error, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use futures_util::stream;
use holdfast_core::error::Invalid;
use std::sync::Arc;
use tokio::sync::Mutex;

pub use self::config::{EtcdConfig, EtcdTls, EtcdUser};

use self::answer::{entry, revision, store_error};
use self::watcher::Watcher;
use super::store::{Entry, LeaseId, Listing, RegistryStore, Revision, StoreError, Swap, Watch};

/// Above the largest listing: `NODES_MAX` registrations and a layout, all as long as they may be.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An etcd cluster. Cheap to clone.
#[derive(Clone)]
pub struct EtcdStore {
    config: Arc<EtcdConfig>,
    connection: Arc<Mutex<Connection>>,
}

/// The member that is asked now.
struct Connection {
    client: Option<Client>,
    /// Counts the members that were left; modulo their number it names the one in use.
    turn: usize,
}

impl EtcdStore {
    /// Checks the settings. Connects only when it is first asked something: etcd need not be there yet.
    pub fn new(config: EtcdConfig) -> Result<Self, Invalid> {
        config.check()?;
        let connection = Arc::new(Mutex::new(Connection { client: None, turn: 0 }));
        Ok(Self { config: Arc::new(config), connection })
    }

    /// Makes one call. If it fails the next one goes to the next member; this one is not repeated.
    async fn call<T>(&self, call: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T, StoreError> {
        let (client, turn) = self.client().await?;
        let answer = tokio::time::timeout(self.config.request_timeout, call(client)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => store_error(&error),
            Err(_) => self.too_long(),
        };
        if !matches!(error, StoreError::LeaseGone | StoreError::Compacted) {
            self.leave(turn).await;
        }
        Err(error)
    }

    async fn client(&self) -> Result<(Client, usize), StoreError> {
        let mut connection = self.connection.lock().await;
        if let Some(client) = &connection.client {
            return Ok((client.clone(), connection.turn));
        }
        let endpoint = &self.config.endpoints[connection.turn % self.config.endpoints.len()];
        // Without a user nothing is sent yet; with one the member must answer.
        let connect = Client::connect([endpoint], Some(self.config.options()));
        let error = match tokio::time::timeout(self.config.request_timeout, connect).await {
            Ok(Ok(client)) => {
                connection.client = Some(client.clone());
                return Ok((client, connection.turn));
            }
            Ok(Err(error)) => store_error(&error),
            Err(_) => self.too_long(),
        };
        connection.turn += 1;
        Err(error)
    }

    /// The member of this turn failed. Said by several callers at once it counts once.
    async fn leave(&self, turn: usize) {
        let mut connection = self.connection.lock().await;
        if connection.turn == turn {
            connection.turn += 1;
            connection.client = None;
        }
    }

    fn too_long(&self) -> StoreError {
        StoreError::Unreachable(format!("nothing within {} ms", self.config.request_timeout.as_millis()))
    }
}

#[async_trait]
impl RegistryStore for EtcdStore {
    fn describe(&self) -> String {
        format!("etcd at {}", self.config.endpoints.join(","))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let options = GetOptions::new().with_prefix();
        let answer = self
            .call(async |client| {
                let mut kv = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
                kv.get(prefix, Some(options)).await
            })
            .await?;
        let at = answer.header().map(|header| revision(header.revision()));
        let at = at.ok_or_else(|| StoreError::Unreachable("etcd named no revision".into()))?;
        Ok(Listing { revision: at, entries: answer.kvs().iter().map(entry).collect() })
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let answer = self.call(async |mut client| client.get(key, None).await).await?;
        Ok(answer.kvs().first().map(entry))
    }

    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        let options = lease.map(lease_number).transpose()?.map(|id| PutOptions::new().with_lease(id));
        let answer = self.call(async |mut client| client.put(key, value, options).await).await?;
        Ok(answer.header().map_or(Revision(0), |header| revision(header.revision())))
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        // etcd compares an absent key as revision 0.
        let expected = i64::try_from(expected.unwrap_or_default().0)
            .map_err(|_| StoreError::Refused("etcd has no such revision".into()))?;
        let swap = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
            .and_then([TxnOp::put(key, value, None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.call(async |mut client| client.txn(swap).await).await?;
        if answer.succeeded() {
            return Ok(Swap::Done(answer.header().map_or(Revision(0), |header| revision(header.revision()))));
        }
        match answer.op_responses().first() {
            Some(TxnOpResponse::Get(now)) => Ok(Swap::Conflict(now.kvs().first().map(entry))),
            _ => Err(StoreError::Unreachable("etcd did not say how the key stands".into())),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let from = i64::try_from(from.0).map_err(|_| StoreError::Compacted)?;
        let options = WatchOptions::new().with_prefix().with_start_revision(from).with_progress_notify();
        let turn = self.connection.lock().await.turn;
        let watch = self
            .call(async |client| {
                let mut watches = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
                watches.watch(prefix, Some(options)).await
            })
            .await?;
        let (requests, responses) = watch.split();
        let begin = Some((Watcher::new(requests, responses), self.clone()));
        let batches = stream::unfold(begin, move |state| async move {
            let (mut watcher, store) = state?;
            match watcher.next().await {
                Ok(changes) => Some((Ok(changes), Some((watcher, store)))),
                Err(error) => {
                    if error != StoreError::Compacted {
                        store.leave(turn).await;
                    }
                    Some((Err(error), None))
                }
            }
        });
        Ok(Box::pin(batches))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let answer = self.call(async |mut client| client.lease_grant(seconds, None).await).await?;
        match u64::try_from(answer.id()) {
            Ok(id) if id != 0 => Ok(LeaseId(id)),
            _ => Err(StoreError::Unreachable("etcd named no lease".into())),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let id = lease_number(lease)?;
        // One stream for each keepalive: it has no state that could go stale, and there are few.
        self.call(async |mut client| client.lease_keep_alive(id).await.map(|_| ())).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let id = lease_number(lease)?;
        match self.call(async |mut client| client.lease_revoke(id).await).await {
            Ok(_) | Err(StoreError::LeaseGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn lease_number(lease: LeaseId) -> Result<i64, StoreError> {
    i64::try_from(lease.0).map_err(|_| StoreError::LeaseGone)
}
