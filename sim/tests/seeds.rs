//! Random plans: whatever happens, what clients saw is linearizable, and after the faults every client succeeds again.
//! The same seed gives the same trace in another process. A cluster that does not sync is found out.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::Path;

use sim::Mode;
use sim::disk::{DiskFault, FileKind};
use sim::farm::{Farm, Job};
use sim::faults::Fault;
use sim::plan::{Plan, PlannedFault};
use sim::sum::Sum;

/// Seeds of one `cargo test`, in each mode.
const SEEDS_DIRECT: u64 = 464;
const SEEDS_WIRE: u64 = 36;
/// The first ones of each run in two processes, and their traces are compared.
const COMPARED: u64 = 24;
/// The canary must be found within so many seeds.
const CANARY_SEEDS: u64 = 16;

fn farm() -> Farm {
    Farm::new(Path::new(env!("CARGO_BIN_EXE_sim")))
}

/// The same seed gives the same trace in another process, and no seed fails.
fn sweep(seeds: u64, mode: Mode, name: &str) {
    let times = |seed| if seed < COMPARED { 2 } else { 1 };
    let jobs = (0..seeds).flat_map(|seed| std::iter::repeat_n(Job::Seed(seed, mode), times(seed)));
    let mut sum = Sum::default();
    let adding = |job: &Job, outcome| {
        sum.add(job.seed(), outcome, true);
        true
    };
    farm().run_all(jobs, adding).unwrap();
    println!("{sum}");
    let seed = sum.failures.keys().chain(&sum.different).next();
    assert!(
        sum.is_good(),
        "{sum}\nto look at it: cargo run --release -p sim -- plan --seed {0} --mode {name} > plan.json; cargo run --release -p sim -- replay plan.json",
        seed.unwrap()
    );
}

#[test]
fn random_plans_in_direct_mode() {
    sweep(SEEDS_DIRECT, Mode::Direct, "direct");
}

#[test]
fn random_plans_in_wire_mode() {
    sweep(SEEDS_WIRE, Mode::Wire, "wire");
}

/// Each is the plan of a bug that was found and mended.
#[test]
fn what_failed_once_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let plan = Plan::read(&path).unwrap();
        let outcome = farm().run_one(Job::Plan(Box::new(plan)), true).unwrap();
        if let Some(failure) = outcome.failure {
            panic!(
                "{}: {}: {}\n{}",
                path.display(),
                failure.kind,
                failure.sentence,
                failure.lines.join("\n")
            );
        }
    }
}

/// The canary: nodes that do not sync, and a power loss of all. Whoever finds nothing here finds nothing anywhere.
#[test]
fn nodes_that_do_not_sync_are_found_out() {
    let plan = |seed| {
        let mut plan = Plan::random(seed, Mode::Direct);
        plan.fsync = false;
        let at_ms = plan.time_ms / 2;
        plan.faults.push(PlannedFault { at_ms, lasts_ms: 100, fault: Fault::PowerLossAll });
        Job::Plan(Box::new(plan))
    };
    let mut killed_by = None;
    let until_found = |job: &Job, outcome: sim::run::Outcome| {
        if let Some(failure) = outcome.failure {
            killed_by.get_or_insert((job.seed(), failure.kind));
        }
        killed_by.is_none()
    };
    farm().run_all((0..CANARY_SEEDS).map(plan), until_found).unwrap();
    println!("the canary: {killed_by:?}");
    assert!(
        killed_by.is_some(),
        "nodes that do not sync passed {CANARY_SEEDS} seeds: the simulator is blind"
    );
}

#[test]
fn bad_plans_are_refused_with_the_reason() {
    let refused = |text: &str, why: &str| {
        let error = Plan::parse(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("no json", "no plan");
    refused("{}", "no plan");
    refused(r#"{"format": 2}"#, "format 2");
    let mut plan = Plan::random(1, Mode::Direct);
    assert_eq!(Plan::parse(&plan.text()).unwrap(), plan);
    refused(&plan.text()[..200], "damaged");
    refused(&plan.text().replace("\"nodes\"", "\"knots\""), "knots");
    plan.nodes = 17;
    refused(&plan.text(), "17 nodes");
    plan.nodes = 3;
    plan.faults = vec![PlannedFault { at_ms: 0, lasts_ms: 1, fault: Fault::Kill { node: "n9".to_owned() } }];
    refused(&plan.text(), "n9");
    let rots = |node: &str| {
        let (fault, files) = (DiskFault::Rot, FileKind::Log);
        let fault = Fault::Disk { node: node.to_owned(), fault, files, one_in: 1 };
        PlannedFault { at_ms: 0, lasts_ms: 1, fault }
    };
    plan.faults = vec![rots("n0"), rots("n2")];
    refused(&plan.text(), "the disks of n0 and n2 destroy");
    plan.faults[0].lasts_ms = u64::MAX;
    refused(&plan.text(), "longer");
}
