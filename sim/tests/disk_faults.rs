//! Each fault of the simulated disk really happens, is counted when it bites, and leaves the draws of the others alone.
//!
//! Source: `docs/simulation.md`, "The disk".

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use node::env::{Disk, DiskFile, settle};
use sim::Random;
use sim::disk::{DiskFault, FileKind, Latency, SECTOR_BYTES, SimDisk, Strike};

const LOG: &str = "wal/1";
const BASE: &str = "heads.redb";

fn disk(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new("n0", Random::new(seed, "disk"), ());
    let attached = disk.attach();
    (disk, attached)
}

/// A file with these bytes, all of it synced.
fn file(disk: &Arc<dyn Disk>, path: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.open(path, true).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path.rsplit_once('/').map_or("", |(folder, _)| folder)).unwrap();
    file
}

fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
    disk.contents()[path].clone()
}

fn fired(disk: &SimDisk, name: &str) -> u64 {
    disk.fired().get(name).copied().unwrap_or_default()
}

fn errno(result: io::Result<()>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn a_power_loss_leaves_every_subset_of_sectors_lengths_and_names() {
    let mut kept = [[false; 2]; 4];
    for seed in 0..200 {
        let (disk, attached) = disk(seed);
        let file = file(&attached, LOG, &[1; 3 * SECTOR_BYTES]);
        file.write_at(0, &[2; 3 * SECTOR_BYTES]).unwrap();
        attached.open("wal/2", true).unwrap();
        disk.power_loss();
        let bytes = read(&disk, LOG);
        for (sector, kept) in bytes.chunks(SECTOR_BYTES).zip(&mut kept) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is written as a whole");
            kept[usize::from(sector[0] - 1)] = true;
        }
        kept[3][usize::from(disk.contents().contains_key("wal/2"))] = true;
        let torn = bytes[0] != bytes[SECTOR_BYTES] || bytes[0] != bytes[2 * SECTOR_BYTES];
        assert_eq!(fired(&disk, "torn-write"), u64::from(torn));
        assert_eq!(fired(&disk, "power-loss"), 1);
        assert_eq!(file.len().unwrap_err().raw_os_error(), Some(5), "the process is gone");
    }
    assert_eq!(kept, [[true; 2]; 4]);
}

#[test]
fn a_grown_file_may_be_left_with_zeros_or_short() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (disk, attached) = disk(seed);
        let file = file(&attached, LOG, &[1]);
        file.write_at(1, &[2; 1000]).unwrap();
        disk.power_loss();
        let bytes = read(&disk, LOG);
        lengths.insert((bytes.len(), bytes.last() == Some(&0)));
    }
    assert!(lengths.contains(&(1, false)) && lengths.contains(&(1001, true)), "{lengths:?}");
    assert!(lengths.contains(&(1001, false)), "{lengths:?}");
}

#[test]
fn a_killed_process_leaves_the_page_cache() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, b"old");
    file.write_at(0, b"new").unwrap();
    disk.process_kill();
    assert_eq!(read(&disk, LOG), b"new");
    assert_eq!(fired(&disk, "kill-kept-the-page-cache"), 1);
    assert!(attached.list("").is_err(), "its handles are dead");
    // What the page cache has is not on the platter.
    let lost = (0..50).any(|seed| {
        let (disk, attached) = self::disk(seed);
        let file = self::file(&attached, LOG, b"old");
        file.write_at(0, b"new").unwrap();
        disk.process_kill();
        disk.power_loss();
        read(&disk, LOG) == b"old"
    });
    assert!(lost);
}

#[test]
fn the_power_goes_at_the_nth_change() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, b"old");
    disk.power_off_in(2);
    file.write_at(0, b"one").unwrap();
    assert_eq!(errno(file.write_at(0, b"two")), Some(5));
    assert_eq!(errno(file.sync_data()), Some(5));
    assert_eq!(read(&disk, LOG), b"one");
    assert_eq!(fired(&disk, "torn-power"), 1);
    disk.power_on();
    file.sync_data().unwrap();
}

#[test]
fn a_bit_rots_where_it_is_read_and_stays_so() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, &[0; 100]);
    disk.set_fault(DiskFault::Rot, Some(Strike::nth(1, FileKind::Log)));
    let mut bytes = [0; 50];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 50]);
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    let rotten = bytes;
    disk.power_loss();
    assert_eq!(read(&disk, LOG)[..50], rotten, "it is sticky");
    assert_eq!(fired(&disk, "rot"), 1);
    assert!(disk.faults().is_empty(), "once is once");
}

