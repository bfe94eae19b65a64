//! Reads: a quorum of the key's replicas, coordinated by whichever of them was asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{NodeId, ObjectName};
use holdfast_core::record::Record;
use holdfast_core::register::{Quorum, QuorumRead, ReadStep};
use holdfast_core::sometimes;
use holdfast_core::term::Ballot;
use holdfast_proto::v1;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::write::{Done, Operation, no_layout};
use super::{Inner, forward};
use crate::env::tasks;
use crate::store::ReplicaOp;

/// A replica that takes longer is not waited for alone: the next one is asked too.
const HEDGE_AFTER: Duration = Duration::from_millis(25);
/// How long a replica may take for a passed-on read before the next is tried.
const FORWARD_PATIENCE: Duration = Duration::from_millis(400);
/// Pause before a read that found too few replicas is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How a quorum read ended.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way out")]
enum Found {
    /// The chosen record; `None`: never written.
    Chosen(Copy),
    /// Half written: ask the leader.
    Resolve,
    /// Too few replicas answered.
    Unavailable,
}

/// What a replica holds of the key.
pub(super) type Copy = Option<(Ballot, Record)>;

/// A replica's answer, or that it gave none.
type CopySender = mpsc::Sender<(NodeId, Result<Copy, ()>)>;

impl Inner {
    /// The key's object, linearizable.
    pub(super) async fn read(
        self: &Arc<Self>,
        name: &ObjectName,
        head_only: bool,
        hops: u32,
        deadline: Instant,
    ) -> Result<Record, Error> {
        loop {
            let view = self.view().ok_or_else(no_layout)?;
            let quorum = view.quorum(name.partition());
            let found = if quorum.contains(self.me) {
                self.quorum_read(quorum, name, head_only, deadline).await
            } else if hops == 0 {
                sometimes!("a node without a replica of the key passes a read on");
                return self.read_elsewhere(quorum, name, head_only, deadline).await;
            } else {
                return Err(Error::new(Code::Unavailable, "this node holds no replica of the key"));
            };
            match found {
                Found::Chosen(record) => {
                    let Some((_, record)) = record else { return Err(Error::not_found(None)) };
                    if let Some(version) = record.tombstone_version() {
                        return Err(Error::not_found(Some(version)));
                    }
                    self.tell_served(name, &record);
                    return Ok(record);
                }
                Found::Resolve => {
                    return match self.route(name, &Operation::Resolve { head_only }, 0, deadline).await? {
                        Done::Record(record) => Ok(record),
                        _ => Err(Error::new(Code::Internal, "the leader answered something else")),
                    };
                }
                Found::Unavailable => {
                    if Instant::now() + RETRY_PAUSE >= deadline {
                        return Err(Error::new(
                            Code::Unavailable,
                            "no majority of the key's replicas answered in time: check the nodes with `node cluster status`",
                        ));
                    }
                    sometimes!("a read waits until enough replicas answer");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Whom to ask for a copy: healthy replicas first, the burden spread over them; never this node.
    fn read_order(&self, quorum: &Quorum) -> Vec<NodeId> {
        let others = quorum.voters().iter().copied().filter(|node| *node != self.me);
        let (mut healthy, suspected): (Vec<_>, Vec<_>) =
            others.partition(|node| self.links.is_healthy(*node));
        if !healthy.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let at = turn % healthy.len();
            healthy.rotate_left(at);
        }
        healthy.extend(suspected);
        healthy
    }

    async fn quorum_read(
        self: &Arc<Self>,
        quorum: &Quorum,
        name: &ObjectName,
        head_only: bool,
        deadline: Instant,
    ) -> Found {
        let order = self.read_order(quorum);
        let mut read = QuorumRead::new(quorum);
        let mut copies: Vec<(NodeId, Copy)> = Vec::new();
        let (sender, mut receiver) = mpsc::channel(quorum.voters().len().max(1));
        let mut step = match self.store.read(name, !head_only) {
            Ok(own) => {
                let ballot = own.as_ref().map_or(Ballot::ZERO, |(ballot, _)| *ballot);
                copies.push((self.me, own));
                read.on_reply(self.me, ballot, &order)
            }
            Err(error) => {
                sometimes!("a node cannot read its own copy of a key");
                tracing::error!(%name, %error, "own copy cannot be read");
                read.on_failed(self.me, &order)
            }
        };
        loop {
            let ask = match step {
                ReadStep::Chosen(ballot, holder) => {
                    self.tell_read(quorum, name, ballot, &copies);
                    return self.take(quorum, name, head_only, ballot, holder, copies, deadline).await;
                }
                ReadStep::Resolve => return Found::Resolve,
                ReadStep::Unavailable => return Found::Unavailable,
                ReadStep::Ask(node) => Some(node),
                ReadStep::Wait => None,
            };
            if let Some(node) = ask {
                // The own copy will most likely do: others send their bodies only when it is missing or differs.
                let with_body = !head_only && (copies.len() != 1 || copies[0].1.is_none());
                read.asking(node);
                self.ask_copy(node, quorum, name, with_body, sender.clone());
            }
            let (node, copy) = match timeout(HEDGE_AFTER, receiver.recv()).await {
                Ok(answer) => answer.expect("this function holds a sender"),
                Err(_) if Instant::now() >= deadline => return Found::Unavailable,
                Err(_) => {
                    step = read.on_slow(&order).map_or(ReadStep::Wait, ReadStep::Ask);
                    continue;
                }
            };
            step = match copy {
                Ok(copy) => {
                    let ballot = copy.as_ref().map_or(Ballot::ZERO, |(ballot, _)| *ballot);
                    copies.push((node, copy));
                    read.on_reply(node, ballot, &order)
                }
                Err(()) => {
                    sometimes!("a replica that a read asked gives no answer");
                    read.on_failed(node, &order)
                }
            };
        }
    }

    /// The chosen record out of the copies, or fetched; copies that lag behind are mended on the way.
    #[allow(clippy::too_many_arguments, reason = "the end of quorum_read, with all of its state")]
    async fn take(
        self: &Arc<Self>,
        quorum: &Quorum,
        name: &ObjectName,
        head_only: bool,
        ballot: Ballot,
        holder: NodeId,
        copies: Vec<(NodeId, Copy)>,
        deadline: Instant,
    ) -> Found {
        if ballot == Ballot::ZERO {
            return Found::Chosen(None);
        }
        let lagging: Vec<_> = copies
            .iter()
            .filter(|(_, copy)| copy.as_ref().is_none_or(|(held, _)| *held < ballot))
            .map(|(node, _)| *node)
            .collect();
        let usable = |copy: &Copy| {
            copy.as_ref().is_some_and(|(held, record)| *held == ballot && (head_only || record.is_whole()))
        };
        let at_hand = copies.into_iter().map(|(_, copy)| copy).find(usable).flatten();
        let (ballot, record) = match at_hand {
            Some(copy) => copy,
            None => {
                sometimes!("a read knows what is chosen and must fetch it");
                match self.fetch_from(holder, quorum, name, ballot, deadline).await {
                    Some(record) => (ballot, record),
                    None => {
                        sometimes!("a chosen record is not there any more when its body is fetched");
                        return Found::Unavailable;
                    }
                }
            }
        };
        for node in &lagging {
            sometimes!(*node == self.me, "a read finds that the own replica lags behind");
            sometimes!(*node != self.me, "a read finds that another replica lags behind");
            if record.is_whole() {
                self.mend(*node, name, ballot, &record);
            }
        }
        if !lagging.is_empty() && !record.is_whole() {
            self.mend_later(lagging, name, ballot);
        }
        Found::Chosen(Some((ballot, record)))
    }

    /// Gives replicas that lag behind the record that was chosen under `ballot`, of which only the head is at hand. Best
    /// effort, bounded as [`Self::mend`] is.
    fn mend_later(self: &Arc<Self>, lagging: Vec<NodeId>, name: &ObjectName, ballot: Ballot) {
        let Ok(permit) = self.repairs.clone().try_acquire_owned() else { return };
        let (inner, name) = (self.clone(), name.clone());
        tasks::spawn(async move {
            let whole = inner.fetch(&name, ballot, Instant::now() + FORWARD_PATIENCE).await;
            drop(permit);
            sometimes!(whole.is_some(), "a whole record is fetched for replicas that lag behind its head");
            if let Some(record) = whole {
                for node in lagging {
                    inner.mend(node, &name, ballot, &record);
                }
            }
        });
    }

    /// The whole record that was chosen under `ballot`, from any replica that has it; `None` when it is not found,
    /// most likely because the key was written again.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        name: &ObjectName,
        ballot: Ballot,
        deadline: Instant,
    ) -> Option<Record> {
        if let Ok(Some((held, record))) = self.store.read(name, true)
            && held == ballot
        {
            return Some(record);
        }
        let view = self.view()?;
        let quorum = view.quorum(name.partition());
        for node in self.read_order(quorum) {
            if let Some(record) = self.fetch_from(node, quorum, name, ballot, deadline).await {
                return Some(record);
            }
        }
        None
    }

    async fn fetch_from(
        self: &Arc<Self>,
        node: NodeId,
        quorum: &Quorum,
        name: &ObjectName,
        ballot: Ballot,
        deadline: Instant,
    ) -> Option<Record> {
        let (sender, mut receiver) = mpsc::channel(1);
        self.ask_copy(node, quorum, name, true, sender);
        let (_, copy) = timeout_at(deadline, receiver.recv()).await.ok()??;
        copy.ok()?.filter(|(held, record)| *held == ballot && record.is_whole()).map(|(_, record)| record)
    }

    fn ask_copy(
        &self,
        node: NodeId,
        quorum: &Quorum,
        name: &ObjectName,
        with_body: bool,
        sender: CopySender,
    ) {
        let Some(link) = self.links.get(node) else {
            // Never full: one message for each voter.
            drop(sender.try_send((node, Err(()))));
            return;
        };
        let read = v1::Read {
            bucket: name.bucket.as_str().to_owned(),
            key: name.key.as_str().to_owned(),
            config: quorum.config().0,
            term: None,
            with_body,
        };
        link.send(Ask::Read(read), move |reply| {
            let copy = match reply {
                Ok(Reply::Read(reply)) if reply.refused.is_none() => copy_of(reply).map_err(|_| ()),
                _ => Err(()),
            };
            drop(sender.try_send((node, copy)));
        });
    }

    /// Gives a replica that lags behind the chosen record. Best effort, bounded.
    fn mend(self: &Arc<Self>, node: NodeId, name: &ObjectName, ballot: Ballot, record: &Record) {
        let Ok(permit) = self.repairs.clone().try_acquire_owned() else { return };
        if node == self.me {
            let op = ReplicaOp::Install { name: name.clone(), ballot, record: Arc::new(record.clone()) };
            self.submit(op, move |_| drop(permit));
        } else if let Some(link) = self.links.get(node) {
            let install = v1::Install {
                bucket: name.bucket.as_str().to_owned(),
                key: name.key.as_str().to_owned(),
                ballot: Some(ballot.into()),
                record: Some(record.into()),
            };
            link.send(Ask::Install(install), move |_| drop(permit));
        }
    }

    async fn read_elsewhere(
        self: &Arc<Self>,
        quorum: &Quorum,
        name: &ObjectName,
        head_only: bool,
        deadline: Instant,
    ) -> Result<Record, Error> {
        let mut last = Error::new(Code::Unavailable, "no replica of the key can be reached");
        for node in self.read_order(quorum) {
            let patience = FORWARD_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
            let Some(link) = self.links.get(node) else { continue };
            let ask = forward::get_request(name, head_only, patience, 1);
            let Ok(Ok(Reply::Forward(reply))) = timeout(patience, link.ask(Ask::Forward(ask))).await else {
                sometimes!("a replica does not answer a read that was passed on to it");
                continue;
            };
            match forward::result(name, &Operation::Resolve { head_only }, reply) {
                Ok(Done::Record(record)) => return Ok(record),
                Ok(_) => return Err(Error::new(Code::Internal, "a peer answered something else")),
                Err(error) if error.code.retryable() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

fn copy_of(reply: v1::ReadReply) -> Result<Copy, holdfast_core::error::Invalid> {
    match (reply.accepted, reply.record) {
        (Some(ballot), Some(record)) => Ok(Some((ballot.try_into()?, record.try_into()?))),
        _ => Ok(None),
    }
}
