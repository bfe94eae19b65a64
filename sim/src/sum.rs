//! What many runs add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::reach::Reach;
use crate::run::Outcome;

/// What all runs add up to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// How many.
    pub runs: u64,
    /// Simulated milliseconds.
    pub sim_ms: u64,
    /// Processor microseconds.
    pub cpu_us: u64,
    /// Operations asked for.
    pub ops: usize,
    /// Those with an answer that tells what became of them.
    pub settled: usize,
    /// The slowest recovery.
    pub recovery_ms: u64,
    /// For each kind of fault: in how many runs it had an effect, and how often in all.
    pub fired: BTreeMap<String, (u64, u64)>,
    /// Points of the product's code, and the runs that reached them.
    pub reach: Reach,
    /// Seeds that failed: how, and a sentence.
    pub failures: BTreeMap<u64, (String, String)>,
    /// Seeds whose two runs gave different traces.
    pub different: Vec<u64>,
    /// Of those of which the other run is not there yet.
    hashes: BTreeMap<u64, String>,
}

impl Sum {
    /// One more run. `twice`: each seed comes two times.
    pub fn add(&mut self, seed: u64, outcome: Outcome, twice: bool) {
        self.runs += 1;
        self.sim_ms += outcome.sim_ms;
        self.cpu_us += outcome.cpu_us;
        self.ops += outcome.ops;
        self.settled += outcome.settled;
        self.recovery_ms = self.recovery_ms.max(outcome.recovery_ms);
        for (kind, times) in outcome.fired {
            let fired = self.fired.entry(kind).or_default();
            *fired = (fired.0 + 1, fired.1 + times);
        }
        self.reach.note(seed, outcome.reached);
        if let Some(failure) = outcome.failure {
            self.failures.insert(seed, (failure.kind, failure.sentence));
        }
        if twice {
            match self.hashes.remove(&seed) {
                Some(hash) if hash != outcome.hash => self.different.push(seed),
                Some(_) => {}
                None => drop(self.hashes.insert(seed, outcome.hash)),
            }
        }
    }

    /// Whether there was nothing wrong.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.different.is_empty()
    }

    /// Simulated seconds for one second of a processor.
    pub fn speed(&self) -> f64 {
        self.sim_ms as f64 * 1e3 / (self.cpu_us as f64).max(1.0)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simulated = Duration::from_millis(self.sim_ms);
        writeln!(
            f,
            "{} runs, {} failures, {} different traces; {:.1} simulated hours, {:.0} simulated s per processor s",
            self.runs,
            self.failures.len(),
            self.different.len(),
            simulated.as_secs_f64() / 3600.0,
            self.speed(),
        )?;
        writeln!(
            f,
            "{} operations, {} with an answer; slowest recovery {} ms",
            self.ops, self.settled, self.recovery_ms
        )?;
        writeln!(f, "faults that had an effect: in so many runs, so often")?;
        for (kind, (runs, times)) in &self.fired {
            writeln!(f, "  {kind:<26} {runs:>8} {times:>12}")?;
        }
        for (seed, (kind, sentence)) in &self.failures {
            writeln!(f, "seed {seed}: {kind}: {}", sentence.lines().next().unwrap_or_default())?;
        }
        for seed in &self.different {
            writeln!(f, "seed {seed}: two runs gave different traces: something is not simulated")?;
        }
        Ok(())
    }
}
