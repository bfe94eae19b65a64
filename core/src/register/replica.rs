//! A replica's rules, as functions of its durable state. The store applies them in the order of its one writer, and
//! speaks of the result only once it is on disk.

use crate::sometimes;
use crate::term::{Ballot, Term};

/// What a prepare makes of the promise: the asked term was promised exactly when the result equals it.
///
/// Source: Paxos phase 1, for all keys of the partition at once.
pub fn on_prepare(promised: Term, asked: Term) -> Term {
    sometimes!(promised > asked, "a replica is asked for a promise below the one that it gave");
    promised.max(asked)
}

/// What a leader's learning read makes of the promise. `Err`: refused, with the higher promised term.
pub fn on_learn(promised: Term, term: Term) -> Result<Term, Term> {
    sometimes!(promised > term, "a replica refuses the question of a deposed leader");
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
        _ if promised > ballot.term => {
            sometimes!("a replica refuses the proposal of a deposed leader");
            AcceptRule::Refused(promised)
        }
        Some(held) if held == ballot => {
            sometimes!("a replica is asked a second time to accept what it holds");
            AcceptRule::Held
        }
        Some(held) if held > ballot => {
            sometimes!("a replica is asked to accept less than what it holds");
            AcceptRule::Superseded(held)
        }
        _ => {
            sometimes!(promised < ballot.term, "a replica accepts in a term that it had not promised");
            AcceptRule::Store
        }
    }
}

/// Whether a record that is known to be chosen replaces what the replica holds.
///
/// No promise is asked: every proposal above a chosen ballot was built on it or on a successor, so one more copy of it
/// hides nothing from any later leader.
pub fn on_install(accepted: Option<Ballot>, ballot: Ballot) -> bool {
    let newer = accepted.is_none_or(|held| ballot > held);
    sometimes!(newer, "a replica that lags behind takes a chosen record");
    sometimes!(!newer, "a chosen record is handed to a replica that holds it or a newer one by then");
    newer
}
