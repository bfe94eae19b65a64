//! `sim replay`, `sim plan` and `sim shrink`.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::{Done, explore, farm};
use crate::farm::Job;
use crate::plan::Plan;
use crate::report;
use crate::shrink::shrink;
use crate::world::Mode;

/// `replay`.
#[derive(Args)]
pub(super) struct Replay {
    /// The plan file.
    plan: PathBuf,
    /// Write a page of the run that any browser shows, without a network.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Write the record of the run as JSON.
    #[arg(long)]
    record: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self) -> Done {
        let plan = Plan::read(&self.plan)?;
        let outcome = farm(Some(1))?.run_one(Job::Plan(Box::new(plan)), true)?;
        if let Some(record) = &outcome.record {
            if let Some(path) = &self.html {
                fs::write(path, report::render(record))?;
                println!("the page is {}", path.display());
            }
            if let Some(path) = &self.record {
                fs::write(path, record.to_json())?;
            }
        }
        if outcome.record.is_none() && (self.html.is_some() || self.record.is_some()) {
            println!("there is no page and no record: the run was ended before they could be made");
        }
        let Some(failure) = outcome.failure else {
            println!("passed: {} operations, trace {}", outcome.ops, outcome.hash);
            return Ok(true);
        };
        failure.lines.iter().for_each(|line| println!("{line}"));
        println!("{}: {}", failure.kind, failure.sentence);
        Ok(false)
    }
}

/// `plan`.
#[derive(Args)]
pub(super) struct WritePlan {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// `direct` or `wire`.
    #[arg(long, value_parser = explore::mode, default_value = "direct")]
    mode: Mode,
}

impl WritePlan {
    pub(super) fn run(self) -> Done {
        println!("{}", Plan::random(self.seed, self.mode).text());
        Ok(true)
    }
}

/// `shrink`.
#[derive(Args)]
pub(super) struct ShrinkPlan {
    /// The plan file.
    plan: PathBuf,
    /// Where the smaller plan is written.
    #[arg(long, short)]
    output: PathBuf,
    /// Real seconds that it may take.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl ShrinkPlan {
    pub(super) fn run(self) -> Done {
        let plan = Plan::read(&self.plan)?;
        let farm = farm(None)?;
        let Some(shrunk) = shrink(&farm, plan, std::time::Duration::from_secs(self.seconds))? else {
            println!("the plan does not fail: there is nothing to shrink");
            return Ok(false);
        };
        fs::write(&self.output, shrunk.plan.text())?;
        println!(
            "{} faults and {} operations are left, after {} runs: {}",
            shrunk.plan.faults.len(),
            shrunk.plan.ops.len(),
            shrunk.runs,
            shrunk.failure.sentence.lines().next().unwrap_or_default()
        );
        Ok(true)
    }
}
