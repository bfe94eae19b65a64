//! Full disks, failing syncs, torn and damaged logs, wrong folders: each ends in the right answer or a named error.

#![allow(clippy::unwrap_used, reason = "a test")]

mod crash_disk;
mod store_fixture;

use std::time::Duration;

use crash_disk::{DiskFault, FileKind, SimDisk, Strike, env, new_disk};
use node::env::Blocking;
use node::store::{OpenError, ReplicaAnswer, ReplicaOp, ScanStart, Store, StoreError, StoreOptions};
use store_fixture::{accept, assert_holds, ballot, name, object, options, stored, term};

const WAL_1: &str = "wal/0000000000000001.log";
const WAL_2: &str = "wal/0000000000000002.log";

/// No checkpoint unless it is asked for by waiting.
fn large() -> StoreOptions {
    StoreOptions { checkpoint_log_bytes: 16 << 20, ..options() }
}

async fn open(disk: &SimDisk, options: StoreOptions) -> Result<Store, OpenError> {
    Store::open(&env(disk, 1, Blocking::InPlace), options).await
}

/// Opens, writes `keys` keys and dies without a checkpoint: all of it is in the log's first segment.
async fn written(keys: u64) -> SimDisk {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    for key in 0..keys {
        stored(&store, accept(&format!("k{key}"), ballot(1, 1))).await;
    }
    disk.power_loss();
    disk
}

