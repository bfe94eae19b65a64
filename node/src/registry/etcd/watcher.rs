//! One watch on etcd that cannot go quiet: it asks for progress and gives up on a member that does not answer.
//!
//! The revision of a progress answer is not used: etcd has sent ones ahead of events that were still to come.

use std::time::Duration;

use etcd_client::{Error, EventType, WatchRequestSender, WatchResponse, WatchResponseStream};
use tokio::time::{Instant, sleep_until};

use super::answer::{entry, revision, store_error};
use crate::registry::store::{Change, StoreError, WATCH_HEARTBEAT};

/// How often progress is asked for.
const ASK_EVERY: Duration = Duration::from_millis(3500);
/// After that long without an answer the member is as good as dead.
const SILENCE: Duration = Duration::from_millis(8500);

const _: () = assert!(ASK_EVERY.as_millis() < WATCH_HEARTBEAT.as_millis());

pub(super) struct Watcher {
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    heard: Instant,
    ask_at: Instant,
}

impl Watcher {
    pub(super) fn new(requests: WatchRequestSender, responses: WatchResponseStream) -> Self {
        let now = Instant::now();
        Self { requests, responses, heard: now, ask_at: now + ASK_EVERY }
    }

    /// The next batch. After an error there is none.
    pub(super) async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            tokio::select! {
                biased;
                answer = self.responses.message() => {
                    self.heard = Instant::now();
                    return read(answer);
                }
                () = sleep_until(self.ask_at.min(self.heard + SILENCE)) => {}
            }
            let now = Instant::now();
            if now.duration_since(self.heard) >= SILENCE {
                return Err(StoreError::Unreachable("the watch got no answer from this member".into()));
            }
            self.ask_at = now + ASK_EVERY;
            // The queue holds 100 requests and silence ends this long before: it never waits.
            self.requests.request_progress().await.map_err(|error| store_error(&error))?;
        }
    }
}

fn read(answer: Result<Option<WatchResponse>, Error>) -> Result<Vec<Change>, StoreError> {
    let response = match answer {
        Ok(Some(response)) => response,
        Ok(None) => return Err(StoreError::Unreachable("etcd ended the watch".into())),
        Err(error) => return Err(store_error(&error)),
    };
    if response.compact_revision() > 0 {
        return Err(StoreError::Compacted);
    }
    if response.canceled() {
        let why = response.cancel_reason();
        return Err(StoreError::Unreachable(format!("etcd cancelled the watch: {why}")));
    }
    let change = |event: &etcd_client::Event| {
        let pair = event.kv()?;
        Some(match event.event_type() {
            EventType::Put => Change::Put(entry(pair)),
            EventType::Delete => Change::Delete {
                key: String::from_utf8_lossy(pair.key()).into_owned(),
                revision: revision(pair.mod_revision()),
            },
        })
    };
    Ok(response.events().iter().filter_map(change).collect())
}
