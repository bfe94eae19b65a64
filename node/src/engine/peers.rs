//! What other nodes ask: the replica's part of the protocol, operations passed on, local listings.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_core::error::{Code, Error, Invalid};
use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::record::Record;
use holdfast_core::sometimes;
use holdfast_core::term::{Ballot, Term};
use holdfast_proto::v1;
use holdfast_proto::v1::peer_reply::Body as Reply;
use holdfast_proto::v1::peer_request::Body as Ask;
use tokio::time::Instant;

use super::forward::{self, Arrived};
use super::write::Done;
use super::{Engine, Inner};
use crate::env::tasks;
use crate::peer::PeerHandler;
use crate::store::{ReplicaAnswer, ReplicaOp, StoreError};

/// Longest time a passed-on operation may take, whatever its asker says.
const FORWARD_TIMEOUT_MAX: Duration = Duration::from_secs(60);
type Respond = Box<dyn FnOnce(Reply) + Send>;

impl PeerHandler for Engine {
    fn handle(&self, request: Ask, reply: Respond) {
        let inner = &self.inner;
        match request {
            Ask::Prepare(prepare) => inner.on_prepare(prepare, reply),
            Ask::Read(read) => inner.on_read(read, reply),
            Ask::Accept(accept) => match stored_op(&accept.bucket, &accept.key, accept.ballot, accept.record)
            {
                Ok((name, ballot, _)) if !inner.knows(name.partition(), ballot.term) => {
                    reply(config_unknown());
                }
                Ok((name, ballot, record)) => {
                    let op = ReplicaOp::Accept { name, ballot, record: Arc::new(record) };
                    inner.submit(op, move |answer| reply(accept_reply(answer)));
                }
                Err(invalid) => reply(Reply::Error((&Error::from(invalid)).into())),
            },
            Ask::Install(install) => {
                match stored_op(&install.bucket, &install.key, install.ballot, install.record) {
                    Ok((name, ballot, record)) => {
                        let op = ReplicaOp::Install { name, ballot, record: Arc::new(record) };
                        inner.submit(op, move |answer| {
                            reply(match answer {
                                Ok(_) => Reply::Install(v1::InstallReply {}),
                                Err(error) => store_error(error),
                            });
                        });
                    }
                    Err(invalid) => reply(Reply::Error((&Error::from(invalid)).into())),
                }
            }
            Ask::Forward(asked) => {
                let inner = inner.clone();
                tasks::spawn(async move { reply(Reply::Forward(inner.on_forward(asked).await)) });
            }
            Ask::ListLocal(list) => reply(match inner.on_list(&list) {
                Ok(page) => Reply::ListLocal(page),
                Err(error) => Reply::Error((&error).into()),
            }),
            Ask::Layout(theirs) => {
                let inner = inner.clone();
                tasks::spawn(async move {
                    let told = theirs.layout.clone();
                    inner.take_layout(theirs).await;
                    let ours = inner.known_layout().filter(|ours| ours.layout != told);
                    reply(Reply::Layout(ours.unwrap_or_default()));
                });
            }
            // The stream answers these by itself.
            Ask::Ping(_) | Ask::Leaving(_) => {
                reply(Reply::Pong(inner.identity.pong()));
            }
        }
    }

    fn on_leaving(&self, peer: NodeId, life: u64) {
        if let Some(link) = self.inner.links.get(peer) {
            tracing::info!(%peer, "a peer is stopping");
            link.on_leaving(life);
        }
    }
}

impl Inner {
    fn on_prepare(self: &Arc<Self>, prepare: v1::Prepare, reply: Respond) {
        let items = prepare.items.into_iter().map(|item| {
            let term = item.term.ok_or(Invalid::new("a prepare without a term"))?;
            Ok((Partition::new(item.partition)?, Term::try_from(term)?))
        });
        let items: Vec<_> = match items.collect::<Result<_, Invalid>>() {
            Ok(items) => items,
            Err(invalid) => return reply(Reply::Error((&Error::from(invalid)).into())),
        };
        if !items.iter().all(|(partition, term)| self.knows(*partition, *term)) {
            return reply(config_unknown());
        }
        let asked = items.clone();
        let ops = items.into_iter().map(|(partition, term)| ReplicaOp::Prepare { partition, term });
        let inner = self.clone();
        self.store.try_submit(ops.collect(), move |answers| {
            let promised =
                asked.into_iter().zip(answers).filter_map(|((partition, asked), answer)| match answer {
                    Ok(ReplicaAnswer::Promised { term, holds }) => {
                        if term == asked {
                            inner.note_promised(partition, term);
                        }
                        Some(v1::prepare_reply::Item {
                            partition: u32::from(partition.number()),
                            promised: Some(term.into()),
                            digest: holds.0.to_be_bytes().to_vec().into(),
                        })
                    }
                    _ => None,
                });
            reply(Reply::Prepare(v1::PrepareReply { items: promised.collect() }));
        });
    }

