//! How long the linearizability check takes: `cargo run --release -p sim --example checker_speed`.

use std::time::Instant;

use sim::checks::{bench_history, check, differential};

const RUNS: usize = 9;
const HISTORIES: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for n in [1_000, 10_000, 100_000, 1_000_000] {
        let ops = bench_history(n);
        let mut took_ms: Vec<f64> = (0..RUNS)
            .map(|_| {
                let began = Instant::now();
                check(&ops).expect("the history was made from a register");
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        took_ms.sort_by(f64::total_cmp);
        println!(
            "{n:>9} operations on one key: median {:.2} ms, best {:.2} ms",
            took_ms[RUNS / 2],
            took_ms[0]
        );
    }
    let began = Instant::now();
    let compared = differential(0, HISTORIES)?;
    println!(
        "{HISTORIES} small histories against the search: {:.1} s, {compared:?}",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
