//! Listings: performs what the merge ([`holdfast_core::listing`]) asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::ids::{NodeId, ObjectKey, ObjectName};
use holdfast_core::listing::{Effect, Entry, ListMerge, Listing, Query};
use holdfast_core::record::Record;
use holdfast_core::sometimes;
use holdfast_proto::v1;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::write::no_layout;
use super::{ClusterView, Inner};
use crate::env::tasks;
use crate::store::ScanStart;

/// A node that takes longer for a page is not waited for alone.
const SLOW_AFTER: Duration = Duration::from_millis(150);
/// Pause before a listing that too few nodes answered is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

enum Event {
    Page(NodeId, Result<(Vec<Entry>, bool), ()>),
    Resolved(ObjectKey, Result<Option<Record>, Error>),
}

impl Inner {
    /// One page of a listing.
    pub(super) async fn list(self: &Arc<Self>, query: Query, deadline: Instant) -> Result<Listing, Error> {
        loop {
            let view = self.view().ok_or_else(no_layout)?;
            if let Some(listing) = self.try_list(&view, &query, deadline).await? {
                return Ok(listing);
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(Error::new(
                    Code::Unavailable,
                    "too few nodes answered to list every key: check the nodes with `node cluster status`",
                ));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// `None`: too few nodes answered, or a read of a doubtful key failed.
    async fn try_list(
        self: &Arc<Self>,
        view: &ClusterView,
        query: &Query,
        deadline: Instant,
    ) -> Result<Option<Listing>, Error> {
        let mut answering = vec![self.me];
        answering.extend(
            view.layout.nodes.keys().filter(|node| **node != self.me && self.links.is_healthy(**node)),
        );
        let (mut merge, mut effects) = ListMerge::begin(query.clone(), &view.layout, &answering);
        // Bounded by the merge itself: one page for each node and a few resolves at a time.
        let (sender, mut receiver) = mpsc::unbounded_channel();
        // When each asked node counts as slow (again).
        let mut waiting = BTreeMap::new();
        loop {
            for effect in effects {
                match effect {
                    Effect::AskPage { node, from, limit } => {
                        waiting.insert(node, Instant::now() + SLOW_AFTER);
                        self.ask_page(view, query, node, from, limit, sender.clone());
                    }
                    Effect::Resolve(name) => self.resolve_for_list(name, deadline, sender.clone()),
                    Effect::Done(listing) => {
                        self.tell_listed(query, &listing);
                        return Ok(Some(listing));
                    }
                    Effect::Unavailable(_) => return Ok(None),
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let look_at = waiting.values().copied().min().unwrap_or(deadline).min(deadline);
            effects = match timeout_at(look_at, receiver.recv()).await {
                Err(_) => {
                    let now = Instant::now();
                    let slow = waiting.iter_mut().filter(|(_, slow_at)| **slow_at <= now);
                    slow.flat_map(|(node, slow_at)| {
                        *slow_at = now + SLOW_AFTER;
                        merge.on_node_slow(*node)
                    })
                    .collect()
                }
                Ok(None) => return Ok(None),
                Ok(Some(Event::Page(node, page))) => {
                    waiting.remove(&node);
                    match page {
                        Ok((entries, complete)) => merge.on_page(node, entries, complete),
                        Err(()) => merge.on_node_failed(node),
                    }
                }
                Ok(Some(Event::Resolved(_, Err(error)))) if error.code.retryable() => return Ok(None),
                Ok(Some(Event::Resolved(key, record))) => merge.on_resolved(&key, record?),
            };
        }
    }

    fn ask_page(
        self: &Arc<Self>,
        view: &ClusterView,
        query: &Query,
        node: NodeId,
        from: Vec<u8>,
        limit: usize,
        sender: mpsc::UnboundedSender<Event>,
    ) {
        let list = v1::ListLocal {
            bucket: query.bucket().as_str().to_owned(),
            prefix: query.prefix().to_owned(),
            from: from.into(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            layout_version: view.layout.version,
        };
        if node == self.me {
            let page =
                self.list_here(&list).map_err(|error| tracing::error!(%error, "own keys cannot be listed"));
            // The receiver lives as long as the listing.
            drop(sender.send(Event::Page(node, page)));
            return;
        }
        let Some(link) = self.links.get(node) else {
            drop(sender.send(Event::Page(node, Err(()))));
            return;
        };
        link.send(Ask::ListLocal(list), move |reply| {
            let page = match reply {
                Ok(Reply::ListLocal(page)) => entries(page).map_err(|_| ()),
                _ => Err(()),
            };
            drop(sender.send(Event::Page(node, page)));
        });
    }

    fn resolve_for_list(
        self: &Arc<Self>,
        name: ObjectName,
        deadline: Instant,
        sender: mpsc::UnboundedSender<Event>,
    ) {
        let inner = self.clone();
        tasks::spawn(async move {
            // A read, not the leader at once: it mends what it meets that lags behind, so that later pages have less to doubt.
            let record = match inner.read(&name, true, 0, deadline).await {
                Ok(record) => Ok(Some(record)),
                Err(error) if error.code == Code::NotFound => Ok(None),
                Err(error) => Err(error),
            };
            drop(sender.send(Event::Resolved(name.key, record)));
        });
    }

    /// What this node's replicas hold.
    pub(super) fn list_here(&self, list: &v1::ListLocal) -> Result<(Vec<Entry>, bool), Error> {
        let here = self.view().map(|view| view.layout.version);
        if here != Some(list.layout_version) {
            sometimes!("a listing meets a node that knows another layout");
            return Err(Error::new(Code::Unavailable, "the layout has changed: list again"));
        }
        let bucket = holdfast_core::ids::BucketName::new(&list.bucket)?;
        let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
        let page = self.store.scan(&bucket, &list.prefix, ScanStart::From(&list.from), limit)?;
        let entries = page.entries.into_iter().map(|entry| Entry {
            key: entry.key,
            ballot: entry.ballot,
            record: entry.record,
        });
        Ok((entries.collect(), page.complete))
    }
}

fn entries(page: v1::ListLocalReply) -> Result<(Vec<Entry>, bool), Invalid> {
    let entries = page.entries.into_iter().map(|entry| {
        Ok(Entry {
            key: ObjectKey::new(&entry.key)?,
            ballot: entry.ballot.ok_or(Invalid::new("an entry without a ballot"))?.try_into()?,
            record: entry.record.ok_or(Invalid::new("an entry without a record"))?.try_into()?,
        })
    });
    Ok((entries.collect::<Result<_, Invalid>>()?, page.complete))
}
