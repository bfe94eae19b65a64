//! Makes a failing plan small: takes away faults, operations, clients, keys and time, as long as it fails alike.
//!
//! It works because the choices of a run depend on what they are about, not on how many were made before: without a
//! fault, the rest of the plan goes on as it did.

use std::io;
use std::time::{Duration, Instant};

use crate::farm::{Farm, Job};
use crate::plan::Plan;
use crate::run::Failure;

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
    let outcome = farm.run_one(Job::Plan(Box::new(plan.clone())), false)?;
    let Some(failure) = outcome.failure else { return Ok(None) };
    let mut search = Search { farm, best: plan, failure, runs: 1, end: Instant::now() + limit };
    loop {
        let before = size(&search.best);
        search.drop_faults()?;
        search.drop_ops()?;
        search.simplify()?;
        if size(&search.best) == before || search.is_over() {
            break;
        }
    }
    Ok(Some(Shrunk { plan: search.best, failure: search.failure, runs: search.runs }))
}

fn size(plan: &Plan) -> (usize, usize, usize, usize, u64) {
    (plan.faults.len(), plan.ops.len(), plan.clients, plan.nodes, plan.time_ms)
}

struct Search<'f> {
    farm: &'f Farm,
    best: Plan,
    failure: Failure,
    runs: usize,
    end: Instant,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Takes the first of the candidates that fails as the plan does. They run side by side.
    fn take_first(&mut self, candidates: Vec<Plan>) -> io::Result<bool> {
        let mut found: Option<(Plan, Failure)> = None;
        let (kind, end) = (self.failure.kind.clone(), self.end);
        let mut runs = 0;
        let jobs = candidates.into_iter().map(|plan| Job::Plan(Box::new(plan)));
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

    fn drop_faults(&mut self) -> io::Result<()> {
        self.drop_parts(|plan| plan.faults.len(), |plan, from, to| drop(plan.faults.drain(from..to)))
    }

    fn drop_ops(&mut self) -> io::Result<()> {
        self.drop_parts(|plan| plan.ops.len(), |plan, from, to| drop(plan.ops.drain(from..to)))
    }

    /// Larger parts first, then smaller ones, then one by one.
    fn drop_parts(
        &mut self,
        count: impl Fn(&Plan) -> usize,
        drop_part: impl Fn(&mut Plan, usize, usize),
    ) -> io::Result<()> {
        let mut part = count(&self.best);
        while part > 0 && !self.is_over() {
            let total = count(&self.best);
            let candidates = (0..total.div_ceil(part))
                .map(|number| {
                    let mut plan = self.best.clone();
                    drop_part(&mut plan, number * part, ((number + 1) * part).min(total));
                    plan
                })
                .collect();
            if !self.take_first(candidates)? {
                part = if part == 1 { 0 } else { part.div_ceil(2) };
            } else {
                part = part.min(count(&self.best));
            }
        }
        Ok(())
    }

    fn simplify(&mut self) -> io::Result<()> {
        let mut candidates = Vec::new();
        let last = self.best.faults.iter().map(|fault| fault.at_ms + fault.lasts_ms);
        let last = last.chain(self.best.ops.iter().map(|op| op.at_ms + 500)).max().unwrap_or(0);
        if last < self.best.time_ms {
            candidates.push(Plan { time_ms: last, ..self.best.clone() });
        }
        let clients = self.best.ops.iter().map(|op| op.client + 1).max().unwrap_or(1);
        let named = self.best.faults.iter().flat_map(|fault| fault.fault.hosts());
        let named: Vec<String> = named.collect();
        if clients < self.best.clients
            && named
                .iter()
                .all(|name| self.best.client_names()[..clients].contains(name) || !name.starts_with('c'))
        {
            candidates.push(Plan { clients, ..self.best.clone() });
        }
        if self.best.jitter_ms > 0 {
            candidates.push(Plan { jitter_ms: 0, ..self.best.clone() });
        }
        for candidate in candidates {
            if self.is_over() {
                break;
            }
            self.take_first(vec![candidate])?;
        }
        Ok(())
    }
}
