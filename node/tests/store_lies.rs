//! A disk that lies, rots and fails: the store says what is right, or says that something is wrong.
//!
//! Source: issue 3, bar 9 ("recovery right or a named error, never silent"). Each fault strikes each operation of some
//! workloads, one at a time. Only what one replica cannot know is let pass, and only that: a disk that acknowledged a write of
//! the log and never made it leaves the log as it was before, which looks like a power loss at that time
//! (`docs/storage.md`). Then what the store says must be exactly what it said then.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash_disk;
mod store_fixture;
mod store_model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crash_disk::{DiskFault, FileKind, SimDisk, Strike, new_disk};
use node::store::ReplicaOp;
use store_fixture::{ballot, name, object, stored};
use store_model::{Model, Step, Working, Wrong, compare, open};

use Step::{Checkpoint, Delete, Large, Promise, Reopen, Small};

const WORKLOADS: [&[Step]; 5] = [
    &[Small, Large, Delete, Promise],
    &[Small, Large, Checkpoint, Small, Promise],
    &[Large, Small, Checkpoint, Delete, Large, Checkpoint],
    &[Promise, Large, Checkpoint, Small, Checkpoint, Large],
    &[Small, Reopen, Large, Checkpoint, Small, Reopen],
];

/// What came of a workload under a fault.
#[derive(Default)]
struct Tally {
    runs: u64,
    named_at_work: u64,
    named_at_start: u64,
    named_when_read: u64,
    /// The log's end is gone and nobody can know.
    vanished: u64,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn each_fault_at_each_operation_is_answered_right_or_named() {
    let began = Instant::now();
    let mut total = 0;
    for fault in DiskFault::ALL {
        let mut tally = Tally::default();
        for (number, steps) in WORKLOADS.iter().enumerate() {
            for files in FileKind::EACH {
                for nth in 0.. {
                    let seed = number as u64 * 1000 + nth;
                    let disk = new_disk(seed);
                    disk.set_fault(fault, Some(Strike::nth(nth, files)));
                    let outcome = runtime().block_on(run(&disk, steps, fault, files, &mut tally));
                    let struck = outcome.unwrap_or_else(|why| {
                        panic!("{fault:?} of operation {nth} on {files:?}, {steps:?}: {why}")
                    });
                    // It would have come after the end: so would every later one.
                    if !struck {
                        break;
                    }
                    tally.runs += 1;
                }
            }
        }
        let Tally { runs, named_at_work, named_at_start, named_when_read, vanished } = tally;
        println!(
            "{}: {runs} runs; named: {named_at_work} at work, {named_at_start} at the next start, {named_when_read} when \
             read; {vanished} log ends gone unknown",
            fault.name()
        );
        assert!(runs > 0, "{fault:?} never struck");
        total += runs;
    }
    println!("{total} runs in {:.1} s", began.elapsed().as_secs_f64());
}

/// Works until the fault shows or the work is done, loses power, and looks at what is there. Answers whether the fault
/// struck.
async fn run(
    disk: &SimDisk,
    steps: &[Step],
    fault: DiskFault,
    files: FileKind,
    tally: &mut Tally,
) -> Result<bool, String> {
    let models = Model::all(steps);
    let mut answered = 0;
    // The last step that left nothing in the log.
    let mut checkpointed = 0;
    let mut working = match Working::new(disk.clone()).await {
        Ok(working) => Some(working),
        Err(_) => {
            tally.named_at_work += 1;
            None
        }
    };
    if let Some(working) = &mut working {
        for (nth, step) in steps.iter().enumerate() {
            if working.step(*step, nth).await.is_err() {
                tally.named_at_work += 1;
                break;
            }
            answered = nth + 1;
            if matches!(step, Checkpoint | Reopen) {
                checkpointed = answered;
            }
            match compare(&working.store, &models[answered]) {
                Ok(()) => {}
                Err(Wrong::Named(_)) => tally.named_when_read += 1,
                Err(Wrong::Silent(why)) => return Err(format!("after step {nth}: {why}")),
            }
        }
    }
    drop(working);
    disk.power_loss();
    // Rot and errors of reads may wait for the next start; all else is over.
    let late = matches!(fault, DiskFault::Rot | DiskFault::ReadError);
    let mut struck = !disk.faults().contains_key(&fault);
    if !late {
        disk.heal();
    }
    let opened = open(disk).await;
    struck |= late && !disk.faults().contains_key(&fault);
    let store = match opened {
        Ok(store) => store,
        Err(error) if !struck => return Err(format!("it does not open, and nothing was wrong: {error}")),
        Err(_) => {
            tally.named_at_start += 1;
            return Ok(true);
        }
    };
    // The step that failed may have happened.
    let later = &models[answered..models.len().min(answered + 2)];
    let wrongs: Vec<_> = later.iter().map_while(|model| compare(&store, model).err()).collect();
    if wrongs.len() < later.len() {
        return Ok(struck);
    }
    if wrongs.iter().any(|wrong| matches!(wrong, Wrong::Named(_))) {
        tally.named_when_read += 1;
        return Ok(struck);
    }
    let lies = matches!(fault, DiskFault::LostWrite | DiskFault::MisdirectedWrite | DiskFault::SyncLie);
    let earlier = &models[checkpointed..answered];
    if lies && files == FileKind::Log && earlier.iter().any(|model| compare(&store, model).is_ok()) {
        tally.vanished += 1;
        return Ok(struck);
    }
    Err(format!("after the next start: {wrongs:?}"))
}

/// Every byte that is not zero (of redb's file and its sums: many) rots, one at a time.
#[test]
fn rot_anywhere_at_rest_is_answered_right_or_named() {
    let began = Instant::now();
    let mut named = BTreeMap::<String, (u64, u64)>::new();
    for steps in [&[Small, Large, Promise, Checkpoint, Delete, Large][..], &[Small, Large, Reopen]] {
        let model = Model::all(steps).pop().unwrap();
        let disk = new_disk(1);
        runtime().block_on(async {
            let mut working = Working::new(disk.clone()).await.unwrap();
            for (nth, step) in steps.iter().enumerate() {
                working.step(*step, nth).await.unwrap();
            }
            drop(working);
            disk.process_kill();
        });
        let point = disk.crash_point("at rest");
        for (path, bytes) in disk.contents() {
            let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            // A prime, so that all columns of what is aligned are met.
            let step = if written.len() > 2000 { 17 } else { 1 };
            for at in written.into_iter().step_by(step) {
                let disk = point.kill();
                disk.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
                let looked = runtime().block_on(async {
                    match open(&disk).await {
                        Ok(store) => compare(&store, &model),
                        Err(error) => Err(Wrong::Named(error.to_string())),
                    }
                });
                let counts = named.entry(path.clone()).or_default();
                match looked {
                    Ok(()) => counts.0 += 1,
                    Err(Wrong::Named(_)) => counts.1 += 1,
                    Err(Wrong::Silent(why)) => panic!("{path}, byte {at}: {why}"),
                }
            }
        }
    }
    for (path, (right, named)) in named {
        println!("{path}: {right} right, {named} named");
    }
    println!("in {:.1} s", began.elapsed().as_secs_f64());
}

/// After a sync that failed the kernel takes the pages for clean: the next process reads them as if they were on the disk,
/// and no sync of its own writes them. What it believes must be there after a power loss all the same.
#[test]
fn what_a_failed_sync_left_is_not_believed() {
    let mut runs = 0;
    for (number, steps) in WORKLOADS.iter().enumerate() {
        for files in FileKind::EACH {
            for nth in 0.. {
                let disk = new_disk(number as u64 * 1000 + nth);
                disk.set_fault(DiskFault::SyncError, Some(Strike::nth(nth, files)));
                let outcome = runtime().block_on(go_on_after_a_failed_sync(&disk, steps));
                let struck =
                    outcome.unwrap_or_else(|why| panic!("sync {nth} of {files:?} fails, {steps:?}: {why}"));
                if !struck {
                    break;
                }
                runs += 1;
            }
        }
    }
    println!("{runs} runs");
    assert!(runs > 100, "{runs} syncs failed");
}

async fn go_on_after_a_failed_sync(disk: &SimDisk, steps: &[Step]) -> Result<bool, String> {
    let models = Model::all(steps);
    let mut answered = 0;
    if let Ok(mut working) = Working::new(disk.clone()).await {
        for (nth, step) in steps.iter().enumerate() {
            if working.step(*step, nth).await.is_err() {
                break;
            }
            answered = nth + 1;
        }
    }
    disk.process_kill();
    let struck = disk.faults().is_empty();
    disk.heal();
    let mut working =
        Working::new(disk.clone()).await.map_err(|error| format!("it does not open: {error}"))?;
    let maybe = &models[answered..models.len().min(answered + 2)];
    let Some(model) = maybe.iter().find(|model| compare(&working.store, model).is_ok()) else {
        return Err("the next process says something else".to_owned());
    };
    let mut model = model.clone();
    for (nth, step) in [(10, Small), (11, Checkpoint), (12, Large)] {
        working.step(step, nth).await.map_err(|error| format!("the next process: {error}"))?;
        model = model.after(step, nth);
    }
    disk.power_loss();
    let store = open(disk).await.map_err(|error| format!("it does not open after a power loss: {error}"))?;
    compare(&store, &model).map_err(|wrong| format!("after a power loss: {wrong:?}"))?;
    Ok(struck)
}

/// The same where redb's file grows: its new length is part of what the failed sync should have made durable.
#[test]
fn a_length_that_a_failed_sync_left_is_not_believed() {
    let accept = |key: u32| {
        let record = Arc::new(object(ballot(1, 1), vec![7; 60_000]));
        ReplicaOp::Accept { name: name(&format!("k{key}")), ballot: ballot(1, 1), record }
    };
    for files in [FileKind::Base, FileKind::Sums] {
        for nth in 0..40 {
            let disk = new_disk(nth);
            runtime().block_on(async {
                let store = open(&disk).await.unwrap();
                disk.set_fault(DiskFault::SyncError, Some(Strike::nth(nth, files)));
                for key in 0..100 {
                    stored(&store, accept(key)).await;
                }
                tokio::time::sleep(Duration::from_secs(8)).await;
                drop(store);
                disk.process_kill();
                disk.heal();
                let mut working = Working::new(disk.clone()).await.unwrap();
                working.step(Small, 10).await.unwrap();
                working.step(Checkpoint, 11).await.unwrap();
                drop(working);
                disk.power_loss();
                let store =
                    open(&disk).await.unwrap_or_else(|error| panic!("sync {nth} of {files:?}: {error}"));
                for key in 0..100 {
                    let found = store.read(&name(&format!("k{key}")), true);
                    assert!(matches!(found, Ok(Some(_))), "sync {nth} of {files:?}, k{key}: {found:?}");
                }
            });
        }
    }
}
