//! What a point costs that was reached before: a loop of additions with one and without.

#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock; core itself has none")]

use std::hint::black_box;
use std::time::Instant;

use holdfast_core::sometimes;

const ROUNDS: u64 = 400_000_000;

fn ns_each(work: impl Fn(u64) -> u64) -> f64 {
    let began = Instant::now();
    let mut sum = 0_u64;
    for round in 0..ROUNDS {
        sum = black_box(work(black_box(sum ^ round)));
    }
    black_box(sum);
    began.elapsed().as_secs_f64() * 1e9 / ROUNDS as f64
}

fn main() {
    // Twice, the second counts: the first one warms the processor up.
    for _ in 0..2 {
        let without = ns_each(|value| value + 1);
        let with = ns_each(|value| {
            sometimes!("the bench goes round");
            value + 1
        });
        println!("{without:.3} ns without, {with:.3} ns with: a point costs {:.3} ns", with - without);
    }
}
