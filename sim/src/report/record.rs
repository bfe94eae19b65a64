//! What is known about one run, as a page shows it and as a file keeps it: JSON of format [`RunRecord::FORMAT`].
//!
//! All times are simulated microseconds since the beginning of the run. A lane is named by its place in
//! [`RunRecord::lanes`]. All texts are free: the page shows them as they are, whatever is in them.

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// [`RunRecord::FORMAT`].
    pub format: u32,
    /// What was run, such as `swarm`.
    pub title: String,
    /// The seed that it came from; none where a plan decided everything.
    pub seed: Option<u64>,
    /// How nodes and clients talked: `direct` or `wire`.
    pub mode: String,
    /// What else the run was told, by name, in the order in which a reader wants it.
    pub options: Vec<(String, String)>,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, simulated.
    pub duration_us: u64,
    /// Who took part. The page shows clients first, then nodes, then the registry, each in this order.
    pub lanes: Vec<Lane>,
    /// What was done to them.
    pub faults: Vec<FaultBand>,
    /// What clients asked for and were told.
    pub ops: Vec<OpSpan>,
    /// What was sent.
    pub messages: Vec<MessageArrow>,
    /// What else happened: process starts, log lines, events of the registry.
    pub notes: Vec<Note>,
    /// How likely the run fails when all randomness is drawn anew from a moment on: where the failure was decided.
    pub bake_in: Option<Vec<BakeInPoint>>,
    /// The command that runs it again.
    pub replay: String,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// `passed`, `not linearizable`, `liveness`, `oracle: …`, `panic`, or another short name of what is wrong.
    pub kind: String,
    /// What happened, in one English sentence.
    pub sentence: String,
}

impl Verdict {
    /// The kind of a run in which nothing is wrong.
    pub const PASSED: &str = "passed";
}

/// One who took part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// Its host name.
    pub name: String,
    /// What it is.
    pub kind: LaneKind,
}

/// What a lane stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneKind {
    /// A client: it has operations.
    Client,
    /// A node.
    Node,
    /// The registry.
    Registry,
}

/// A fault, from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultBand {
    /// Its number in the plan.
    pub id: u32,
    /// Its short name, such as `power loss`.
    pub kind: String,
    /// What it belongs to, which decides its colour.
    pub family: FaultFamily,
    /// When it began.
    pub from_us: u64,
    /// When it ended; none: it lasted to the end of the run.
    pub to_us: Option<u64>,
    /// Whom it concerned.
    pub lanes: Vec<usize>,
    /// Whether their processes did not run while it lasted.
    #[serde(default)]
    pub down: bool,
    /// What it did, in words.
    pub text: String,
}

/// What a fault belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultFamily {
    /// Links: cuts, loss, latency.
    Network,
    /// Processes and machines: kills, stops, pauses, power.
    Process,
    /// Disks: rot, torn and lost writes, failing syncs, stalls.
    Disk,
    /// Clocks: skew, drift, jumps.
    Clock,
    /// The registry: outages, lost leases, compaction.
    Registry,
    /// More work than there is room for.
    Overload,
}

/// One operation of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpSpan {
    /// Its number in the history.
    pub number: u64,
    /// Who asked.
    pub lane: usize,
    /// Of which key.
    pub key: String,
    /// For what, in a few words that begin with the verb: `put "b7"`, `read`. Verbs `read`, `get`, `list` and `head`
    /// change nothing and are drawn hollow.
    pub action: String,
    /// When it asked.
    pub began_us: u64,
    /// When it was told; none: never.
    pub ended_us: Option<u64>,
    /// What it was told, in a few words.
    pub seen: String,
    /// Whether it is one of those that show what is wrong.
    pub guilty: bool,
}

/// A message from one to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageArrow {
    /// Who sent it.
    pub from_lane: usize,
    /// To whom.
    pub to_lane: usize,
    /// When it was sent.
    pub sent_us: u64,
    /// When it arrived; none: it never did.
    pub received_us: Option<u64>,
    /// What it is, in a few words.
    pub label: String,
    /// How long it is.
    pub bytes: u64,
}

/// Something that happened at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// To whom; none: to the whole run.
    pub lane: Option<usize>,
    /// When.
    pub at_us: u64,
    /// What.
    pub text: String,
    /// How much it matters.
    pub level: Level,
}

