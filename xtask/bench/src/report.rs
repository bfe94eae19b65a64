//! The results of all rounds, as they are written to JSON.

use serde::Serialize;

use crate::bars::Bar;
use crate::disk::Sync;
use crate::load::Sample;
use crate::machine::Machine;
use crate::plan::{Cell, Operation, Server};

/// A value over the rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

/// A [`Sample`] over the rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) per_second: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p95_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) cpu_us: Spread,
    pub(crate) load_cpu_us: Spread,
}

/// One cell's summary.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CellResult {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// The disk's summary.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DiskResult {
    pub(crate) sync: Sync,
    #[serde(flatten)]
    pub(crate) summary: Summary,
}

/// What one kind of server used besides its work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Footprint {
    pub(crate) server: Server,
    /// From the start of the processes to all of them being ready, in milliseconds.
    pub(crate) start_ms: f64,
    /// Resident bytes before any load, of the largest process.
    pub(crate) idle_bytes: u64,
    /// Greatest resident bytes of the whole run, of the largest process.
    pub(crate) peak_bytes: u64,
    /// CPU of all processes in 1000 ms without load, in milliseconds.
    pub(crate) idle_cpu_ms: f64,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) command: String,
    pub(crate) unix_s: u64,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) seconds_per_cell: f64,
    pub(crate) connections_per_node: usize,
    pub(crate) load_threads: usize,
    pub(crate) cells: Vec<CellResult>,
    pub(crate) disk: Vec<DiskResult>,
    pub(crate) footprints: Vec<Footprint>,
    pub(crate) bars: Vec<Bar>,
}

impl Report {
    /// One cell's summary, if it was measured.
    pub(crate) fn cell(
        &self,
        server: Server,
        operation: Operation,
        body_bytes: usize,
        in_flight: usize,
    ) -> Option<&Summary> {
        let cell = Cell { server, operation, body_bytes, in_flight };
        self.cells.iter().find(|result| result.cell == cell).map(|result| &result.summary)
    }

    /// The disk's summary, if it was measured.
    pub(crate) fn disk(&self, sync: Sync) -> Option<&Summary> {
        self.disk.iter().find(|result| result.sync == sync).map(|result| &result.summary)
    }
}

/// Sums up the rounds, of which there is at least one.
pub(crate) fn summarise(samples: &[Sample]) -> Summary {
    let spread = |value: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Spread { median, min: values[0], max: values[values.len() - 1] }
    };
    Summary {
        per_second: spread(|sample| sample.per_second),
        p50_us: spread(|sample| sample.p50_us),
        p95_us: spread(|sample| sample.p95_us),
        p99_us: spread(|sample| sample.p99_us),
        cpu_us: spread(|sample| sample.cpu_us),
        load_cpu_us: spread(|sample| sample.load_cpu_us),
    }
}
