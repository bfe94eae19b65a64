//! Every state that a power loss can leave of every short workload opens with all that was answered, and nothing else.
//!
//! Source: issue 3, bar 9. Workloads are all logs of up to some operations (promise, accept, overwrite, tombstone), all
//! sequences of fewer steps (those, checkpoint, close and open), and some longer ones. In each, the power is lost before
//! every operation of the last step on the disk, and after it. Where up to [`PARTS_MAX`] parts were not synced (sectors,
//! lengths, names; a run of zero sectors is one part), every subset of them is a state; where more, every prefix, every one
//! missing, every one alone, and some subsets as a seed says. States with the same bytes are opened once.
//!
//! Of logs, every subset is looked at. `HOLDFAST_CRASH_LOG`, `HOLDFAST_CRASH_STEPS` and `HOLDFAST_CRASH_PARTS` ask for more
//! or less.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash_disk;
mod store_fixture;
mod store_model;

use std::collections::HashMap;
use std::env::var;
use std::time::Instant;

use crash_disk::{CrashPoint, Random, SimDisk, new_disk};
use store_model::{Model, Step, Working, compare, compare_digests, open};

/// All workloads of so many steps, unless the environment says otherwise.
const STEPS_MAX: usize = 2;
/// All logs of so many operations.
const LOG_MAX: usize = 6;
/// What is an operation of the log, and nothing else.
const OF_THE_LOG: [Step; 4] = [Step::Promise, Step::Small, Step::Large, Step::Delete];
/// All subsets of so many parts.
const PARTS_MAX: usize = 9;
/// Longer workloads, of up to six steps.
const LONGER: u64 = 24;
/// Random subsets where there are more parts.
const SUBSETS: u64 = 24;
/// One state in so many is written to, loses power and is opened once more.
const GOES_ON_ONE_IN: u64 = 16;

#[derive(Default)]
struct Tally {
    workloads: u64,
    points: u64,
    states: u64,
    opened: u64,
    exhaustive: u64,
    /// What each disk was found to hold.
    seen: HashMap<[u8; 32], Model>,
}

