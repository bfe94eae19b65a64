//! `sim explore`.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::{Done, farm};
use crate::farm::Job;
use crate::sum::Sum;
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
    /// `direct` is several times as fast; `wire` has HTTP/2 and TCP; `mixed` is a tenth of wire.
    #[arg(long, value_enum, default_value = "direct")]
    mode: Modes,
    /// Run every seed in two processes, and compare their traces.
    #[arg(long)]
    twice: bool,
    /// Say which points of the product's code were reached, in how many runs.
    #[arg(long)]
    points: bool,
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

/// How true the network is, by seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Modes {
    Direct,
    Wire,
    Mixed,
}

impl Modes {
    fn job(self, seed: u64) -> Job {
        let wire = self == Self::Wire || (self == Self::Mixed && seed % 10 == 9);
        Job::Seed(seed, if wire { Mode::Wire } else { Mode::Direct })
    }
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
            .flat_map(|seed| std::iter::repeat_n(self.mode.job(seed), times))
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
            self.all || sum.is_good()
        })?;
        let sum = sum.into_inner().expect("nothing panics while it holds this");
        println!("{sum}in {:.1} s", began.elapsed().as_secs_f64());
        if self.points {
            print!("{}", sum.reach);
        }
        for seed in sum.failures.keys() {
            fs::create_dir_all(&self.keep)?;
            let plan = self.mode.job(*seed).plan();
            let mode = if plan.mode == Mode::Wire { "wire" } else { "direct" };
            let path = self.keep.join(format!("seed-{seed}-{mode}.json"));
            fs::write(&path, plan.text())?;
            println!("the plan of seed {seed} is in {0}: cargo run -p sim -- replay {0}", path.display());
        }
        Ok(sum.is_good())
    }
}
