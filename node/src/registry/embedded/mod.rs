//! The registry without etcd: one machine, several node processes, one shared folder.
//!
//! One JSON file, replaced as a whole under an advisory lock, so that a process may be killed at any moment. Watching
//! is polling the file's identity; leases run out by the machine's clock, which is liveness only. Never put the folder
//! on a network file system. Why it is like this: `docs/decisions/embedded-registry.md`.

mod folder;
mod state;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use self::folder::{FILE_BYTES_MAX, Folder, Identity};
use self::state::State;
use super::store::{
    Change, Entry, LeaseId, Listing, RegistryStore, Revision, StoreError, Swap, WATCH_HEARTBEAT, Watch,
};
use crate::env::Ambient;

/// How often a watch looks at the file.
const POLL: Duration = Duration::from_millis(100);

/// A registry in a folder that several processes of one machine share. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedStore {
    folder: Folder,
    ambient: Arc<dyn Ambient>,
}

impl EmbeddedStore {
    /// Opens the folder, making it if it is not there. Blocks shortly.
    pub fn open(path: &Path, ambient: Arc<dyn Ambient>) -> io::Result<Self> {
        Ok(Self { folder: Folder::open(path)?, ambient })
    }

    fn load(&self) -> Result<State, StoreError> {
        self.folder
            .read()
            .map_err(|error| unreachable(&error))
            .and_then(|bytes| self.decode(bytes.as_deref()))
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<State, StoreError> {
        match bytes {
            None => Ok(State::default()),
            Some(bytes) if bytes.len() > FILE_BYTES_MAX => {
                Err(self.damaged(&format!("it is longer than {FILE_BYTES_MAX} bytes")))
            }
            Some(bytes) => State::decode(bytes).map_err(|why| self.damaged(&why)),
        }
    }

    fn damaged(&self, why: &str) -> StoreError {
        StoreError::Refused(format!(
            "the registry file {} is damaged ({why}): put a good copy in its place",
            self.folder.file().display()
        ))
    }

    /// Reads what is there now. Leases that ran out are ended first.
    fn look(&self) -> Result<State, StoreError> {
        let state = self.load()?;
        if state.next_expiry().is_none_or(|expiry| expiry > self.ambient.unix_ms()) {
            return Ok(state);
        }
        self.update(|_, _| Ok(()))?;
        self.load()
    }

    /// Changes the file, alone. A change that errors leaves it as it was, but for the leases that ran out.
    fn update<T>(
        &self,
        change: impl FnOnce(&mut State, u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let held = self.folder.lock().map_err(|error| unreachable(&error))?;
        let found = self.folder.read().map_err(|error| unreachable(&error))?;
        let mut state = self.decode(found.as_deref())?;
        let now = self.ambient.unix_ms();
        state.sweep(now);
        let swept = state.encode();
        let answer = change(&mut state, now);
        let bytes = if answer.is_ok() { state.encode() } else { swept };
        if bytes.len() > FILE_BYTES_MAX {
            return Err(StoreError::Refused(format!("the registry is full ({FILE_BYTES_MAX} bytes)")));
        }
        if found.as_ref() != Some(&bytes) {
            self.folder.replace(&held, &bytes).map_err(|error| unreachable(&error))?;
        }
        answer
    }

    /// Files block: not on the runtime's own threads.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || call(&store)).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Unreachable(format!("the file task ended: {error}"))),
        }
    }
}

#[async_trait]
impl RegistryStore for EmbeddedStore {
    fn describe(&self) -> String {
        format!("the file {}", self.folder.file().display())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefix = prefix.to_string();
        self.blocking(move |store| Ok(store.look()?.list(&prefix))).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_string();
        self.blocking(move |store| Ok(store.look()?.get(&key))).await
    }

    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        let (key, value) = (key.to_string(), value.to_string());
        self.blocking(move |store| store.update(|state, _| state.put(&key, &value, lease))).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        let (key, value) = (key.to_string(), value.to_string());
        self.blocking(move |store| store.update(|state, _| state.compare_and_swap(&key, expected, &value)))
            .await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let poller = Poller {
            store: self.clone(),
            prefix: prefix.to_string(),
            from,
            seen: None,
            expiry: None,
            spoke: None,
        };
        let batches = stream::unfold(Some(poller), |poller| async move {
            let mut poller = poller?;
            match poller.next().await {
                Ok(changes) => Some((Ok(changes), Some(poller))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(batches))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut random = [0; 8];
        // Random, so that a lease of a file that was moved away never comes back as somebody else's.
        self.ambient.random(&mut random);
        let id = LeaseId(u64::from_be_bytes(random));
        self.blocking(move |store| {
            store.update(|state, now| {
                state.grant(id, ttl, now);
                Ok(id)
            })
        })
        .await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.blocking(move |store| store.update(|state, now| state.keep_alive(lease, now))).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.blocking(move |store| {
            store.update(|state, _| {
                state.revoke(lease);
                Ok(())
            })
        })
        .await
    }
}

/// One watch.
struct Poller {
    store: EmbeddedStore,
    prefix: String,
    /// The first revision not reported yet.
    from: Revision,
    /// The file that was read last.
    seen: Option<Identity>,
    /// When its next lease runs out, in Unix milliseconds.
    expiry: Option<u64>,
    /// The last batch.
    spoke: Option<Instant>,
}

impl Poller {
    /// The next batch: changes, or none for a heartbeat.
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            // Identities can repeat, though hardly ever: a heartbeat is a real look too.
            let due = self.spoke.is_none_or(|spoke| spoke.elapsed() >= WATCH_HEARTBEAT - 2 * POLL);
            let expired = self.expiry.is_some_and(|expiry| expiry <= self.store.ambient.unix_ms());
            let identity = self
                .store
                .blocking(|store| store.folder.identity().map_err(|error| unreachable(&error)))
                .await?;
            if due || expired || identity != self.seen {
                let state = self.store.blocking(EmbeddedStore::look).await?;
                let changes = state.changes(&self.prefix, self.from)?;
                self.from = state.revision().next();
                self.expiry = state.next_expiry();
                self.seen = identity;
                if due || !changes.is_empty() {
                    self.spoke = Some(Instant::now());
                    return Ok(changes);
                }
            }
            sleep(POLL).await;
        }
    }
}

fn unreachable(error: &io::Error) -> StoreError {
    StoreError::Unreachable(error.to_string())
}
