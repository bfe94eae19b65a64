//! What the check says when what clients saw cannot be.

use std::fmt;

use crate::history::Op;

/// Operations that a violation names, at most.
pub const GUILTY_MAX: usize = 6;
/// A key with so many operations is printed whole; of a longer history only the guilty ones are.
const PRINTED_MAX: usize = 60;

/// What kind of promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// An answer does not fit its own question: a condition that failed though it held, a condition of "always" that
    /// failed, a swap that wrote the version it replaced.
    Contradiction,
    /// One write has two versions, or one version is of two writes.
    VersionReused,
    /// Something was seen that no operation can have written.
    NeverWritten,
    /// Something was seen whose writer was told that it did not happen.
    DidNotHappen,
    /// Something was seen before its writer asked for it.
    SeenTooEarly,
    /// An answer goes back behind an earlier one: a stale read, a lost write.
    WentBack,
    /// Two swaps replaced the same version, or a swap passed over a write: an update is lost.
    LostUpdate,
    /// The answers have an order, but it is not that of the versions, which must rise.
    VersionsFall,
    /// An operation took effect though its condition cannot have held.
    ConditionIgnored,
    /// A listing left out a key that was there all the time.
    LeftOut,
    /// Nobody can tell within bounds: too much is unknown. Make histories shorter.
    Undecided,
}

/// Why the answers on a key are impossible.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// What is wrong, in one English sentence.
    pub sentence: String,
    /// The operations that show it: indices into the history, rising, at most [`GUILTY_MAX`].
    pub guilty: Vec<usize>,
    /// Which promise is broken.
    pub kind: Kind,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?}: {} ({:?}, operations {:?})", self.key, self.sentence, self.kind, self.guilty)
    }
}

impl Violation {
    /// The sentence, and below it the operations of `ops`, the history that was checked: the guilty ones with an arrow,
    /// and all others on the key unless they are many.
    pub fn report(&self, ops: &[Op]) -> String {
        let of_key = || ops.iter().enumerate().filter(|(_, op)| op.key == self.key);
        let few = of_key().count() <= PRINTED_MAX;
        let mut report = format!("{self}\n");
        for (number, op) in of_key() {
            let guilty = self.guilty.contains(&number);
            if few || guilty {
                let mark = if guilty { "->" } else { "  " };
                report.push_str(&format!("  {mark} {number}: {op}\n"));
            }
        }
        report
    }
}
