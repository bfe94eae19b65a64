//! The order of everything: terms, ballots, versions.

use alloc::string::String;
use core::fmt::{self, Write as _};
use core::str::FromStr;

use crate::error::Invalid;
use crate::ids::NodeId;

/// Counts the changes of one partition's replica list. A term carries it, so a new config outranks everything older.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ConfigVersion(pub u64);

/// A partition's write-leadership, ordered by config, then round, then node.
///
/// Never used again after a restart of its node: whoever comes back prepares a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term {
    /// The replica list that its majorities are of.
    pub config: ConfigVersion,
    /// Rises with every takeover.
    pub round: u64,
    /// Who leads in it.
    pub node: NodeId,
}

impl Term {
    /// Below every term that anyone leads in.
    pub const ZERO: Self = Self { config: ConfigVersion(0), round: 0, node: NodeId(0) };

    /// The lowest term of `node` in `config` that outranks `self`.
    pub fn next(self, config: ConfigVersion, node: NodeId) -> Self {
        if config > self.config {
            Self { config, round: 1, node }
        } else {
            Self { config: self.config, round: self.round + 1, node }
        }
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{:x}", self.config.0, self.round, self.node.0)
    }
}

/// One proposal: unique, because a leader never gives a sequence number twice within its term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    /// The leadership that made it.
    pub term: Term,
    /// Counts proposals within the term, over all keys of the partition, from 1.
    pub seq: u64,
}

impl Ballot {
    /// Below every proposal: what a key has before its first write.
    pub const ZERO: Self = Self { term: Term::ZERO, seq: 0 };
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.term, self.seq)
    }
}

/// Which write a record is of: the ballot at which it was first decided. It never changes when a later leader
/// completes the record under a higher ballot. Users see its text: opaque, totally ordered per key, the ETag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub Ballot);

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{:?}", self.0)
    }
}

impl fmt::Display for Version {
    /// `config-round-seq-node` in hex without leading zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ballot { term, seq } = self.0;
        write!(f, "{:x}-{:x}-{:x}-{:x}", term.config.0, term.round, seq, term.node.0)
    }
}

impl Version {
    /// Its text.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(48);
        write!(text, "{self}").expect("writing to a String cannot fail");
        text
    }
}

impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WHAT: Invalid = Invalid::new("not a version: pass one exactly as it was given to you");
        // Only the canonical text is accepted, so that equal versions have equal texts.
        let number = |part: Option<&str>, digits: usize| -> Result<u128, Invalid> {
            let part = part.ok_or(WHAT)?;
            let plain = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if part.is_empty() || part.len() > digits || !plain || (part.len() > 1 && part.starts_with('0')) {
                return Err(WHAT);
            }
            u128::from_str_radix(part, 16).map_err(|_| WHAT)
        };
        let narrow = |value: u128| u64::try_from(value).map_err(|_| WHAT);
        let mut parts = text.split('-');
        let config = ConfigVersion(narrow(number(parts.next(), 16)?)?);
        let round = narrow(number(parts.next(), 16)?)?;
        let seq = narrow(number(parts.next(), 16)?)?;
        let node = NodeId(number(parts.next(), 32)?);
        if parts.next().is_some() {
            return Err(WHAT);
        }
        Ok(Self(Ballot { term: Term { config, round, node }, seq }))
    }
}