fn from_env(name: &str, default: usize) -> usize {
    var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn every_crash_state_of_short_workloads_is_recovered() {
    let steps_max = from_env("HOLDFAST_CRASH_STEPS", STEPS_MAX);
    let parts_max = from_env("HOLDFAST_CRASH_PARTS", PARTS_MAX);
    let log_max = from_env("HOLDFAST_CRASH_LOG", LOG_MAX);
    let mut workloads = all_of(&Step::ALL, steps_max);
    let logs = all_of(&OF_THE_LOG, log_max);
    workloads.extend(logs.into_iter().filter(|steps| steps.len() > steps_max));
    let mut random = Random::new(1, "longer workloads");
    for _ in 0..LONGER {
        let steps = 3 + random.index(4);
        workloads.push((0..steps).map(|_| random.pick(&Step::ALL)).collect());
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for steps in &workloads {
        runtime.block_on(look_at(steps, parts_max, &mut tally));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} workloads, {} moments ({} with every subset), {} crash states, {} different ones opened, in {seconds:.1} s: \
         {:.0} a second",
        tally.workloads,
        tally.points,
        tally.exhaustive,
        tally.states,
        tally.opened,
        tally.opened as f64 / seconds
    );
    assert!(tally.opened > 1000, "the states were looked at");
}

/// All sequences of up to `most` steps.
fn all_of(kinds: &[Step], most: usize) -> Vec<Vec<Step>> {
    let mut workloads = vec![Vec::new()];
    let mut begin = 0;
    for _ in 0..most {
        let end = workloads.len();
        for at in begin..end {
            for step in kinds {
                workloads.push([&workloads[at][..], &[*step]].concat());
            }
        }
        begin = end;
    }
    workloads
}

/// All crash states of the last step.
async fn look_at(steps: &[Step], parts_max: usize, tally: &mut Tally) {
    let models = Model::all(steps);
    let disk = new_disk(1);
    // Before the first open nothing is there at all.
    if steps.is_empty() {
        disk.record();
    }
    let mut working = Working::new(disk.clone()).await.unwrap();
    for (nth, step) in steps.iter().enumerate() {
        if nth + 1 == steps.len() {
            disk.record();
        }
        working.step(*step, nth).await.unwrap_or_else(|error| panic!("{steps:?}: {error}"));
    }
    tally.workloads += 1;
    let points = disk.recorded();
    let answered = points.len() - 1;
    for (at, point) in points.iter().enumerate() {
        let before = models.len().saturating_sub(2);
        // Until the last step was answered, both without and with it are right.
        let allowed = &models[if at == answered { models.len() - 1 } else { before }..];
        tally.points += 1;
        if parts_max >= PARTS_MAX && !steps.is_empty() && steps.iter().all(|step| OF_THE_LOG.contains(step)) {
            assert!(point.parts() <= parts_max, "{steps:?}: every subset of {} parts", point.parts());
        }
        tally.exhaustive += u64::from(point.parts() <= parts_max);
        for (nth, disk) in states(point, parts_max).enumerate() {
            tally.states += 1;
            let fingerprint = *disk.fingerprint().as_bytes();
            let looked = match tally.seen.get(&fingerprint) {
                Some(held) if allowed.contains(held) => continue,
                Some(held) => Err(format!("it holds what another workload has left: {held:?}")),
                None => {
                    tally.opened += 1;
                    recovers(&disk, allowed, tally.opened.is_multiple_of(GOES_ON_ONE_IN)).await
                }
            };
            let held = looked.unwrap_or_else(|why| {
                panic!("{steps:?}, power lost before: {point} ({at}), state {nth}: {why}")
            });
            tally.seen.insert(fingerprint, held);
        }
    }
}

/// The states that a power loss can leave at a moment, and the one that a killed process leaves.
fn states(point: &CrashPoint, parts_max: usize) -> impl Iterator<Item = SimDisk> {
    let parts = point.parts();
    let mut kept: Vec<Vec<bool>> = Vec::new();
    if parts <= parts_max {
        kept.extend((0..1_u64 << parts).map(|bits| (0..parts).map(|part| bits >> part & 1 == 1).collect()));
    } else {
        kept.extend((0..=parts).map(|end| (0..parts).map(|part| part < end).collect()));
        kept.extend((0..parts).map(|one| (0..parts).map(|part| part != one).collect()));
        kept.extend((0..parts).map(|one| (0..parts).map(|part| part == one).collect()));
        let mut random = Random::new(parts as u64, "crash states");
        for percent in (0..SUBSETS).map(|nth| [20, 50, 80][(nth % 3) as usize]) {
            kept.push((0..parts).map(|_| random.percent(percent)).collect());
        }
    }
    let lost = kept.into_iter().map(|kept| point.power_loss(|part| kept[part]));
    std::iter::once(point.kill()).chain(lost)
}

/// The store opens and says one of these: which.
async fn recovers(disk: &SimDisk, allowed: &[Model], goes_on: bool) -> Result<Model, String> {
    let store = open(disk).await.map_err(|error| format!("it does not open: {error}"))?;
    let wrong = |model: &Model| compare(&store, model).and_then(|()| compare_digests(&store, model)).err();
    let Some(model) = allowed.iter().find(|model| wrong(model).is_none()) else {
        return Err(format!("{:?}", allowed.iter().map(wrong).collect::<Vec<_>>()));
    };
    drop(store);
    let held = model.clone();
    if goes_on {
        // Over a torn tail, and once more without power.
        let mut model = model.clone();
        let failed = |what: &dyn std::fmt::Debug| format!("when it goes on: {what:?}");
        disk.process_kill();
        let mut working = Working::new(disk.clone()).await.map_err(|error| failed(&error))?;
        for (nth, step) in [(10, Step::Small), (11, Step::Large)] {
            working.step(step, nth).await.map_err(|error| failed(&error))?;
            model = model.after(step, nth);
        }
        disk.power_loss();
        let store = open(disk).await.map_err(|error| failed(&error))?;
        compare(&store, &model)
            .and_then(|()| compare_digests(&store, &model))
            .map_err(|wrong| failed(&wrong))?;
    }
    Ok(held)
}
