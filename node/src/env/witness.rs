//! Facts of the register protocol, told at the moment when they begin to bind: for auditors, and for the simulator's
//! oracles, which check across all nodes what no node can see alone.
//!
//! A witness changes nothing: it is told, never asked. In production nobody watches ([`Unwatched`]), and a node makes
//! nothing ready for nobody.

use holdfast_core::ids::{NodeId, ObjectName, Partition};
use holdfast_core::placement::Layout;
use holdfast_core::record::{Object, Record};
use holdfast_core::term::{Ballot, ConfigVersion, Term, Version};

/// What a store held of a key when it was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The key.
    pub name: ObjectName,
    /// The accepted ballot and the record's head. `None`: there is something that cannot be read, and the store says so
    /// to whoever asks for it.
    pub held: Option<(Ballot, Record)>,
}

/// Something that a node did and that others may rely on from now on.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// The store was opened: this is what the replica knows of its earlier lives. The first fact of each life.
    Opened {
        /// Whose folder it is.
        node: NodeId,
        /// By partition.
        promised: &'a [Term],
        /// Every key. `None`: they could not be read through.
        holds: Option<&'a [Recovered]>,
    },
    /// The replica has promised `term`, durably. Told before the answer leaves. What one commit made durable is told in
    /// the order in which it was judged: promises, records and answers to leaders.
    Promised {
        /// Of which partition.
        partition: Partition,
        /// The term.
        term: Term,
    },
    /// The replica has stored a record, durably. Told before the answer leaves.
    Accepted {
        /// The key.
        name: &'a ObjectName,
        /// Its ballot.
        ballot: Ballot,
        /// As it stands on the disk, whole.
        record: &'a Record,
        /// It was handed on as chosen, which asks no promise.
        installed: bool,
    },
    /// The replica says what it holds of a key ([`Ballot::ZERO`]: nothing).
    Told {
        /// The key.
        name: &'a ObjectName,
        /// Its ballot.
        ballot: Ballot,
    },
    /// The replica answers the leader of `term` what it holds of a key, and so stands by that term.
    StoodBy {
        /// The key.
        name: &'a ObjectName,
        /// The leader's term.
        term: Term,
    },
    /// From now on the node counts majorities by this layout.
    Configured(&'a Layout),
    /// The node leads.
    Led {
        /// What.
        partition: Partition,
        /// In which term.
        term: Term,
        /// By whose promises.
        promised_by: &'a [NodeId],
    },
    /// As a leader the node asks what replicas hold of a key. Told before the question leaves, each time.
    Asks {
        /// The key.
        name: &'a ObjectName,
        /// The leader's term.
        term: Term,
        /// The question's number.
        question: u64,
    },
    /// As a leader the node has counted a majority that answered a question.
    Confirmed {
        /// The key.
        name: &'a ObjectName,
        /// The leader's term.
        term: Term,
        /// The question's number.
        question: u64,
        /// Whose answers it counted.
        by: &'a [NodeId],
    },
    /// As a leader the node sends a proposal. Told before it leaves, each time.
    Proposed {
        /// The key.
        name: &'a ObjectName,
        /// Its ballot.
        ballot: Ballot,
        /// The record.
        record: &'a Record,
    },
    /// The node has found that a record is chosen, as a leader or as a reader.
    Chosen {
        /// The key.
        name: &'a ObjectName,
        /// At which ballot.
        ballot: Ballot,
        /// The record, perhaps only its head.
        record: &'a Record,
        /// Whose voters it counted.
        config: ConfigVersion,
        /// The replicas that it counted. Empty: it took its own replica's word, as a caught up leader may.
        by: &'a [NodeId],
    },
    /// As a reader the node has found that a key was never written.
    FoundNothing {
        /// The key.
        name: &'a ObjectName,
        /// Whose voters it counted.
        config: ConfigVersion,
        /// The replicas that hold nothing, as it says.
        by: &'a [NodeId],
    },
    /// The node answers a read or a listing with this object.
    Served {
        /// The key.
        name: &'a ObjectName,
        /// The object's version.
        version: Version,
        /// The object, with its body if that is answered too.
        object: &'a Object,
    },
    /// The node answers that a write took effect with this version.
    Acknowledged {
        /// The key.
        name: &'a ObjectName,
        /// The version.
        version: Version,
    },
}

/// Whoever is told the facts of one node.
pub trait Witness: Send + Sync + 'static {
    /// Whether it wants to be told at all. Does not change.
    fn is_watching(&self) -> bool;

    /// A fact. Called on whatever thread it comes true, sometimes under a lock: it must be quick and must not call back.
    fn sees(&self, fact: Fact<'_>);
}

/// Nobody: production.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Witness for Unwatched {
    fn is_watching(&self) -> bool {
        false
    }

    fn sees(&self, _: Fact<'_>) {}
}