/// As after some seconds without a write.
async fn checkpointed(store: &Store) {
    let before = store.stats().checkpoints;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.stats().checkpoints, before + 1);
    assert_eq!(store.stats().pending_log_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_torn_tail_is_the_clean_end_of_the_last_segment() {
    let end = frames_end(&written(5).await.contents()[WAL_1]);
    for (cut, shorter) in [1, 10, 23, 30, 100].into_iter().flat_map(|cut| [(cut, true), (cut, false)]) {
        let disk = written(5).await;
        // The file did not grow, or it had been filled before and the sectors that were written there are lost.
        disk.edit(WAL_1, |bytes| match shorter {
            true => bytes.truncate(end - cut),
            false => bytes[(end - cut) / 512 * 512..].fill(0),
        });
        let store = open(&disk, large()).await.unwrap();
        (0..4).for_each(|key| assert_holds(&store, &format!("k{key}"), ballot(1, 1)));
        assert_eq!(store.read(&name("k4"), true).unwrap(), None, "cut {cut}");
        // What is written over the torn tail is found again.
        stored(&store, accept("k5", ballot(1, 2))).await;
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        assert_holds(&store, "k5", ballot(1, 2));
    }
}

/// A power loss leaves sectors as they were or as they should be. Anything else was answered, and has changed since.
#[tokio::test(start_paused = true)]
async fn a_last_frame_that_has_changed_is_named() {
    let disk = written(5).await;
    let end = frames_end(&disk.contents()[WAL_1]);
    for back in [30, 100, 400, 800, 1100] {
        let disk = disk.crash_point("written").kill();
        disk.edit(WAL_1, |bytes| bytes[end - back] ^= 4);
        let error = open(&disk, large()).await.unwrap_err();
        assert!(error.to_string().contains("the last frame is not what was written"), "{back}: {error}");
    }
}

/// Where the zeros begin that the log is filled with ahead of its frames.
fn frames_end(segment: &[u8]) -> usize {
    segment.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test(start_paused = true)]
async fn a_bad_frame_before_a_good_one_is_named() {
    let disk = written(5).await;
    disk.edit(WAL_1, |bytes| {
        let middle = frames_end(bytes) / 2;
        bytes[middle] ^= 1;
    });
    let error = open(&disk, large()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("wal damaged at wal/0000000000000001.log offset "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_end_of_an_earlier_segment_is_named() {
    // Crashes after the checkpoint began its new segment, before redb has it.
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(&store, accept("k", ballot(1, 1))).await;
    let begun = disk.operations();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(disk.contents().contains_key(WAL_2));
    assert!(disk.operations() > begun);

    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(&store, accept("k", ballot(1, 1))).await;
    // The new segment takes create, cut, write, sync and folder sync; the next call would be redb's.
    disk.power_off_in(6);
    tokio::time::sleep(Duration::from_secs(10)).await;
    disk.process_kill();
    assert!(disk.contents().contains_key(WAL_1) && disk.contents().contains_key(WAL_2));
    disk.edit(WAL_1, |bytes| {
        let within = frames_end(bytes) - 100;
        bytes[within] ^= 1;
    });
    let error = open(&disk, large()).await.unwrap_err();
    assert!(error.to_string().contains("frames are missing at the end of the segment"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_or_file_is_named() {
    for (file, says) in [
        (WAL_1, "the segment is missing"),
        ("heads.redb", "heads.redb is missing"),
        ("identity", "identity is missing"),
    ] {
        let disk = written(2).await;
        disk.erase(file);
        let before = disk.contents();
        let error = open(&disk, large()).await.unwrap_err();
        assert!(error.to_string().contains(says), "{file}: {error}");
        if file != WAL_1 {
            assert_eq!(disk.contents(), before, "{file}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_new_bytes_and_still_reads() {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(&store, accept("before", ballot(1, 1))).await;
    disk.set_capacity(Some(disk.used() + 700));
    let large_body = ReplicaOp::Accept {
        name: name("large"),
        ballot: ballot(1, 2),
        record: object(ballot(1, 2), vec![7; 400_000]).into(),
    };
    let learn = ReplicaOp::Learn { name: name("before"), term: term(1), with_body: true };
    // Together in one commit: the one that needs no room, or little, still goes.
    let small = ReplicaOp::Accept {
        name: name("small"),
        ballot: ballot(1, 3),
        record: store_fixture::tombstone(ballot(1, 3)).into(),
    };
    let (refused, learnt, deleted) =
        tokio::join!(store.apply(large_body.clone()), store.apply(learn), store.apply(small));
    assert_eq!(refused, Err(StoreError::DiskFull));
    assert!(matches!(learnt, Ok(ReplicaAnswer::Learned(Some(_)))));
    assert_eq!(deleted, Ok(ReplicaAnswer::Stored));
    assert_holds(&store, "before", ballot(1, 1));
    assert_eq!(store.read(&name("large"), false).unwrap(), None);
    assert_eq!(store.failed(), None);
    assert!(store.stats().disk_full > 0);

    disk.set_capacity(None);
    stored(&store, large_body).await;
    disk.power_loss();
    let store = open(&disk, large()).await.unwrap();
    assert!(store.read(&name("large"), true).unwrap().is_some());
    assert!(store.read(&name("small"), true).unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_without_room_waits_for_it() {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(&store, accept("old", ballot(1, 1))).await;
    checkpointed(&store).await;
    for key in 0..300 {
        let name = name(&format!("k{key}"));
        let record = object(ballot(1, 1), vec![1; 6000]).into();
        stored(&store, ReplicaOp::Accept { name, ballot: ballot(1, 1), record }).await;
    }
    disk.set_capacity(Some(disk.used() + 100_000));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.stats().checkpoints, 1);
    assert!(store.stats().disk_full > 0);
    assert_eq!(store.failed(), None);
    // From memory, and from redb's file, which was opened anew.
    assert!(store.read(&name("k299"), true).unwrap().is_some());
    assert_holds(&store, "old", ballot(1, 1));
    stored(&store, accept("new", ballot(1, 1))).await;

    disk.set_capacity(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.stats().pending_log_bytes, 0);
    disk.power_loss();
    let store = open(&disk, large()).await.unwrap();
    assert!(store.read(&name("k299"), true).unwrap().is_some());
    assert_holds(&store, "new", ballot(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_all_service() {
    for files in [FileKind::Log, FileKind::Base] {
        let disk = new_disk(1);
        let store = open(&disk, large()).await.unwrap();
        stored(&store, accept("k", ballot(1, 1))).await;
        disk.set_fault(DiskFault::SyncError, Some(Strike::nth(0, files)));
        let (first, second) =
            tokio::join!(store.apply(accept("k", ballot(1, 2))), store.apply(accept("l", ballot(1, 3))));
        if files == FileKind::Log {
            assert!(matches!(first, Err(StoreError::Failed(_))), "{first:?}");
            assert!(matches!(second, Err(StoreError::Failed(_))), "{second:?}");
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(store.failed().is_some(), "{files:?}");
        assert!(matches!(store.apply(accept("m", ballot(1, 4))).await, Err(StoreError::Failed(_))));
        assert!(matches!(store.read(&name("k"), false), Err(StoreError::Failed(_))));
        assert!(matches!(store.close().await, Err(StoreError::Failed(_))));
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        assert!(store.read(&name("k"), true).unwrap().unwrap().0 >= ballot(1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_survives_a_crash_at_each_of_its_calls() {
    let mut calls = 0;
    loop {
        let disk = new_disk(calls);
        let store = open(&disk, large()).await.unwrap();
        for key in 0..20 {
            stored(&store, accept(&format!("k{key}"), ballot(1, 1))).await;
        }
        checkpointed(&store).await;
        for key in 10..30 {
            stored(&store, accept(&format!("k{key}"), ballot(2, 1))).await;
        }
        disk.power_off_in(calls + 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let ended = store.failed().is_none() && store.stats().checkpoints == 2;
        if calls % 2 == 0 {
            // Killed only, and started: what that shows must outlive the power loss that comes next.
            disk.process_kill();
            drop(open(&disk, large()).await.unwrap());
        }
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        for key in 0..30 {
            assert_holds(&store, &format!("k{key}"), ballot(if key < 10 { 1 } else { 2 }, 1));
        }
        assert_eq!(store.promised(name("k29").partition()), term(2));
        if ended && calls > 20 {
            break;
        }
        calls += 1;
        assert!(calls < 1000, "the checkpoint never ends");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_behind_is_durable_before_it_is_shown() {
    for seed in 0..20 {
        let disk = new_disk(seed);
        let store = open(&disk, large()).await.unwrap();
        // The log is filled ahead and written, and not synced.
        disk.power_off_in(3);
        assert!(matches!(store.apply(accept("k", ballot(1, 1))).await, Err(StoreError::Failed(_))));
        disk.process_kill();
        let store = open(&disk, large()).await.unwrap();
        assert_holds(&store, "k", ballot(1, 1));
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        assert_holds(&store, "k", ballot(1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_another_cluster_is_refused_unchanged() {
    let disk = written(2).await;
    let before = disk.contents();
    let error = open(&disk, StoreOptions { cluster: "other".to_owned(), ..large() }).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::OtherCluster { found, asked } if found == "test" && asked == "other")
    );
    assert!(error.to_string().contains("--cluster test"), "{error}");
    assert_eq!(disk.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_a_newer_format_is_refused_unchanged() {
    let disk = written(2).await;
    disk.edit("identity", |bytes| *bytes = b"format: 3\nsomething: else\n".to_vec());
    let before = disk.contents();
    let error = open(&disk, large()).await.unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 3, newest: 2 }), "{error}");
    assert_eq!(disk.contents(), before);
}

#[tokio::test(start_paused = true)]
async fn a_folder_in_use_is_refused_unchanged() {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(&store, accept("k", ballot(1, 1))).await;
    let before = disk.contents();
    assert!(matches!(open(&disk, large()).await, Err(OpenError::InUse)));
    assert_eq!(disk.contents(), before);
    store.close().await.unwrap();
    let again = open(&disk, large()).await.unwrap();
    assert_eq!(again.node_id(), store.node_id());
    assert_holds(&again, "k", ballot(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_rots_is_an_error_and_counted() {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    stored(
        &store,
        ReplicaOp::Accept {
            name: name("k"),
            ballot: ballot(1, 1),
            record: object(ballot(1, 1), b"precious bytes".to_vec()).into(),
        },
    )
    .await;
    let beside = object(ballot(1, 1), b"kept beside the head ".repeat(1000));
    stored(
        &store,
        ReplicaOp::Accept { name: name("l"), ballot: ballot(1, 1), record: beside.clone().into() },
    )
    .await;
    store.close().await.unwrap();
    // Before redb's blocks had checksums: those that an upgrade makes are of what it finds.
    make_format_1(&disk, &store);
    for wanted in [&b"precious bytes"[..], b"beside the head"] {
        disk.edit("heads.redb", |bytes| {
            let places: Vec<_> =
                (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect();
            assert!(!places.is_empty());
            places.into_iter().for_each(|at| bytes[at] ^= 1);
        });
    }
    let store = open(&disk, large()).await.unwrap();
    assert!(matches!(store.read(&name("k"), false), Err(StoreError::Integrity(_))));
    assert!(matches!(store.read(&name("l"), true), Err(StoreError::Integrity(_))));
    assert_eq!(store.read(&name("l"), false).unwrap(), Some((ballot(1, 1), beside.head())));
    assert!(matches!(store.apply(accept("k", ballot(1, 2))).await, Err(StoreError::Integrity(_))));
    assert_eq!(store.stats().integrity_errors, 3);
    assert_eq!(store.failed(), None);
}

/// Makes of a closed folder one as version 0.1.0 wrote them: without checksums of blocks and identity, and with a log of
/// format 1.
fn make_format_1(disk: &SimDisk, store: &Store) {
    assert!(disk.erase("heads.sums"));
    disk.edit("identity", |bytes| {
        *bytes = format!("format: 1\ncluster: test\nnode: {}\n", store.node_id()).into_bytes();
    });
    let log = disk.contents().into_keys().rfind(|path| path.starts_with("wal/")).unwrap();
    disk.edit(&log, |bytes| {
        bytes.truncate(64);
        bytes[4] = 1;
        let sum = blake3::hash(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.as_bytes()[..8]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_format_1_is_upgraded() {
    for power in 0..60 {
        let disk = new_disk(power);
        let store = open(&disk, large()).await.unwrap();
        stored(&store, accept("old", ballot(1, 1))).await;
        store.close().await.unwrap();
        make_format_1(&disk, &store);
        // The upgrade is interrupted anywhere, and made again.
        disk.power_off_in(power);
        let interrupted = open(&disk, large()).await.is_err();
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        assert_holds(&store, "old", ballot(1, 1));
        stored(&store, accept("new", ballot(1, 2))).await;
        disk.power_loss();
        let store = open(&disk, large()).await.unwrap();
        assert_holds(&store, "old", ballot(1, 1));
        assert_holds(&store, "new", ballot(1, 2));
        let identity = String::from_utf8(disk.contents()["identity"].clone()).unwrap();
        assert!(identity.starts_with("format: 2\n") && identity.contains("checksum: "), "{identity}");
        assert!(disk.contents().contains_key("heads.sums"));
        if !interrupted && power > 10 {
            return;
        }
    }
    panic!("the upgrade never ends");
}

/// A page of redb that leads to records must not make them look as if they had never been there.
#[tokio::test(start_paused = true)]
async fn a_block_that_rots_hides_no_record() {
    let disk = new_disk(1);
    let store = open(&disk, large()).await.unwrap();
    let key = |key: u32| format!("k{key:03}");
    for number in 0..300 {
        stored(&store, accept(&key(number), ballot(1, 1))).await;
    }
    store.close().await.unwrap();
    let blocks = disk.contents()["heads.redb"].len() / 4096;
    let (mut hidden, mut refused) = (0, 0);
    for block in 0..blocks {
        let bytes = &disk.contents()["heads.redb"][block * 4096..(block + 1) * 4096];
        let Some(within) = bytes.iter().position(|byte| *byte != 0) else { continue };
        let disk = disk.crash_point("closed").kill();
        disk.rot(FileKind::Base, Some(block * 4096 + within)).unwrap();
        let store = match open(&disk, large()).await {
            Ok(store) => store,
            Err(OpenError::Damaged(_)) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("block {block}: {error}"),
        };
        let mut here = 0;
        for number in 0..300 {
            match store.read(&name(&key(number)), true) {
                Ok(Some((found, _))) => assert_eq!(found, ballot(1, 1)),
                Ok(None) => panic!("block {block}: {} is hidden", key(number)),
                Err(StoreError::Integrity(_)) => here += 1,
                Err(error) => panic!("block {block}: {error}"),
            }
        }
        assert_eq!(store.failed(), None, "the others are served");
        let page = store.scan(&name("x").bucket, "", ScanStart::First, 1000);
        assert!(page.is_err() || page.unwrap().entries.len() == 300);
        if here > 0 {
            hidden += 1;
            assert!(store.stats().integrity_errors >= here);
        }
    }
    assert!(hidden > 10 && refused > 0, "{hidden} blocks with records, {refused} that are read at the start");
}
