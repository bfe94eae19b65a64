//! A long history, to measure the check with.

use super::made::{Shape, history};
use crate::history::Op;
use crate::random::Random;

/// `n` operations on one hot key, possible, of every sort: each overlaps with about ten others, one mutation in twenty
/// has no answer, one read in ten has no text.
pub fn bench_history(n: usize) -> Vec<Op> {
    let shape =
        Shape { ops: n, overlap: 5, reads: 45, unknown: 5, without_text: 10, conditional: 40, deletes: 20 };
    history(&mut Random::new(n as u64, "bench"), shape)
}