    fn on_read(&self, read: v1::Read, reply: Respond) {
        let name = match ObjectName::new(&read.bucket, &read.key) {
            Ok(name) => name,
            Err(invalid) => return reply(Reply::Error((&Error::from(invalid)).into())),
        };
        match read.term.map(Term::try_from) {
            Some(Ok(term)) if !self.knows(name.partition(), term) => reply(config_unknown()),
            Some(Ok(term)) => {
                self.learn(name, term, read.with_body, move |answer| reply(learn_reply(answer)));
            }
            Some(Err(invalid)) => reply(Reply::Error((&Error::from(invalid)).into())),
            None => reply(match self.store.read(&name, read.with_body) {
                Ok(holds) => {
                    Reply::Read(read_reply(holds.as_ref().map(|(ballot, record)| (*ballot, record))))
                }
                Err(error) => store_error(error),
            }),
        }
    }

    async fn on_forward(self: &Arc<Self>, asked: v1::Forward) -> v1::ForwardReply {
        let hops = asked.hops;
        let patience = Duration::from_millis(u64::from(asked.timeout_ms)).min(FORWARD_TIMEOUT_MAX);
        let deadline = Instant::now() + patience;
        let (name, arrived) = match forward::arrived(asked) {
            Ok(arrived) => arrived,
            Err(invalid) => {
                let error = v1::forward_reply::Result::Error((&Error::from(invalid)).into());
                return v1::ForwardReply { result: Some(error) };
            }
        };
        sometimes!(hops > 1, "a request is passed on a second time");
        if self.leaving.load(Ordering::Relaxed) {
            sometimes!("a request is passed on to a node that is stopping");
            let error = Error::new(Code::Unavailable, "this node is stopping");
            return forward::reply(&name, false, Err(error));
        }
        match arrived {
            Arrived::Operation(operation) => {
                let put = matches!(operation, super::write::Operation::Put { .. });
                let done = self.route(&name, &operation, hops, deadline).await;
                forward::reply(&name, put, done)
            }
            Arrived::Get { head_only } => {
                let record = self.read(&name, head_only, hops, deadline).await;
                forward::reply(&name, false, record.map(Done::Record))
            }
        }
    }

    fn on_list(&self, list: &v1::ListLocal) -> Result<v1::ListLocalReply, Error> {
        let (entries, complete) = self.list_here(list)?;
        let entries = entries.into_iter().map(|entry| v1::list_local_reply::Entry {
            key: entry.key.as_str().to_owned(),
            ballot: Some(entry.ballot.into()),
            record: Some((&entry.record).into()),
        });
        Ok(v1::ListLocalReply { entries: entries.collect(), complete })
    }
}

fn stored_op(
    bucket: &str,
    key: &str,
    ballot: Option<v1::Ballot>,
    record: Option<v1::Record>,
) -> Result<(ObjectName, Ballot, Record), Invalid> {
    let name = ObjectName::new(bucket, key)?;
    let ballot = ballot.ok_or(Invalid::new("a proposal without a ballot"))?.try_into()?;
    let record = record.ok_or(Invalid::new("a proposal without a record"))?.try_into()?;
    Ok((name, ballot, record))
}

fn read_reply(holds: Option<(Ballot, &Record)>) -> v1::ReadReply {
    match holds {
        Some((ballot, record)) => {
            v1::ReadReply { refused: None, accepted: Some(ballot.into()), record: Some(record.into()) }
        }
        None => v1::ReadReply::default(),
    }
}

fn learn_reply(answer: Result<ReplicaAnswer, StoreError>) -> Reply {
    match answer {
        Ok(ReplicaAnswer::Learned(holds)) => {
            Reply::Read(read_reply(holds.as_ref().map(|(ballot, record)| (*ballot, &**record))))
        }
        Ok(ReplicaAnswer::Refused(higher)) => {
            Reply::Read(v1::ReadReply { refused: Some(higher.into()), ..v1::ReadReply::default() })
        }
        Ok(_) => unexpected(),
        Err(error) => store_error(error),
    }
}

fn accept_reply(answer: Result<ReplicaAnswer, StoreError>) -> Reply {
    let (refused, superseded) = match answer {
        Ok(ReplicaAnswer::Stored) => (None, None),
        Ok(ReplicaAnswer::Refused(higher)) => (Some(higher.into()), None),
        Ok(ReplicaAnswer::Superseded(higher)) => (None, Some(higher.into())),
        Ok(_) => return unexpected(),
        Err(error) => return store_error(error),
    };
    Reply::Accept(v1::AcceptReply { refused, superseded })
}

/// Nothing is promised under a config that is not known here.
fn config_unknown() -> Reply {
    sometimes!("a replica is asked under a config that it does not know");
    Reply::ConfigUnknown(v1::ConfigUnknown {})
}

fn store_error(error: StoreError) -> Reply {
    Reply::Error((&Error::from(error)).into())
}

fn unexpected() -> Reply {
    Reply::Error((&Error::new(Code::Internal, "the store answered something else than was asked")).into())
}
