//! What the store tells a witness: what it found when it was opened, what has become durable, what it says it holds.

use bytes::Bytes;
use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::term::{Ballot, Term};

use crate::env::witness::{Fact, Recovered};

use super::fact::Placed;
use super::format;
use super::scan;
use super::shared::Shared;

/// What a witness is told once a frame is durable.
pub(super) enum Judged {
    Promised {
        partition: Partition,
        term: Term,
    },
    /// `installed`: it was handed on as chosen.
    Stored {
        key: Vec<u8>,
        placed: Placed,
        installed: bool,
    },
    /// A leader's question is answered.
    Learned {
        key: Vec<u8>,
        term: Term,
    },
}

/// The store was opened.
pub(super) fn opened(shared: &Shared, node: NodeId) {
    if !shared.witness.is_watching() {
        return;
    }
    let holds = scan::all(shared).ok().map(|rows| {
        let held = rows.into_iter().filter_map(|(key, entry)| {
            let record = entry.and_then(|entry| {
                format::decode_entry(&key, &entry, false).map(|record| (entry.ballot, record))
            });
            Some(Recovered { name: name_of(&key)?, held: record.ok() })
        });
        held.collect::<Vec<_>>()
    });
    let published = shared.published.read();
    shared.witness.sees(Fact::Opened { node, promised: &published.promised, holds: holds.as_deref() });
}

/// A frame has become durable.
pub(super) fn committed(shared: &Shared, frame: &Bytes, judged: &[Judged]) {
    for judged in judged {
        match judged {
            Judged::Promised { partition, term } => {
                shared.witness.sees(Fact::Promised { partition: *partition, term: *term });
            }
            Judged::Stored { key, placed, installed } => {
                let (_, entry) = placed.entry(frame);
                let (Some(name), Ok(record)) = (name_of(key), format::decode_entry(key, &entry, true)) else {
                    tracing::error!(key = format::readable(key), "what was just stored cannot be read back");
                    continue;
                };
                let (ballot, installed) = (entry.ballot, *installed);
                shared.witness.sees(Fact::Accepted { name: &name, ballot, record: &record, installed });
            }
            Judged::Learned { key, term } => {
                if let Some(name) = name_of(key) {
                    shared.witness.sees(Fact::StoodBy { name: &name, term: *term });
                }
            }
        }
    }
}

/// The store says what it holds of a key.
pub(super) fn told(shared: &Shared, name: &ObjectName, ballot: Option<Ballot>) {
    if shared.witness.is_watching() {
        shared.witness.sees(Fact::Told { name, ballot: ballot.unwrap_or(Ballot::ZERO) });
    }
}

/// The name in a stored key; `None` when it is none of ours.
fn name_of(key: &[u8]) -> Option<ObjectName> {
    let (bucket, key) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    ObjectName::new(bucket, key).ok()
}
