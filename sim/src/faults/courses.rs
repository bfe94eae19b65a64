//! The courses of those faults that take more than a beginning and an end.

use std::time::Duration;

use super::Step;
use crate::disk::{DiskFault, Strike, When};
use crate::registry::RegistryFault;

/// A node that was started has read what it needs to serve.
const OPEN_AFTER: Duration = Duration::from_millis(40);

/// What is wrong with a disk, and what must happen to the node for it to show.
pub(super) fn broken_disk(
    node: &str,
    fault: DiskFault,
    strike: Strike,
    at: Duration,
    end: Duration,
) -> Vec<(Duration, Step)> {
    let node = || node.to_owned();
    let begins = (at, Step::BreakDisk(node(), fault, strike));
    let ends = (end, Step::MendDisk(node(), fault));
    let (soon, back) = (at + Duration::from_millis(1), end + Duration::from_millis(1));
    match fault {
        // Once what was wrong is over, a node that it has ended is started.
        DiskFault::WriteError | DiskFault::NoRoom | DiskFault::SyncError | DiskFault::NameError => {
            vec![begins, ends, (back, Step::Restart(node()))]
        }
        // A node reads its log when it starts, and redb's file rarely at another time.
        DiskFault::ReadError => vec![
            begins,
            (at, Step::Kill("kill", node())),
            (soon, Step::Restart(node())),
            ends,
            (back, Step::Restart(node())),
        ],
        DiskFault::Rot => {
            let again = [(at, Step::Kill("kill", node())), (soon, Step::Restart(node()))];
            if strike.when == When::OneIn(1) {
                // Somewhere, as it lies there: most of it is free, or never read again.
                let rots = (at, Step::Rot(node(), strike.files));
                return std::iter::once(rots).chain(again).collect();
            }
            // What it has read when it serves is whole.
            let open = soon + OPEN_AFTER;
            let ends = (end.max(open + OPEN_AFTER), Step::MendDisk(node(), fault));
            again.into_iter().chain([(open, Step::BreakDisk(node(), fault, strike)), ends]).collect()
        }
        DiskFault::LostWrite | DiskFault::MisdirectedWrite => {
            vec![begins, ends, (end, Step::Kill("kill", node())), (back, Step::Restart(node()))]
        }
        DiskFault::SyncLie => {
            vec![begins, (end, Step::PowerLoss("power-loss", node())), ends, (back, Step::Restart(node()))]
        }
    }
}

/// A backup, a change of the layout that all nodes take, and the backup again when nobody is there.
pub(super) fn registry_set_back(
    kind: &'static str,
    nodes: &[String],
    at: Duration,
    lasts: Duration,
) -> Vec<(Duration, Step)> {
    let (changed, down) = (at + Duration::from_millis(1), at + lasts);
    let (set_back, up) = (down + Duration::from_millis(1), down + Duration::from_millis(2));
    let mut steps = vec![
        (at, Step::RegistryWrong(RegistryFault::Restore)),
        (changed, Step::Relayout),
        (set_back, Step::RegistryRight(RegistryFault::Restore)),
    ];
    for node in nodes {
        steps.extend([(down, Step::Kill(kind, node.clone())), (up, Step::Restart(node.clone()))]);
    }
    steps
}

pub(super) fn swizzle(
    kind: &'static str,
    node: &str,
    nodes: &[String],
    at: Duration,
    lasts: Duration,
) -> Vec<(Duration, Step)> {
    let others: Vec<&String> = nodes.iter().filter(|other| *other != node).collect();
    let count = u32::try_from(others.len()).expect("few nodes");
    let pause = lasts / (2 * count + 1);
    let mut steps = Vec::new();
    for (number, other) in (0..).zip(&others) {
        // Healed in the order in which they were cut, half a round later: each is cut for as long, at another time.
        let (cut, mend) = (at + pause * number, at + pause * (number + count));
        for (a, b) in [(node, other.as_str()), (other.as_str(), node)] {
            steps.push((cut, Step::Cut(kind, a.to_owned(), b.to_owned())));
            steps.push((mend, Step::Mend(kind, a.to_owned(), b.to_owned())));
        }
    }
    steps
}

pub(super) fn flap(
    kind: &'static str,
    a: &str,
    b: &str,
    at: Duration,
    end: Duration,
    every_ms: u64,
) -> Vec<(Duration, Step)> {
    let half = Duration::from_millis((every_ms / 2).max(1));
    let mut steps = Vec::new();
    let mut now = at;
    while now < end {
        for (a, b) in [(a, b), (b, a)] {
            steps.push((now, Step::Cut(kind, a.to_owned(), b.to_owned())));
            steps.push((now + half, Step::Mend(kind, a.to_owned(), b.to_owned())));
        }
        now += 2 * half;
    }
    steps
}
