//! Keeps the view up to date: list at a revision, watch from there, and on any doubt list again.

use std::sync::Arc;

use futures_util::StreamExt as _;
use holdfast_core::sometimes;
use tokio::sync::Notify;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::outage::Outage;
use super::store::{RegistryStore, StoreError, Watch};
use super::timing::{Backoff, RegistryTiming};
use super::view::{Model, RegistryView};
use super::within;

/// Why a watch was left.
enum Left {
    /// It is time to list again, nothing is wrong.
    Resync,
    /// The registry answers, the watch cannot be trusted.
    Doubt(String),
    /// No sign of life.
    Silent,
}

/// The background task behind a view.
pub(super) struct Follower {
    pub(super) store: Arc<dyn RegistryStore>,
    pub(super) timing: RegistryTiming,
    /// Somebody's call was not answered.
    pub(super) doubts: Arc<Notify>,
    pub(super) prefix: String,
    pub(super) model: Model,
    pub(super) views: Sender<Arc<RegistryView>>,
}

impl Follower {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut outage = Outage::new("follow", self.store.describe());
        let mut backoff = Backoff::new();
        loop {
            match self.list_and_watch().await {
                Ok(watch) => {
                    outage.on_success();
                    let began = Instant::now();
                    let left = self.follow(watch).await;
                    // A watch that breaks at once must not make this loop spin.
                    if began.elapsed() >= self.timing.silence {
                        backoff.reset();
                    }
                    match left {
                        Left::Resync => continue,
                        Left::Doubt(why) => debug!(why, "the registry is listed again"),
                        Left::Silent => {
                            sometimes!("the watch of the registry goes quiet");
                            outage.on_failure(&StoreError::Unreachable("the watch went silent".into()));
                            self.disconnect();
                        }
                    }
                }
                Err(error) => {
                    sometimes!("the registry cannot be listed");
                    outage.on_failure(&error);
                    self.disconnect();
                }
            }
            backoff.pause().await;
        }
    }

    async fn list_and_watch(&mut self) -> Result<Watch, StoreError> {
        let listing = within(self.timing.call_timeout, self.store.list(&self.prefix)).await?;
        let from = listing.revision.next();
        self.model.on_listing(&listing, Instant::now());
        self.publish();
        match within(self.timing.call_timeout, self.store.watch(&self.prefix, from)).await {
            // The list is good, what came since is elsewhere: that is doubt, not an outage.
            Err(StoreError::Compacted) => {
                sometimes!("the registry is compacted between a list and its watch");
                Ok(Box::pin(futures_util::stream::iter([Err(StoreError::Compacted)])))
            }
            answer => answer,
        }
    }

    async fn follow(&mut self, mut watch: Watch) -> Left {
        let resync = Instant::now() + self.timing.resync;
        let mut heard = Instant::now();
        loop {
            let wake = self.model.wake_at().map_or(resync, |at| at.min(resync));
            tokio::select! {
                biased;
                () = sleep_until(wake) => {
                    self.publish();
                    if Instant::now() >= resync {
                        sometimes!("the registry is listed again though nothing seems wrong");
                        return Left::Resync;
                    }
                }
                () = self.doubts.notified() => return Left::Doubt("a call was not answered".into()),
                // Since it spoke last, whatever else wakes this loop meanwhile.
                item = timeout_at(heard + self.timing.silence, watch.next()) => match item {
                    Err(_) => return Left::Silent,
                    Ok(None) => return Left::Doubt("the watch ended".into()),
                    Ok(Some(Err(error))) => {
                        sometimes!(error == StoreError::Compacted, "the registry forgets history that a watch still needs");
                        return Left::Doubt(error.to_string());
                    }
                    Ok(Some(Ok(changes))) => {
                        heard = Instant::now();
                        let trusted = changes.iter().all(|change| self.model.on_change(change).is_ok());
                        self.publish();
                        if !trusted {
                            return Left::Doubt("the watch went back in time".into());
                        }
                    }
                },
            }
        }
    }

    fn disconnect(&mut self) {
        self.model.on_disconnect(Instant::now());
        self.publish();
    }

    fn publish(&mut self) {
        let view = self.model.view(Instant::now());
        self.views.send_if_modified(|last| {
            let changed = **last != view;
            if changed {
                *last = Arc::new(view);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::super::embedded::EmbeddedStore;
    use super::super::keys::Keys;
    use super::super::store::{Listing, Revision};
    use super::*;
    use crate::env::real::RealAmbient;

    /// What the view does by itself meanwhile (seed 2067: it was noticed only after the grace and the silence together).
    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_is_left_in_time() {
        let timing = RegistryTiming::default();
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), Arc::new(RealAmbient)).unwrap();
        let keys = Keys::new("test").unwrap();
        let mut follower = Follower {
            store: Arc::new(store),
            timing,
            doubts: Arc::default(),
            prefix: keys.prefix().to_owned(),
            model: Model::new(keys, timing.silence * 2 / 3),
            views: Sender::new(Arc::default()),
        };
        let listing = Listing { entries: Vec::new(), revision: Revision(1) };
        follower.model.on_listing(&listing, Instant::now());
        let began = Instant::now();
        let left = follower.follow(Box::pin(stream::pending())).await;
        assert!(matches!(left, Left::Silent));
        assert_eq!(began.elapsed().as_secs(), timing.silence.as_secs());
    }
}
