//! How long the linearizability check takes, and whether it agrees with the search that tries every order:
//! `cargo run --release -p sim --example checker_speed -- 1000000`.

use std::time::Instant;

use sim::checks::{bench_history, check, differential};

const RUNS: usize = 9;
/// Small histories that are compared, if it is not said.
const HISTORIES: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let histories = std::env::args().nth(1).map_or(Ok(HISTORIES), |count| count.parse::<u64>())?;
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
    let compared = differential(0, histories)?;
    println!(
        "{histories} small histories against the search: {:.1} s, {compared:?}",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
