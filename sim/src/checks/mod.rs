//! Whether what clients saw can be: linearizability, key by key, exactly, in O(n log n).
//!
//! The question: is there one order of all operations, in which each takes effect at one moment between its beginning
//! and its end, so that every answer is right *and the versions rise*? The last is more than linearizability asks. The
//! protocol promises it (`docs/protocol.md`), and it is what makes an exact check fast: the order of the values is known.
//!
//! **The register.** A key has nothing, an object of a version, or a tombstone of a version. A put whose condition holds
//! writes an object of a higher version; a delete that finds an object, and whose condition holds, a tombstone of a
//! higher version. Everything else is a read: of the object's version, of the tombstone's, or of "nothing was ever
//! written". That includes failed conditions and deletes of nothing: they say what they found, so none of them is a
//! disjunction; that what they found contradicts the condition is checked on each answer alone. A fence may turn "nothing
//! was ever written" into a tombstone that no delete wrote; it needs some mutation that began before. An operation without
//! an answer may take effect at any one moment after it began, under any version, or never. An operation that was told
//! that it did not happen never does.
//!
//! **Values** (`values.rs`). So every answer belongs to one value, named by its version. Some writers are known: those that
//! were told their version, and puts whose text was read. What remains open is what operations without an answer did,
//! and where listings that did not show the key belong: to any moment without an object.
//!
//! **Order** (`order.rs`). Values in the order of their versions, each operation at its value: that is the only order
//! left, and it can be had if and only if no operation of a later value ended before one of an earlier value, or the
//! writer of its own, began. One pass with a running maximum finds that out. A swap must replace the value before it. Where
//! the pass fails, zones tell whether the values could be ordered otherwise ([`Kind::VersionsFall`]) or not at all
//! ([`Kind::WentBack`]): the algorithm of Gibbons and Korach, with chains of swaps as blocks.
//!
//! **Sweep** (`sweep.rs`). What succeeded under "if absent" needs a value without an object before it, what succeeded
//! under "if present" and every delete one with. Between two values that anybody knows there may have been others that
//! nobody saw, by operations without an answer. A value without a known writer needs one of those. A listing needs a
//! moment without an object. Operations without an answer have no end, so all that limits them is when they began and that
//! each takes effect once. The sweep takes each step as late as it can be taken; then what can be used for a need now can be
//! used for every later one too, only numbers count, and for almost all needs there is a sort of operation that is best
//! to use up (exchange it in any solution for what that used, and it is a solution still). Where there is none, all ways
//! are followed; there are few of them, and above a bound the verdict is [`Kind::Undecided`], which is a failure.
//!
//! What is between two known values: never more than one deleted spell (nobody can tell two from one), and a put after it if
//! the next value needs an object.
//!
//! **Versions that only an operation without an answer names.** "Delete if version is u" without an answer, and nobody
//! else ever spoke of u: u may have been a value, written by another operation without an answer. If the check fails
//! without such values, it is made again with every subset of them as values.
//!
//! [`differential()`] compares all this with a search that tries every order.

use std::collections::BTreeMap;

use crate::history::Op;
use values::OneKey;

mod bench;
mod differential;
mod made;
mod mixer;
mod order;
mod search;
mod sweep;
#[cfg(test)]
mod tests;
mod values;
mod violation;

pub use bench::bench_history;
pub use differential::{Compared, Mismatch, differential};
pub use violation::{GUILTY_MAX, Kind, Violation};

/// Versions that only operations without an answer name, of which all subsets are tried.
const ONLY_NAMED_MAX: usize = 10;

/// Checks every key of a history. All of them were absent at the beginning. An error is the first key's, in their order.
pub fn check(ops: &[Op]) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<(usize, &Op)>> = BTreeMap::new();
    for (number, op) in ops.iter().enumerate() {
        keys.entry(&op.key).or_default().push((number, op));
    }
    keys.into_iter().try_for_each(|(key, ops)| check_key(&OneKey::new(key, ops)))
}

fn check_key(one: &OneKey<'_>) -> Result<(), Violation> {
    let values = one.values(&[])?;
    let replaces = order::check(one, &values)?;
    let Err(violation) = sweep::check(one, &values, &replaces) else { return Ok(()) };
    let named = values.only_named();
    if named.is_empty() {
        return Err(violation);
    }
    if named.len() > ONLY_NAMED_MAX {
        return Err(Violation { kind: Kind::Undecided, ..violation });
    }
    for subset in 1..1_u32 << named.len() {
        let chosen = named.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
        let supposed: Vec<_> = chosen.map(|(_, version)| *version).collect();
        let with_them = one.values(&supposed).and_then(|values| {
            let replaces = order::check(one, &values)?;
            sweep::check(one, &values, &replaces)
        });
        if with_them.is_ok() {
            return Ok(());
        }
    }
    Err(violation)
}
