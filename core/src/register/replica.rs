//! A replica's rules, as functions of its durable state. The store applies them in the order of its one writer, and
//! speaks of the result only once it is on disk.

use crate::term::{Ballot, Term};

/// What a prepare makes of the promise: the asked term was promised exactly when the result equals it.
///
/// Source: Paxos phase 1, for all keys of the partition at once.
pub fn on_prepare(promised: Term, asked: Term) -> Term {
    promised.max(asked)
}

/// What a leader's learning read makes of the promise. `Err`: refused, with the higher promised term.
pub fn on_learn(promised: Term, term: Term) -> Result<Term, Term> {
    if promised > term { Err(promised) } else { Ok(term) }
}

/// What a replica does with an accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcceptRule {
    /// Store the record under the ballot, and promise the ballot's term if that is higher than what was promised.
    Store,
    /// This very proposal is here already: acknowledge again.
    Held,
    /// A higher ballot of this key is here: the accept came late, or was built on something outdated.
    Superseded(Ballot),
    /// A higher term was promised.
    Refused(Term),
}

/// Judges an accept under `ballot` by the partition's promise and the key's accepted ballot.
///
/// The promise is asked first, even when the proposal is here already: an outdated leader must learn of its successor.
pub fn on_accept(promised: Term, accepted: Option<Ballot>, ballot: Ballot) -> AcceptRule {
    match accepted {
        _ if promised > ballot.term => AcceptRule::Refused(promised),
        Some(held) if held == ballot => AcceptRule::Held,
        Some(held) if held > ballot => AcceptRule::Superseded(held),
        _ => AcceptRule::Store,
    }
}

/// Whether a record that is known to be chosen replaces what the replica holds.
///
/// No promise is asked: every proposal above a chosen ballot was built on it or on a successor, so one more copy of it
/// hides nothing from any later leader.
pub fn on_install(accepted: Option<Ballot>, ballot: Ballot) -> bool {
    accepted.is_none_or(|held| ballot > held)
}
