//! A run as a page shows it: the record of what its world, its plan and its trace know.

use std::time::Duration;

use crate::faults::Fault;
use crate::history::{Action, Seen};
use crate::plan::Plan;
use crate::report::{
    FaultBand, FaultFamily, Lane, LaneKind, Level, MessageArrow, Note, OpSpan, RunRecord, Verdict,
};
use crate::run::{Failure, RunTimes};
use crate::trace::{Line, Trace};
use crate::world::{Mode, REGISTRY, World};

/// Where the command that runs a plan again finds it.
const PLAN_FILE: &str = "plan.json";

/// Everything that is known of a run that has ended.
pub(crate) fn picture(
    plan: &Plan,
    world: &World,
    trace: &Trace,
    times: RunTimes,
    failure: Option<&Failure>,
) -> RunRecord {
    let lanes = lanes(plan);
    let lane = |name: &str| lanes.iter().position(|lane| lane.name == name);
    let host_lane = |host: crate::host::HostId| lane(&world.fabric().name(host));
    let messages = world.fabric().take_messages();
    let messages = messages.into_iter().filter_map(|message| {
        Some(MessageArrow {
            from_lane: host_lane(message.from)?,
            to_lane: host_lane(message.to)?,
            sent_us: us(message.sent),
            received_us: message.received.map(us),
            label: message.label,
            bytes: message.bytes as u64,
        })
    });
    let notes = trace.lines().into_iter().filter_map(|line| note(line, &lane));
    RunRecord {
        format: RunRecord::FORMAT,
        title: "random plan".to_owned(),
        seed: Some(plan.seed),
        mode: if plan.mode == Mode::Wire { "wire" } else { "direct" }.to_owned(),
        options: options(plan),
        verdict: verdict(failure),
        duration_us: us(world.now()),
        faults: bands(plan, times, &lane),
        ops: ops(world, failure, &lane),
        messages: messages.collect(),
        notes: notes.collect(),
        bake_in: None,
        replay: format!("cargo run --release -p sim -- replay {PLAN_FILE} --html run.html"),
        lanes,
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lanes(plan: &Plan) -> Vec<Lane> {
    let lanes = |names: Vec<String>, kind| names.into_iter().map(move |name| Lane { name, kind });
    lanes(plan.client_names(), LaneKind::Client)
        .chain(lanes(plan.node_names(), LaneKind::Node))
        .chain(lanes(vec![REGISTRY.to_owned()], LaneKind::Registry))
        .collect()
}

fn options(plan: &Plan) -> Vec<(String, String)> {
    [
        ("nodes", plan.nodes.to_string()),
        ("clients", plan.clients.to_string()),
        ("keys", plan.keys.to_string()),
        ("latency", format!("{} to {} ms", plan.latency_ms, plan.latency_ms + plan.jitter_ms)),
        ("lease", format!("{} ms", plan.lease_ttl_ms)),
        ("fsync", plan.fsync.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn verdict(failure: Option<&Failure>) -> Verdict {
    match failure {
        Some(failure) => Verdict { kind: failure.kind.clone(), sentence: failure.sentence.clone() },
        None => Verdict {
            kind: Verdict::PASSED.to_owned(),
            sentence:
                "Nothing is wrong: what clients saw is linearizable, and all of them succeed after the faults"
                    .to_owned(),
        },
    }
}

fn family(fault: &Fault) -> FaultFamily {
    match fault {
        Fault::Cut { .. }
        | Fault::CutOneWay { .. }
        | Fault::Isolate { .. }
        | Fault::CutFromPeers { .. }
        | Fault::CutClient { .. }
        | Fault::CutRegistry { .. }
        | Fault::Split { .. }
        | Fault::Swizzle { .. }
        | Fault::Flap { .. }
        | Fault::SlowLink { .. }
        | Fault::Loss { .. }
        | Fault::Reset { .. }
        | Fault::NarrowLink { .. } => FaultFamily::Network,
        Fault::Kill { .. }
        | Fault::KillAll
        | Fault::CrashLoop { .. }
        | Fault::Stop { .. }
        | Fault::StopCutShort { .. }
        | Fault::RollingRestart
        | Fault::Upgrade { .. }
        | Fault::RollingUpgrade
        | Fault::Freeze { .. }
        | Fault::Stutter { .. }
        | Fault::ClientVanishes { .. }
        | Fault::PowerLoss { .. }
        | Fault::PowerLossAll => FaultFamily::Process,
        Fault::TornPower { .. }
        | Fault::TornStart { .. }
        | Fault::DiskFull { .. }
        | Fault::SyncFails { .. }
        | Fault::DiskSlow { .. }
        | Fault::DiskStall { .. }
        | Fault::Disk { .. } => FaultFamily::Disk,
        Fault::ClockForward { .. } | Fault::ClockBack { .. } | Fault::ClockDrift { .. } => FaultFamily::Clock,
        Fault::RegistryDown
        | Fault::RegistryDark
        | Fault::RegistrySetBack
        | Fault::RegistryStart { .. }
        | Fault::Registry { .. }
        | Fault::Relayout { .. } => FaultFamily::Registry,
        Fault::Burst { .. } | Fault::ListingStorm { .. } | Fault::LargeBodies { .. } => FaultFamily::Overload,
    }
}

fn bands(plan: &Plan, times: RunTimes, lane: &impl Fn(&str) -> Option<usize>) -> Vec<FaultBand> {
    let mut bands = Vec::new();
    for (id, planned) in (1..).zip(&plan.faults) {
        let from = times.safety.saturating_add(Duration::from_millis(planned.at_ms));
        if planned.at_ms > plan.time_ms {
            continue;
        }
        let to = from.saturating_add(Duration::from_millis(planned.lasts_ms)).min(times.liveness);
        let kind = planned.fault.kind();
        let mut hosts = planned.fault.hosts();
        if hosts.is_empty() {
            hosts = plan.node_names();
        }
        let down = [
            "kill",
            "kill-all",
            "power-loss",
            "power-loss-all",
            "torn-power",
            "registry-down",
            "registry-dark",
        ];
        bands.push(FaultBand {
            id,
            kind: kind.replace('-', " "),
            family: family(&planned.fault),
            from_us: us(from),
            to_us: Some(us(to)),
            lanes: hosts.iter().filter_map(|name| lane(name)).collect(),
            down: down.contains(&kind),
            text: planned.fault.to_string(),
        });
    }
    bands
}

fn ops(world: &World, failure: Option<&Failure>, lane: &impl Fn(&str) -> Option<usize>) -> Vec<OpSpan> {
    let guilty = failure.map(|failure| failure.guilty.clone()).unwrap_or_default();
    let ops = world.history().ops().into_iter().enumerate();
    ops.filter_map(|(number, op)| {
        Some(OpSpan {
            number: number as u64,
            lane: lane(&op.client)?,
            action: match &op.action {
                Action::Put(text, condition) => format!("put {text:?} {condition:?}"),
                Action::Delete(condition) => format!("delete {condition:?}"),
                Action::Read => "read".to_owned(),
            },
            key: op.key,
            began_us: us(op.began),
            ended_us: op.ended.map(us),
            seen: seen(&op.seen),
            guilty: guilty.contains(&number),
        })
    })
    .collect()
}

fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Pending => "nothing yet".to_owned(),
        Seen::Unknown => "outcome unknown".to_owned(),
        Seen::Nothing => "it did not happen".to_owned(),
        other => format!("{other:?}"),
    }
}

fn note(line: Line, lane: &impl Fn(&str) -> Option<usize>) -> Option<Note> {
    let text = line.text;
    // Operations and faults are drawn as such.
    if text.starts_with("client: ") || text.starts_with("fault: ") || text.starts_with("scenario: ") {
        return None;
    }
    let (host, rest) = text.split_once(": ").unwrap_or(("", &text));
    let level = if text.starts_with("fault over: ") && text.ends_with(" starts") {
        Level::Up
    } else if rest.starts_with("the process ends") {
        Level::Down
    } else if rest.starts_with("ERROR") {
        Level::Error
    } else if rest.starts_with(" WARN") {
        Level::Warn
    } else {
        Level::Info
    };
    let of = text.strip_prefix("fault over: ").and_then(|rest| rest.split(' ').next()).unwrap_or(host);
    Some(Note { lane: lane(of), at_us: us(line.at), text: rest.trim().to_owned(), level })
}
