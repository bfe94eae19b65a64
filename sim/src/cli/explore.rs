//! `sim explore`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Done, farm};
use crate::farm::Job;
use crate::run::Outcome;
use crate::world::Mode;

/// `explore`.
#[derive(Args)]
pub(super) struct Explore {
    /// Which seeds: `from..to`, or how many from 0.
    #[arg(long, value_parser = seeds, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Stop after so many minutes, whatever is left.
    #[arg(long)]
    minutes: Option<f64>,
    /// `direct` is several times as fast; `wire` has HTTP/2 and TCP.
    #[arg(long, value_parser = mode, default_value = "direct")]
    mode: Mode,
    /// Run every seed in two processes, and compare their traces.
    #[arg(long)]
    twice: bool,
    /// Go on after the first failure.
    #[arg(long)]
    all: bool,
    /// Where the plans of failing seeds are written.
    #[arg(long, default_value = "target/sim-failures")]
    keep: PathBuf,
    /// Processes at a time: as many as processors, if it is not said.
    #[arg(long)]
    workers: Option<usize>,
}

pub(super) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        text.replace('_', "")
            .parse::<u64>()
            .map_err(|_| format!("{text:?} is not a number: give seeds as 1000..2000"))
    };
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => 0..number(text)?,
    };
    if range.is_empty() { Err(format!("{text:?} holds no seed")) } else { Ok(range) }
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "direct" => Ok(Mode::Direct),
        "wire" => Ok(Mode::Wire),
        _ => Err(format!("{text:?} is no mode: direct or wire")),
    }
}

/// What all runs add up to.
#[derive(Default)]
struct Sum {
    runs: u64,
    sim_ms: u64,
    cpu_us: u64,
    ops: usize,
    settled: usize,
    recovery_ms: u64,
    fired: BTreeMap<String, (u64, u64)>,
    failures: BTreeMap<u64, (String, String)>,
    different: Vec<u64>,
    /// Of those of which the other run is not there yet.
    hashes: BTreeMap<u64, String>,
}

impl Explore {
    pub(super) fn run(self) -> Done {
        let farm = farm(self.workers)?;
        let began = Instant::now();
        let limit = self.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
        let times = if self.twice { 2 } else { 1 };
        let jobs = self
            .seeds
            .clone()
            .flat_map(|seed| std::iter::repeat_n(Job::Seed(seed, self.mode), times))
            .take_while(move |_| limit.is_none_or(|limit| began.elapsed() < limit));
        let sum = Mutex::new(Sum::default());
        farm.run_all(jobs, |job, outcome| {
            let Job::Seed(seed, _) = job else { return true };
            let mut sum = sum.lock().expect("nothing panics while it holds this");
            sum.add(*seed, outcome, self.twice);
            if sum.runs % 1000 == 0 {
                eprintln!(
                    "{} runs, {} failures, {:.0} s",
                    sum.runs,
                    sum.failures.len(),
                    began.elapsed().as_secs_f64()
                );
            }
            self.all || (sum.failures.is_empty() && sum.different.is_empty())
        })?;
        let sum = sum.into_inner().expect("nothing panics while it holds this");
        sum.print(began.elapsed());
        for seed in sum.failures.keys() {
            fs::create_dir_all(&self.keep)?;
            let path = self.keep.join(format!(
                "seed-{seed}-{}.json",
                if self.mode == Mode::Wire { "wire" } else { "direct" }
            ));
            fs::write(&path, Job::Seed(*seed, self.mode).plan().text())?;
            println!("the plan of seed {seed} is in {0}: cargo run -p sim -- replay {0}", path.display());
        }
        Ok(sum.failures.is_empty() && sum.different.is_empty())
    }
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome, twice: bool) {
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

    fn print(&self, took: Duration) {
        let sim_s = self.sim_ms as f64 / 1e3;
        println!(
            "{} runs, {} failures, {} different traces; {:.1} simulated hours in {:.1} s, {:.0} simulated s per processor s",
            self.runs,
            self.failures.len(),
            self.different.len(),
            sim_s / 3600.0,
            took.as_secs_f64(),
            sim_s / (self.cpu_us as f64 / 1e6).max(1e-9),
        );
        println!(
            "{} operations, {} with an answer; slowest recovery {} ms",
            self.ops, self.settled, self.recovery_ms
        );
        println!("faults that had an effect, in how many runs and how often:");
        for (kind, (runs, times)) in &self.fired {
            println!("  {kind:<18} {runs:>8} {times:>12}");
        }
        for (seed, (kind, sentence)) in &self.failures {
            println!("seed {seed}: {kind}: {}", sentence.lines().next().unwrap_or_default());
        }
        for seed in &self.different {
            println!("seed {seed}: two runs gave different traces: something is not simulated");
        }
    }
}