/// How much a note matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It belongs to the course of things.
    Info,
    /// Something did not go as it should.
    Warn,
    /// Something is wrong.
    Error,
    /// The lane's process began, or began again.
    Up,
    /// The lane's process ended, by a fault or by itself.
    Down,
}

/// A point of the bake-in curve.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BakeInPoint {
    /// From this moment on, all randomness was drawn anew.
    pub at_us: u64,
    /// How many of these runs failed, 0 to 100.
    pub failing_percent: f64,
}

/// A record that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no JSON, or the JSON of something else.
    #[error("this is no record of a run: {0}")]
    Damaged(String),
    /// It was written by another version.
    #[error("this record has format {found}; this simulator reads format {}", RunRecord::FORMAT)]
    OtherFormat {
        /// The format that it names.
        found: u64,
    },
}

impl RunRecord {
    /// The version of the JSON.
    pub const FORMAT: u32 = 1;

    /// Reads what [`RunRecord::to_json`] wrote. A record of another version, one that is damaged, and one that names
    /// lanes which it does not have are refused.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        let damaged = |error: serde_json::Error| RecordError::Damaged(error.to_string());
        // The format first: another version may differ in anything else.
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        let Some(found) = value.get("format").and_then(serde_json::Value::as_u64) else {
            return Err(RecordError::Damaged("it names no format".to_owned()));
        };
        if found != u64::from(Self::FORMAT) {
            return Err(RecordError::OtherFormat { found });
        }
        let record: Self = serde_json::from_value(value).map_err(damaged)?;
        match record.stray_lane() {
            Some(what) => Err(RecordError::Damaged(what)),
            None => Ok(record),
        }
    }

    /// As JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("all keys are strings and nothing refuses to be written")
    }

    /// The first lane that is named and does not exist.
    fn stray_lane(&self) -> Option<String> {
        let count = self.lanes.len();
        let stray = |what: &str, number: usize, lane: usize| {
            (lane >= count).then(|| format!("{what} {number} names lane {lane} of {count}"))
        };
        let faults = self
            .faults
            .iter()
            .enumerate()
            .flat_map(|(number, fault)| fault.lanes.iter().map(move |lane| ("fault", number, *lane)));
        let ops = self.ops.iter().enumerate().map(|(number, op)| ("operation", number, op.lane));
        let messages = self.messages.iter().enumerate().flat_map(|(number, message)| {
            [message.from_lane, message.to_lane].map(|lane| ("message", number, lane))
        });
        let notes =
            self.notes.iter().enumerate().filter_map(|(number, note)| Some(("note", number, note.lane?)));
        faults
            .chain(ops)
            .chain(messages)
            .chain(notes)
            .find_map(|(what, number, lane)| stray(what, number, lane))
    }

    /// When each lane's process did not run: `(lane, from_us, to_us)`, by lane and time, without overlaps. Faults that
    /// are `down` say so, and notes of [`Level::Down`] until the next [`Level::Up`].
    pub fn down_times(&self) -> Vec<(usize, u64, u64)> {
        let mut all = Vec::new();
        for lane in 0..self.lanes.len() {
            let mut times: Vec<(u64, u64)> = Vec::new();
            for fault in self.faults.iter().filter(|fault| fault.down && fault.lanes.contains(&lane)) {
                times.push((fault.from_us, fault.to_us.unwrap_or(self.duration_us)));
            }
            let mut notes: Vec<&Note> = self.notes.iter().filter(|note| note.lane == Some(lane)).collect();
            notes.sort_by_key(|note| note.at_us);
            let mut since = None;
            for note in notes {
                match note.level {
                    Level::Down => since = since.or(Some(note.at_us)),
                    Level::Up => times.extend(since.take().map(|from| (from, note.at_us))),
                    _ => {}
                }
            }
            times.extend(since.map(|from| (from, self.duration_us)));
            times.sort_unstable();
            times.dedup_by(|later, earlier| {
                let touch = later.0 <= earlier.1;
                if touch {
                    earlier.1 = earlier.1.max(later.1);
                }
                touch
            });
            all.extend(times.into_iter().filter(|(from, to)| from < to).map(|(from, to)| (lane, from, to)));
        }
        all
    }
}