#[test]
fn a_chosen_byte_rots_until_it_is_written() {
    let (disk, attached) = disk(1);
    let log = file(&attached, LOG, &[0; 100]);
    file(&attached, BASE, &[0; 10]);
    assert_eq!(disk.rot(FileKind::Log, Some(100)), None);
    assert_eq!(disk.rot(FileKind::Layout, None), None);
    assert_eq!(disk.rot(FileKind::Log, Some(7)), Some((LOG.to_owned(), 7)));
    assert_eq!(read(&disk, LOG)[7].count_ones(), 1);
    assert_eq!(read(&disk, BASE), [0; 10]);
    log.write_at(0, &[0; 100]).unwrap();
    assert_eq!(read(&disk, LOG), [0; 100]);
    let (path, at) = disk.rot(FileKind::Any, None).unwrap();
    assert_eq!(read(&disk, &path)[at].count_ones(), 1);
    assert_eq!(fired(&disk, "rot"), 2);
}

#[test]
fn a_lost_write_is_acknowledged_and_never_there() {
    let mut evicted = [false; 2];
    for seed in 0..20 {
        let (disk, attached) = disk(seed);
        let file = file(&attached, LOG, b"old");
        disk.set_fault(DiskFault::LostWrite, Some(Strike::nth(0, FileKind::Log)));
        file.write_at(0, b"new").unwrap();
        assert_eq!(read(&disk, LOG), b"new");
        assert_eq!(fired(&disk, "lost-write"), 0, "not yet");
        file.sync_data().unwrap();
        assert_eq!(fired(&disk, "lost-write"), 1);
        // Sometimes the page cache still has it, sometimes it is read from the platter.
        evicted[usize::from(read(&disk, LOG) == b"old")] = true;
        file.write_at(3, b"er").unwrap();
        file.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(read(&disk, LOG), b"older");
    }
    assert_eq!(evicted, [true; 2]);
}

#[test]
fn a_misdirected_write_overwrites_another_place() {
    let mut elsewhere = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let (disk, attached) = disk(seed);
        let log = file(&attached, LOG, &[1; 4 * SECTOR_BYTES]);
        file(&attached, BASE, &[1; 4 * SECTOR_BYTES]);
        disk.set_fault(DiskFault::MisdirectedWrite, Some(Strike::nth(0, FileKind::Log)));
        log.write_at(0, &[2; SECTOR_BYTES]).unwrap();
        log.sync_data().unwrap();
        disk.power_loss();
        assert_eq!(read(&disk, LOG)[..SECTOR_BYTES], [1; SECTOR_BYTES], "it is not where it belongs");
        for path in [LOG, BASE] {
            let bytes = read(&disk, path);
            assert_eq!(bytes.len(), 4 * SECTOR_BYTES);
            elsewhere.extend(bytes.iter().position(|byte| *byte == 2).map(|at| (path, at / SECTOR_BYTES)));
        }
        assert_eq!(fired(&disk, "misdirected-write"), 1);
    }
    assert_eq!(elsewhere.len(), 7, "every other place is met: {elsewhere:?}");
}

#[test]
fn a_failed_sync_marks_the_pages_clean() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, b"old");
    disk.set_fault(DiskFault::SyncError, Some(Strike::nth(0, FileKind::Log)));
    file.write_at(0, b"new").unwrap();
    assert_eq!(errno(file.sync_data()), Some(5));
    // The next one succeeds, and has nothing to do.
    file.sync_data().unwrap();
    assert_eq!(read(&disk, LOG), b"new");
    disk.power_loss();
    assert_eq!(read(&disk, LOG), b"old");
    assert_eq!(fired(&disk, "sync-fails"), 1);
}

#[test]
fn a_sync_that_lies_does_nothing_until_one_does() {
    let loses = |honest: bool| {
        (0..50).any(|seed| {
            let (disk, attached) = disk(seed);
            let file = file(&attached, LOG, b"old");
            disk.set_fault(DiskFault::SyncLie, Some(Strike::always(FileKind::Any)));
            file.write_at(0, b"new").unwrap();
            attached.open("wal/2", true).unwrap();
            file.sync_data().unwrap();
            attached.sync_dir("wal").unwrap();
            assert_eq!(fired(&disk, "sync-lie"), 2);
            disk.set_fault(DiskFault::SyncLie, None);
            if honest {
                file.sync_data().unwrap();
                attached.sync_dir("wal").unwrap();
            }
            disk.power_loss();
            read(&disk, LOG) == b"old" || !disk.contents().contains_key("wal/2")
        })
    };
    assert!(loses(false));
    assert!(!loses(true));
}

#[test]
fn reads_writes_and_names_fail() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, &[1; 4 * SECTOR_BYTES]);
    for fault in [DiskFault::ReadError, DiskFault::WriteError, DiskFault::NameError] {
        disk.set_fault(fault, Some(Strike::always(FileKind::Log)));
    }
    assert_eq!(errno(file.read_at(0, &mut [0; 10])), Some(5));
    assert_eq!(errno(file.write_at(0, &[2; 4 * SECTOR_BYTES])), Some(5));
    assert_eq!(errno(file.set_len(0)), Some(5));
    assert_eq!(errno(attached.remove(LOG)), Some(5));
    assert_eq!(errno(attached.rename(LOG, BASE)), Some(5));
    assert_eq!(errno(attached.sync_dir("wal")), Some(5));
    assert!(attached.open("wal/2", true).is_err());
    attached.open(BASE, true).unwrap();
    let bytes = read(&disk, LOG);
    let written = bytes.iter().take_while(|byte| **byte == 2).count();
    assert!(written.is_multiple_of(SECTOR_BYTES) && written < bytes.len());
    assert_eq!(["read-error", "write-error", "name-error"].map(|name| fired(&disk, name)), [1, 2, 4]);
    disk.heal();
    attached.remove(LOG).unwrap();
}

