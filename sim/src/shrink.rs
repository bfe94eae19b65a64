//! Makes a failing plan small: takes away faults, operations, clients, keys, nodes and time, as long as it fails alike.
//!
//! It works because the choices of a run depend on what they are about, not on how many were made before: without a
//! fault, the rest of the plan goes on as it did. Where a failure hangs on a coincidence, what is left must coincide
//! again: so smaller plans are also tried with other seeds and moments.

use std::io;
use std::time::{Duration, Instant};

use crate::farm::{Farm, Job};
use crate::plan::Plan;
use crate::random::Random;
use crate::run::Failure;

/// Most faults, and operations, of a plan that a person takes in at once.
pub const SMALL: (usize, usize) = (3, 6);
/// Smaller plans with another seed that pass, one after another, before it is given up to find one that fails; of a plan
/// that is not [`SMALL`] as many as there is time for.
const MISSES: usize = 150;
/// Before single faults and operations are taken away, some more of such plans are tried: each that fails saves many.
const MISSES_EARLY: usize = 40;
/// How much longer than the plan's own run a smaller one's may take: in a loop that never ends there is nothing to see.
const RUN_FACTOR: u32 = 4;
/// An operation, tried at another moment, is moved so far at most.
const MOVED_MS: u64 = 20;
/// Seeds that are tried: they are read and typed by people.
const SEEDS: u64 = 1_000_000;

/// A smaller plan.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// It fails.
    pub plan: Plan,
    /// In this way.
    pub failure: Failure,
    /// Runs that it took to find it.
    pub runs: usize,
}

/// Shrinks for at most `limit` of real time. `None`: the plan does not fail.
pub fn shrink(farm: &Farm, plan: Plan, limit: Duration) -> io::Result<Option<Shrunk>> {
    let began = Instant::now();
    let outcome = farm.run_one(Job::Plan(Box::new(plan.clone())), false)?;
    let Some(failure) = outcome.failure else { return Ok(None) };
    let mut farm = farm.clone();
    if !failure.is_out_of_time() {
        let seconds = u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let seconds = seconds.saturating_mul(RUN_FACTOR);
        farm.run_seconds_max = farm.run_seconds_max.min(seconds);
    }
    let random = Random::new(plan.seed, "shrink");
    let mut search = Search { farm: &farm, best: plan, failure, runs: 1, end: began + limit, random };
    search.all()?;
    Ok(Some(Shrunk { plan: search.best, failure: search.failure, runs: search.runs }))
}

/// Less is smaller. What a person has to take in counts first.
fn size(plan: &Plan) -> (usize, usize, usize, usize, usize, u64) {
    let parts = plan.faults.len() + plan.ops.len();
    (parts, plan.faults.len(), plan.keys, plan.clients, plan.nodes, plan.time_ms)
}

fn is_small(plan: &Plan) -> bool {
    plan.faults.len() <= SMALL.0 && plan.ops.len() <= SMALL.1
}

struct Search<'f> {
    farm: &'f Farm,
    best: Plan,
    failure: Failure,
    runs: usize,
    end: Instant,
    random: Random,
}

impl Search<'_> {
    fn all(&mut self) -> io::Result<()> {
        while !self.is_over() {
            let before = size(&self.best);
            self.drop_faults(8)?;
            self.drop_ops(8)?;
            self.simplify()?;
            while self.with_another_seed(MISSES_EARLY)? {}
            self.drop_faults(usize::MAX)?;
            self.drop_ops(usize::MAX)?;
            if size(&self.best) < before {
                continue;
            }
            let misses = if is_small(&self.best) { MISSES } else { usize::MAX };
            if !self.with_another_seed(misses)? {
                break;
            }
        }
        self.plain()
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Takes the first of the candidates that fails as the plan does. They run side by side.
    fn take_first(&mut self, candidates: impl Iterator<Item = Plan> + Send) -> io::Result<bool> {
        let mut found: Option<(Plan, Failure)> = None;
        let (kind, end) = (self.failure.kind.clone(), self.end);
        let mut runs = 0;
        let jobs = candidates.filter(|plan| plan.check().is_ok()).map(|plan| Job::Plan(Box::new(plan)));
        self.farm.run_all(jobs, |job, outcome| {
            runs += 1;
            if let (Some(failure), Job::Plan(plan), None) = (outcome.failure, job, &found)
                && failure.kind == kind
            {
                found = Some(((**plan).clone(), failure));
            }
            found.is_none() && Instant::now() < end
        })?;
        self.runs += runs;
        let is_found = found.is_some();
        if let Some((plan, failure)) = found {
            (self.best, self.failure) = (plan, failure);
        }
        Ok(is_found)
    }

    fn drop_faults(&mut self, parts_max: usize) -> io::Result<()> {
        self.drop_parts(
            parts_max,
            |plan| plan.faults.len(),
            |plan, from, to| drop(plan.faults.drain(from..to)),
        )
    }

    fn drop_ops(&mut self, parts_max: usize) -> io::Result<()> {
        self.drop_parts(parts_max, |plan| plan.ops.len(), |plan, from, to| drop(plan.ops.drain(from..to)))
    }

    /// Larger parts first, then smaller ones; until there are more than `parts_max`, or they are single ones.
    fn drop_parts(
        &mut self,
        parts_max: usize,
        count: impl Fn(&Plan) -> usize,
        drop_part: impl Fn(&mut Plan, usize, usize) + Sync,
    ) -> io::Result<()> {
        let mut part = count(&self.best);
        while part > 0 && !self.is_over() {
            let total = count(&self.best);
            let parts = total.div_ceil(part);
            if parts > parts_max {
                break;
            }
            let whole = self.best.clone();
            let candidates = (0..parts).map(|number| {
                let mut plan = whole.clone();
                drop_part(&mut plan, number * part, ((number + 1) * part).min(total));
                plan
            });
            if self.take_first(candidates)? {
                part = part.min(count(&self.best));
            } else {
                part = if part == 1 { 0 } else { part.div_ceil(2) };
            }
        }
        Ok(())
    }

    /// A smaller plan with another seed, unless so many of them pass.
    fn with_another_seed(&mut self, misses: usize) -> io::Result<bool> {
        if self.is_over() || self.best.faults.is_empty() && self.best.ops.is_empty() {
            return Ok(false);
        }
        let random = self.random.fork(&format!("after {} runs", self.runs));
        let best = self.best.clone();
        self.take_first((0..misses).map(|number| smaller(&best, random.fork(&format!("try {number}")))))
    }

    /// What there is to take away beside faults and operations.
    fn simplify(&mut self) -> io::Result<()> {
        self.one_by_one(|best| {
            let last = best.faults.iter().map(|fault| fault.at_ms + fault.lasts_ms);
            let last = last.chain(best.ops.iter().map(|op| op.at_ms + 500)).max().unwrap_or(0);
            vec![Plan { time_ms: last.min(best.time_ms), ..best.clone() }]
        })?;
        self.one_by_one(|best| [1, 2, 3, 5, 10].map(|keys| with_keys(best, keys)).to_vec())?;
        self.one_by_one(|best| (1..best.clients).map(|clients| with_clients(best, clients)).collect())?;
        self.one_by_one(|best| (3..best.nodes).map(|nodes| Plan { nodes, ..best.clone() }).collect())
    }

    /// What a reader need not wonder about.
    fn plain(&mut self) -> io::Result<()> {
        self.one_by_one(|best| vec![Plan { jitter_ms: 0, ..best.clone() }])?;
        self.one_by_one(|best| vec![Plan { latency_ms: 1, ..best.clone() }])?;
        self.one_by_one(|best| vec![Plan { doubled_percent: 0, ..best.clone() }])?;
        self.one_by_one(|best| vec![Plan { browsers: 0, ..best.clone() }])
    }

    /// Takes the first of the candidates that are not what there is.
    fn one_by_one(&mut self, candidates: impl Fn(&Plan) -> Vec<Plan>) -> io::Result<()> {
        let best = self.best.clone();
        let candidates = candidates(&best).into_iter().filter(|plan| *plan != best);
        if !self.is_over() {
            self.take_first(candidates)?;
        }
        Ok(())
    }
}

