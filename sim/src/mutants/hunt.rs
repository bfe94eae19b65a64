//! Runs seeds against one mistake until one of them fails, and makes the failing plan small.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::catalog::Mutant;
use super::tree::CHOICE;
use crate::farm::{Farm, Job};
use crate::plan::Plan;
use crate::run::{Failure, Outcome};
use crate::shrink::{SMALL, shrink};
use crate::world::Mode;

/// Seeds with which the copy without a mistake must pass, before anything else is believed.
pub const CLEAN_SEEDS: u64 = 64;
/// Real time that one shrinking may take.
pub const SHRINK_WITHIN: Duration = Duration::from_secs(60);
/// How often a shrunk plan is run again. It must fail each time.
pub const REPLAYS: usize = 10;
/// A checker that gives up says so. That is no answer, and no kill.
const GIVEN_UP: &str = "too long to be checked";

/// Runs the copy of the sources.
#[derive(Clone, Debug)]
pub struct Hunter {
    /// With the copy's program, and no mistake chosen.
    clean: Farm,
    /// Seeds that each mistake gets.
    seeds: u64,
}

/// What became of one mistake.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// Its part of the product.
    pub area: String,
    /// The mode it was looked for in.
    pub mode: Mode,
    /// How it was found; `None`: it survived.
    pub kill: Option<Kill>,
    /// Seeds whose histories no checker judged.
    pub undecided: u64,
    /// Seeds that fail without the mistake too, and so say nothing of it.
    pub unsound: Vec<u64>,
    /// The small plan, where it was asked for.
    pub shrunk: Option<Small>,
}

/// How a mistake was found.
#[derive(Clone, Debug, Serialize)]
pub struct Kill {
    /// Seeds that it took: the failing one is the last of them.
    pub seeds: u64,
    /// The seed that failed.
    pub seed: u64,
    /// What was violated.
    pub kind: String,
    /// What happened.
    pub sentence: String,
}

/// What is left of a failing plan.
#[derive(Clone, Debug, Serialize)]
pub struct Small {
    /// Faults left.
    pub faults: usize,
    /// Operations left.
    pub ops: usize,
    /// Runs that it took.
    pub runs: usize,
    /// Of [`REPLAYS`] runs of it, those that failed alike; 0 when it fails without the mistake too.
    pub replays: usize,
    /// The plan.
    #[serde(skip)]
    pub plan: Plan,
}

impl Hunter {
    /// With the copy's program; `workers` processes at a time.
    pub fn new(program: &Path, workers: Option<usize>, seeds: u64) -> Self {
        let mut clean = Farm::new(program);
        if let Some(workers) = workers {
            clean.workers = workers;
        }
        clean.env = vec![(CHOICE.to_owned(), String::new())];
        Self { clean, seeds }
    }

    /// Runs the first seeds without a mistake. Gives those that fail all the same.
    pub fn check_clean(&self, mode: Mode) -> io::Result<Vec<(u64, Failure)>> {
        let mut failed = Vec::new();
        let jobs = (0..CLEAN_SEEDS).map(|seed| Job::Seed(seed, mode));
        self.clean.run_all(jobs, |job, outcome| {
            failed.extend(real_failure(outcome).map(|failure| (job.seed(), failure)));
            true
        })?;
        failed.sort_by_key(|(seed, _)| *seed);
        Ok(failed)
    }

    /// Looks for one mistake.
    pub fn hunt(&self, mutant: &Mutant, shrinks: bool) -> io::Result<Verdict> {
        let farm = self.farm_of(mutant);
        let mut verdict = Verdict {
            name: mutant.name.clone(),
            area: mutant.area.clone(),
            mode: mutant.mode,
            kill: None,
            undecided: 0,
            unsound: Vec::new(),
            shrunk: None,
        };
        let mut next = 0;
        while let Some((seed, failure)) = self.first_failure(&farm, mutant.mode, next, &mut verdict)? {
            // Whatever fails without the mistake as well is another one's, of the product or of the simulator.
            let innocent = self.clean.run_one(Job::Seed(seed, mutant.mode), false)?;
            if innocent.failure.is_some() {
                verdict.unsound.push(seed);
                next = seed + 1;
                continue;
            }
            let Failure { kind, sentence, .. } = failure;
            verdict.kill = Some(Kill { seeds: seed + 1, seed, kind, sentence });
            if shrinks {
                verdict.shrunk = self.small(&farm, Job::Seed(seed, mutant.mode).plan())?;
            }
            break;
        }
        Ok(verdict)
    }

    fn farm_of(&self, mutant: &Mutant) -> Farm {
        Farm { env: vec![(CHOICE.to_owned(), mutant.name.clone())], ..self.clean.clone() }
    }