#[test]
fn room_comes_and_goes() {
    let (disk, attached) = disk(1);
    let file = file(&attached, LOG, b"old");
    disk.set_capacity(Some(5));
    assert_eq!(errno(file.write_at(0, b"longer")), Some(28));
    assert_eq!(read(&disk, LOG), b"longe", "what fits is there");
    assert_eq!(fired(&disk, "disk-full"), 1);
    disk.set_capacity(None);
    file.write_at(0, b"longer").unwrap();
    disk.set_fault(DiskFault::NoRoom, Some(Strike::one_in(2, FileKind::Any)));
    let full = (0..100).filter(|_| file.write_at(0, b"x").is_err()).count();
    assert!((20..80).contains(&full), "{full}");
    assert_eq!(fired(&disk, "no-room"), full as u64);
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_waited_for() {
    let (disk, attached) = disk(1);
    let began = tokio::time::Instant::now();
    let file = file(&attached, LOG, b"old");
    settle(&*attached).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing is waited for unless it is asked");
    disk.set_latency(Some(Latency { write_ms: (1, 1), sync_ms: (5, 5), stall_one_in: 0, stall_ms: (0, 0) }));
    file.write_at(0, b"new").unwrap();
    settle(&*attached).await;
    assert_eq!(began.elapsed(), Duration::from_millis(1));
    file.sync_data().unwrap();
    disk.stall(Duration::from_secs(2));
    settle(&*attached).await;
    assert_eq!(began.elapsed(), Duration::from_millis(2006));
    settle(&*attached).await;
    assert_eq!(began.elapsed(), Duration::from_millis(2006));
    assert_eq!((fired(&disk, "disk-slow"), fired(&disk, "disk-stall")), (1, 1));
    disk.set_latency(Some(Latency { stall_one_in: 10, ..Latency::STALLING }));
    for _ in 0..100 {
        file.sync_data().unwrap();
        settle(&*attached).await;
    }
    assert!(fired(&disk, "disk-stall") > 2);
}

/// What one fault does must not depend on whether another is switched on: a failure shrinks by taking faults away.
#[test]
fn a_fault_that_is_taken_away_leaves_the_draws_of_the_others() {
    let failures = |other: bool| {
        let (disk, attached) = disk(3);
        let (log, base) = (file(&attached, LOG, &[1; 600]), file(&attached, BASE, &[1; 600]));
        disk.set_fault(DiskFault::ReadError, Some(Strike::one_in(4, FileKind::Log)));
        if other {
            disk.set_fault(DiskFault::Rot, Some(Strike::one_in(2, FileKind::Any)));
            disk.set_fault(DiskFault::WriteError, Some(Strike::one_in(3, FileKind::Base)));
            disk.set_latency(Some(Latency::STALLING));
        }
        (0..200)
            .map(|_| {
                if other {
                    let _ = base.write_at(0, b"x");
                    let _ = base.read_at(0, &mut [0; 10]);
                }
                log.read_at(0, &mut [0; 600]).is_err()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(failures(false), failures(true));
    assert!(failures(false).contains(&true) && failures(false).contains(&false));
}

/// As a failure is shrunk to fewer operations, those that stay must still be torn in the same way.
#[test]
fn what_survives_in_one_file_does_not_depend_on_another() {
    let survives = |other: bool| {
        let (disk, attached) = disk(4);
        let log = file(&attached, LOG, &[1; 64 * SECTOR_BYTES]);
        let base = file(&attached, BASE, &[1; 64 * SECTOR_BYTES]);
        if other {
            base.write_at(0, &[2; 64 * SECTOR_BYTES]).unwrap();
        }
        log.write_at(0, &[2; 64 * SECTOR_BYTES]).unwrap();
        disk.power_loss();
        read(&disk, LOG)
    };
    assert_eq!(survives(false), survives(true));
}

#[test]
fn plans_name_faults_as_the_counts_do() {
    for fault in DiskFault::ALL {
        assert_eq!(serde_json::to_string(&fault).unwrap(), format!("{:?}", fault.name()));
        let strike = Strike::one_in(7, FileKind::Log);
        let plan = serde_json::to_string(&(fault, strike)).unwrap();
        assert_eq!(serde_json::from_str::<(DiskFault, Strike)>(&plan).unwrap(), (fault, strike));
    }
}
