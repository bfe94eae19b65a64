//! What a replica holds of a partition, in 16 bytes: two replicas with equal digests hold the same keys under the same
//! ballots.

use crate::term::Ballot;

/// The sum of a hash of every key with the ballot that is accepted for it, modulo 2^128. The order in which records came
/// does not matter, and one is replaced without looking at the others.
///
/// Two sets that differ by chance have one digest as rarely as 128 bits are guessed. Somebody who may write and can foresee
/// ballots could search for keys whose sum is a given one, while a replica is away: before clients that are not trusted may
/// write, the hash needs a key that is the cluster's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Digest(pub u128);

impl Digest {
    /// The key (`bucket 0x00 key`) had `old` and has `new` now.
    pub fn replace(&mut self, key: &[u8], old: Option<Ballot>, new: Ballot) {
        if let Some(old) = old {
            self.0 = self.0.wrapping_sub(hash(key, old));
        }
        self.0 = self.0.wrapping_add(hash(key, new));
    }
}

fn hash(key: &[u8], ballot: Ballot) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&ballot.term.config.0.to_be_bytes());
    hasher.update(&ballot.term.round.to_be_bytes());
    hasher.update(&ballot.term.node.to_bytes());
    hasher.update(&ballot.seq.to_be_bytes());
    hasher.update(key);
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::term::{ConfigVersion, Term};

    fn ballot(seq: u64) -> Ballot {
        Ballot { term: Term { config: ConfigVersion(1), round: 2, node: NodeId(3) }, seq }
    }

    #[test]
    fn only_what_is_held_counts() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.replace(b"b\0k", None, ballot(1));
        one.replace(b"b\0l", None, ballot(2));
        one.replace(b"b\0k", Some(ballot(1)), ballot(3));
        other.replace(b"b\0k", None, ballot(3));
        assert_ne!(one, other);
        other.replace(b"b\0l", None, ballot(2));
        assert_eq!(one, other);
        one.replace(b"b\0l", Some(ballot(2)), ballot(4));
        assert_ne!(one, other);
    }
}
