//! The contract on the embedded registry, and what can happen to its file only.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use node::env::real::RealAmbient;
use node::registry::LayoutWrite;
use node::registry::embedded::EmbeddedStore;
use node::registry::store::{RegistryStore, Revision, StoreError};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::suite::{Pair, SOON, layout, registry, see};

fn open(path: &Path) -> Arc<dyn RegistryStore> {
    Arc::new(EmbeddedStore::open(path, Arc::new(RealAmbient)).unwrap())
}

async fn start() -> (TempDir, Pair) {
    let folder = TempDir::new().unwrap();
    let pair = Pair { one: open(folder.path()), two: open(folder.path()) };
    (folder, pair)
}

contract_suite!(start);

#[tokio::test]
async fn a_damaged_file_is_named_and_a_good_one_taken_up() {
    let (folder, pair) = start().await;
    let registry = registry(&pair.one);
    let LayoutWrite::Done(_) = registry.create_layout(&layout(1, "a")).await.unwrap() else { panic!() };
    see(&registry, "the layout", SOON, |view| view.layout.is_some()).await;
    let file = folder.path().join("registry.json");
    let good = std::fs::read(&file).unwrap();
    for bad in [&good[..good.len() / 2], b"", b"{}"] {
        std::fs::write(&file, bad).unwrap();
        let Err(StoreError::Refused(why)) = pair.two.put("/x", "1", None).await else {
            panic!("a damaged file was written over")
        };
        assert!(why.contains("registry.json is damaged"), "{why}");
        assert_eq!(std::fs::read(&file).unwrap(), bad, "a damaged file was changed");
    }
    let (view, _) = see(&registry, "the outage", SOON, |view| !view.connected).await;
    assert!(view.layout.is_some());
    std::fs::write(&file, good).unwrap();
    see(&registry, "the end of the outage", SOON, |view| view.connected).await;
}

#[tokio::test]
async fn a_process_that_holds_the_lock_for_ever_hangs_nobody() {
    let (folder, pair) = start().await;
    let revision = pair.one.put("/x", "1", None).await.unwrap();
    let held = std::fs::OpenOptions::new().write(true).open(folder.path().join("registry.lock")).unwrap();
    held.lock().unwrap();
    let began = Instant::now();
    let Err(StoreError::Unreachable(why)) = pair.one.put("/x", "2", None).await else { panic!() };
    assert!(why.contains("registry.lock") && began.elapsed() < Duration::from_secs(4), "{why}");
    assert_eq!(pair.two.get("/x").await.unwrap().unwrap().revision, revision, "reading needs no lock");
    drop(held);
    pair.one.put("/x", "3", None).await.unwrap();
}

/// Not a test by itself: the process that `killed_at_any_moment` kills.
#[tokio::test]
async fn writer_to_be_killed() {
    let Ok(folder) = std::env::var("HOLDFAST_TEST_REGISTRY") else { return };
    let store = open(Path::new(&folder));
    let lease = store.grant_lease(Duration::from_secs(60)).await.unwrap();
    let filling = "x".repeat(100_000);
    for n in 0u64.. {
        let revision = store.put("/acknowledged", &format!("{n} {filling}"), Some(lease)).await.unwrap();
        println!("acknowledged {}", revision.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut floor = Revision(0);
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["embedded::writer_to_be_killed", "--exact", "--nocapture"])
            .env("HOLDFAST_TEST_REGISTRY", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = lines.filter_map(|line| {
            let line = line.ok()?;
            line.rsplit_once("acknowledged ").map(|(_, number)| number.parse::<u64>().unwrap())
        });
        // A different moment each time, spread over the few milliseconds that one write takes.
        let first = acknowledged.next().unwrap();
        tokio::time::sleep(Duration::from_micros(700 * round)).await;
        child.kill().unwrap();
        let last = Revision(acknowledged.last().unwrap_or(first));
        child.wait().unwrap();
        assert!(last > floor);
        let entry = store.get("/acknowledged").await.unwrap().unwrap();
        // One more may have been made whose answer nobody read.
        assert!(
            entry.revision == last || entry.revision == last.next(),
            "{:?} after {last:?}",
            entry.revision
        );
        let began = Instant::now();
        floor = store.put("/other", "1", None).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "the lock outlived its holder");
    }
}
