//! The bars that a release must pass, judged by one run's medians.

use serde::Serialize;

use crate::disk::Sync;
use crate::plan::{Operation, Server};
use crate::report::Report;

/// One bar and what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    /// What is asked for.
    pub(crate) asked: String,
    /// What was measured, in the same unit.
    pub(crate) measured: String,
    /// Whether it is met.
    pub(crate) met: bool,
}

const KIB: usize = 1024;
const PUTS_PER_SECOND_MIN: f64 = 4_000.0;
/// Where the disk is too slow for that: so many times what one append+fsync loop does.
const PUTS_PER_FSYNC_MIN: f64 = 16.0;
const PUT_CPU_US_MAX: f64 = 350.0;
const GETS_PER_SECOND_MIN: f64 = 12_000.0;
const GET_CPU_US_MAX: f64 = 90.0;
const LONE_PUT_FSYNCS_MAX: f64 = 3.0;
const ECHO_SHARE_MIN: f64 = 0.80;

/// Judges a report. Bars whose cells were not measured are left out.
pub(crate) fn judge(report: &Report) -> Vec<Bar> {
    let mut bars = Vec::new();
    let fsync = report.disk(Sync::Fsync);
    if let (Some(put), Some(fsync)) = (report.cell(Server::ThreeNodes, Operation::Put, KIB, 64), fsync) {
        let by_disk = fsync.per_second.median * PUTS_PER_FSYNC_MIN;
        let least = PUTS_PER_SECOND_MIN.min(by_disk);
        bars.push(Bar {
            asked: format!("three nodes, 1 KiB puts, 64 in flight: at least {least:.0}/s"),
            measured: format!("{:.0}/s", put.per_second.median),
            met: put.per_second.median >= least,
        });
        bars.push(at_most("the same: server CPU of a put", put.cpu_us.median, PUT_CPU_US_MAX));
    }
    if let Some(get) = report.cell(Server::ThreeNodes, Operation::Get, KIB, 64) {
        bars.push(Bar {
            asked: format!("three nodes, 1 KiB gets, 64 in flight: at least {GETS_PER_SECOND_MIN:.0}/s"),
            measured: format!("{:.0}/s", get.per_second.median),
            met: get.per_second.median >= GETS_PER_SECOND_MIN,
        });
        bars.push(at_most("the same: server CPU of a get", get.cpu_us.median, GET_CPU_US_MAX));
    }
    if let (Some(put), Some(fsync)) = (report.cell(Server::ThreeNodes, Operation::Put, KIB, 1), fsync) {
        let most = fsync.p50_us.median * LONE_PUT_FSYNCS_MAX;
        bars.push(at_most(
            "three nodes, one 1 KiB put at a time: p50, against 3 fsyncs",
            put.p50_us.median,
            most,
        ));
    }
    let get = report.cell(Server::OneNode, Operation::Get, KIB, 64);
    if let (Some(get), Some(echo)) = (get, report.cell(Server::Echo, Operation::Get, KIB, 64)) {
        let share = get.per_second.median / echo.per_second.median;
        bars.push(Bar {
            asked: format!(
                "one node, 1 KiB gets: at least {:.0} % of a bare tonic echo",
                ECHO_SHARE_MIN * 100.0
            ),
            measured: format!("{:.0} %", share * 100.0),
            met: share >= ECHO_SHARE_MIN,
        });
    }
    bars
}

fn at_most(what: &str, measured_us: f64, most_us: f64) -> Bar {
    Bar {
        asked: format!("{what}: at most {most_us:.0} µs"),
        measured: format!("{measured_us:.0} µs"),
        met: measured_us <= most_us,
    }
}