    /// The lowest seed from `next` on that fails. Several run at a time: those below it were begun before it, and have
    /// ended too.
    fn first_failure(
        &self,
        farm: &Farm,
        mode: Mode,
        next: u64,
        verdict: &mut Verdict,
    ) -> io::Result<Option<(u64, Failure)>> {
        let mut first: Option<(u64, Failure)> = None;
        let undecided = &mut verdict.undecided;
        let jobs = (next..self.seeds).map(|seed| Job::Seed(seed, mode));
        farm.run_all(jobs, |job, outcome| {
            *undecided += u64::from(has_given_up(&outcome));
            if let Some(failure) = real_failure(outcome)
                && first.as_ref().is_none_or(|(seed, _)| job.seed() < *seed)
            {
                first = Some((job.seed(), failure));
            }
            first.is_none()
        })?;
        Ok(first)
    }

    fn small(&self, farm: &Farm, plan: Plan) -> io::Result<Option<Small>> {
        let Some(shrunk) = shrink(farm, plan, SHRINK_WITHIN)? else { return Ok(None) };
        let mut replays = 0;
        let again = std::iter::repeat_n(Job::Plan(Box::new(shrunk.plan.clone())), REPLAYS);
        farm.run_all(again, |_, outcome| {
            replays +=
                usize::from(outcome.failure.is_some_and(|failure| failure.kind == shrunk.failure.kind));
            true
        })?;
        // It may have another seed, which says nothing of the mistake if it fails without it too.
        let innocent = self.clean.run_one(Job::Plan(Box::new(shrunk.plan.clone())), false)?;
        Ok(Some(Small {
            faults: shrunk.plan.faults.len(),
            ops: shrunk.plan.ops.len(),
            runs: shrunk.runs,
            replays: if innocent.failure.is_none() { replays } else { 0 },
            plan: shrunk.plan,
        }))
    }
}

fn has_given_up(outcome: &Outcome) -> bool {
    outcome.failure.as_ref().is_some_and(|failure| failure.sentence.contains(GIVEN_UP))
}

fn real_failure(outcome: Outcome) -> Option<Failure> {
    if has_given_up(&outcome) { None } else { outcome.failure }
}

/// What all verdicts add up to, against what was promised.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Mistakes looked for.
    pub mutants: usize,
    /// Found.
    pub killed: usize,
    /// Half of those that were found took so many seeds at most. 0: none was found.
    pub seeds_median: u64,
    /// Plans that were shrunk.
    pub shrunk: usize,
    /// Of them, those with at most 3 faults and 6 operations that failed in every replay.
    pub small: usize,
}

/// Half of the mistakes must be found within so many seeds.
const MEDIAN_MAX: u64 = 4;

impl Summary {
    /// Adds up.
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut seeds: Vec<u64> = verdicts.iter().filter_map(|v| Some(v.kill.as_ref()?.seeds)).collect();
        seeds.sort_unstable();
        let shrunk: Vec<&Small> = verdicts.iter().filter_map(|verdict| verdict.shrunk.as_ref()).collect();
        let is_small =
            |small: &&&Small| small.faults <= SMALL.0 && small.ops <= SMALL.1 && small.replays == REPLAYS;
        Self {
            mutants: verdicts.len(),
            killed: seeds.len(),
            seeds_median: seeds.get(seeds.len().saturating_sub(1) / 2).copied().unwrap_or(0),
            shrunk: shrunk.len(),
            small: shrunk.iter().filter(is_small).count(),
        }
    }

    /// Whether every promise is kept.
    pub fn is_kept(&self) -> bool {
        self.killed == self.mutants && self.seeds_median <= MEDIAN_MAX && 10 * self.small >= 9 * self.shrunk
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mutants, killed, seeds_median, shrunk, small } = self;
        write!(
            f,
            "{killed} of {mutants} killed (bar: all); median {seeds_median} seeds (bar: {MEDIAN_MAX})"
        )?;
        if *shrunk > 0 {
            write!(
                f,
                "; {small} of {shrunk} shrunk to {} faults and {} operations that fail {REPLAYS} times of {REPLAYS} (bar: 90 %)",
                SMALL.0, SMALL.1
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(seeds: Option<u64>) -> Verdict {
        let kill = |seeds| Kill { seeds, seed: seeds - 1, kind: String::new(), sentence: String::new() };
        Verdict {
            name: String::new(),
            area: String::new(),
            mode: Mode::Direct,
            kill: seeds.map(kill),
            undecided: 0,
            unsound: Vec::new(),
            shrunk: None,
        }
    }

    #[test]
    fn the_bars_are_judged() {
        let sum = |seeds: &[Option<u64>]| Summary::of(&seeds.iter().map(|s| verdict(*s)).collect::<Vec<_>>());
        let kept = sum(&[Some(1), Some(4), Some(200)]);
        assert_eq!((kept.killed, kept.seeds_median, kept.is_kept()), (3, 4, true));
        assert!(!sum(&[Some(1), None]).is_kept());
        assert!(!sum(&[Some(5), Some(5), Some(1)]).is_kept());
        assert_eq!(sum(&[None]).seeds_median, 0);
    }
}
