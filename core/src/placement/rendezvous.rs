//! Rendezvous hashing: a stable, random-looking order of candidates for every partition.

use alloc::vec;
use alloc::vec::Vec;

use crate::ids::Partition;

/// One candidate's place in the order of every partition, from BLAKE3 of its name and the partition's number.
pub(super) struct Rank {
    /// Per partition about `-log2(uniform)`, with 24 binary digits after the point. The candidate with the smallest
    /// `cost / weight` wins: so each wins in proportion to its weight, and losing one candidate moves only what it won.
    costs: Vec<u32>,
}

impl Rank {
    /// `kind` keeps names of different kinds of things apart.
    pub(super) fn new(kind: &[u8], name: &[u8]) -> Self {
        const WORD: usize = size_of::<u64>();
        let mut words = vec![0; usize::from(Partition::COUNT) * WORD];
        // The hash's extended output has one word for each partition: reading it at the partition's offset is hashing
        // name and partition together, eight partitions for the price of one.
        blake3::Hasher::new().update(kind).update(&[0]).update(name).finalize_xof().fill(&mut words);
        let cost = |word: &[u8]| cost(u64::from_be_bytes(word.try_into().expect("chunks have WORD bytes")));
        Self { costs: words.chunks_exact(WORD).map(cost).collect() }
    }

    /// The unweighted cost for `partition`; small is preferred.
    pub(super) fn cost(&self, partition: Partition) -> u32 {
        self.costs[partition.index()]
    }
}

/// `-log2(uniform / 2^64)` in 24-bit fixed point, straight lines between powers of two (at most 0.09 off, which only
/// bends the odds slightly). Integers, so that it is the same on every machine and needs no float functions.
fn cost(uniform: u64) -> u32 {
    let uniform = uniform | 1;
    let zeros = uniform.leading_zeros();
    let fraction = u32::try_from((uniform << zeros << 1) >> 40).expect("64 bits shifted by 40 leave 24");
    ((zeros + 1) << 24) - fraction
}

#[cfg(test)]
mod tests {
    use super::cost;

    #[test]
    fn cost_is_the_negative_logarithm_at_powers_of_two_and_falls_between() {
        assert_eq!(cost(1 << 63), 1 << 24);
        assert_eq!(cost((1 << 62) | 1), 2 << 24);
        assert_eq!(cost(0), 64 << 24);
        assert_eq!(cost(u64::MAX), 1);
        assert_eq!(cost(3 << 62), (1 << 24) - (1 << 23));
    }
}