fn with_keys(plan: &Plan, keys: usize) -> Plan {
    let mut plan = plan.clone();
    plan.keys = keys.min(plan.keys);
    plan.ops.iter_mut().for_each(|op| op.key %= plan.keys);
    plan
}

/// Faults of the clients that are gone make it a plan that cannot be.
fn with_clients(plan: &Plan, clients: usize) -> Plan {
    let mut plan = plan.clone();
    plan.clients = clients;
    plan.browsers = plan.browsers.min(clients);
    plan.ops.iter_mut().for_each(|op| op.client %= clients);
    plan
}

/// A smaller plan with another seed; also at other moments, and on fewer keys.
fn smaller(plan: &Plan, mut random: Random) -> Plan {
    let mut plan = plan.clone();
    let (faults, ops) = (plan.faults.len(), plan.ops.len());
    if ops == 0 || faults > 0 && random.one_in(2) {
        thin(&mut plan.faults, &mut random);
    }
    if ops > 0 && (plan.faults.len() == faults || random.one_in(2)) {
        thin(&mut plan.ops, &mut random);
    }
    plan.seed = random.below(SEEDS);
    if random.one_in(4) {
        plan = with_keys(&plan, 1 + random.index(plan.keys));
    }
    if random.one_in(2) {
        for op in &mut plan.ops {
            if random.one_in(4) {
                op.at_ms = (op.at_ms + random.below(2 * MOVED_MS)).saturating_sub(MOVED_MS);
            }
        }
        plan.ops.sort_by_key(|op| op.at_ms);
    }
    plan
}

/// Takes away one at least: one, or some fraction; side by side, or here and there.
fn thin<T>(parts: &mut Vec<T>, random: &mut Random) {
    let total = parts.len();
    let most = (total / random.pick(&[1, 2, 4, total])).max(1);
    let gone = 1 + random.index(most);
    if random.one_in(2) {
        let from = random.index(total - gone + 1);
        parts.drain(from..from + gone);
    } else {
        (0..gone).for_each(|_| drop(parts.remove(random.index(parts.len()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Mode;

    #[test]
    fn what_is_tried_is_smaller_and_can_be_run() {
        for seed in 0..200 {
            let plan = Plan::random(seed, Mode::Direct);
            let next = smaller(&plan, Random::new(seed, "test"));
            assert!(next.faults.len() + next.ops.len() < plan.faults.len() + plan.ops.len(), "seed {seed}");
            assert!(next.ops.is_sorted_by_key(|op| op.at_ms), "seed {seed}");
            next.check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            for keys in 1..4 {
                with_keys(&plan, keys).check().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        }
    }

    #[test]
    fn the_last_part_can_be_taken_away() {
        for seed in 0..50 {
            let mut parts = vec![seed];
            thin(&mut parts, &mut Random::new(seed, "test"));
            assert!(parts.is_empty());
        }
    }

    #[test]
    fn operations_of_clients_that_are_gone_are_made_by_others() {
        let plan = Plan { faults: Vec::new(), ..Plan::random(2, Mode::Direct) };
        assert!(plan.clients > 1);
        let next = with_clients(&plan, 1);
        next.check().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(next.ops.len(), plan.ops.len());
    }
}
