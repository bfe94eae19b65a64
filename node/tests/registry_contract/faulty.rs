//! A real backend whose answers get lost, late or incomplete on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use node::registry::store::{
    Change, Entry, LeaseId, Listing, RegistryStore, Revision, StoreError, Swap, Watch,
};

/// The faults. All off to begin with.
#[derive(Default)]
pub(crate) struct Faults {
    /// So many swaps are made, and their answers lost.
    pub(crate) swap_answers_lost: AtomicU32,
    /// So many swaps are lost on the way there.
    pub(crate) swaps_lost: AtomicU32,
    /// So many revocations are lost on the way there.
    pub(crate) revocations_lost: AtomicU32,
    /// Nothing answers, watches are silent.
    pub(crate) hung: AtomicBool,
    /// Watches lose deletions.
    pub(crate) deletions_lost: AtomicBool,
    /// So many watches end at their next batch.
    pub(crate) watches_ended: AtomicU32,
    /// How many watches were opened.
    pub(crate) watches: AtomicU32,
}

pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn RegistryStore>,
    pub(crate) faults: Arc<Faults>,
}

fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn hang_while(hung: &AtomicBool) {
    while hung.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn lost() -> StoreError {
    StoreError::Unreachable("lost by the test".into())
}

#[async_trait]
impl RegistryStore for Faulty {
    fn describe(&self) -> String {
        format!("{}, with faults", self.inner.describe())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        hang_while(&self.faults.hung).await;
        self.inner.list(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        hang_while(&self.faults.hung).await;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, value: &str, lease: Option<LeaseId>) -> Result<Revision, StoreError> {
        hang_while(&self.faults.hung).await;
        self.inner.put(key, value, lease).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &str,
    ) -> Result<Swap, StoreError> {
        hang_while(&self.faults.hung).await;
        if take(&self.faults.swaps_lost) {
            return Err(lost());
        }
        let answer = self.inner.compare_and_swap(key, expected, value).await;
        if take(&self.faults.swap_answers_lost) { Err(lost()) } else { answer }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        hang_while(&self.faults.hung).await;
        self.faults.watches.fetch_add(1, Ordering::SeqCst);
        let faults = self.faults.clone();
        let watch = self.inner.watch(prefix, from).await?;
        let watch = watch.then(move |batch| {
            let faults = faults.clone();
            async move {
                hang_while(&faults.hung).await;
                if take(&faults.watches_ended) {
                    return Err(lost());
                }
                let mut batch = batch?;
                if faults.deletions_lost.load(Ordering::SeqCst) {
                    batch.retain(|change| !matches!(change, Change::Delete { .. }));
                }
                Ok(batch)
            }
        });
        Ok(watch.boxed())
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        hang_while(&self.faults.hung).await;
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        hang_while(&self.faults.hung).await;
        self.inner.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        hang_while(&self.faults.hung).await;
        if take(&self.faults.revocations_lost) {
            return Err(lost());
        }
        self.inner.revoke_lease(lease).await
    }
}
