//! What a replica is asked to do through the store's writer, and what it answers.

use holdfast_core::ids::{ObjectName, Partition};
use holdfast_core::record::Record;
use holdfast_core::term::{Ballot, Term};

/// One operation for the writer. Those of one asker are carried out in the order in which they were submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaOp {
    /// Promise to follow no lower term in a partition.
    Prepare {
        /// The partition.
        partition: Partition,
        /// The term to promise.
        term: Term,
    },
    /// A leader's look at a key: promises its term first.
    Read {
        /// The key.
        name: ObjectName,
        /// The term to promise before looking.
        term: Term,
        /// Whether the answer carries the body.
        with_body: bool,
    },
    /// Accept a proposal.
    Accept {
        /// The key.
        name: ObjectName,
        /// The proposal.
        ballot: Ballot,
        /// The whole record.
        record: Record,
    },
    /// Store a record that is known to be chosen.
    Install {
        /// The key.
        name: ObjectName,
        /// The ballot at which it was chosen.
        ballot: Ballot,
        /// The whole record.
        record: Record,
    },
}

/// What a replica answers. Everything that it says is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaAnswer {
    /// To a prepare: the highest promised term now; equal to the asked one when that was promised.
    Promised(Term),
    /// To a read: what is accepted; `None`: nothing yet.
    Read(Option<(Ballot, Record)>),
    /// To an accept or install: it is on disk (or was already; for an install: or something newer is).
    Stored,
    /// To a read or accept: this higher term was promised. Nothing changed.
    Refused(Term),
    /// To an accept: this higher ballot of the key was accepted before. Nothing changed.
    Superseded(Ballot),
}
