//! Faults by name, and the steps that each takes.
//!
//! A fault begins, lasts and ends. What it does in between is a list of [`Step`]s, worked out beforehand from the fault
//! alone, so that taking one fault out of a plan leaves the others as they were.

mod courses;
mod step;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disk::{DiskFault, FileKind, Latency, Strike};
use crate::registry::RegistryFault;
use crate::world::REGISTRY;
use courses::{broken_disk, flap, registry_set_back, swizzle};
pub use step::Step;

/// What can go wrong. Hosts by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "each kind says what it does; its fields are hosts and measures by their names"
)]
pub enum Fault {
    /// Two hosts do not reach each other.
    Cut { a: String, b: String },
    /// Packets of one direction are lost.
    CutOneWay { from: String, to: String },
    /// A node reaches nobody.
    Isolate { node: String },
    /// A node reaches clients and registry, but no other node.
    CutFromPeers { node: String },
    /// A client and a node do not reach each other.
    CutClient { client: String, node: String },
    /// A node does not reach the registry.
    CutRegistry { node: String },
    /// The nodes fall into two groups.
    Split { left: Vec<String> },
    /// Links of a node are cut one after the other, and healed in another order.
    Swizzle { node: String },
    /// A link comes and goes.
    Flap { a: String, b: String, every_ms: u64 },
    /// Packets between two hosts take longer.
    SlowLink { a: String, b: String, ms: u64 },
    /// Of a thousand packets between any hosts, so many are lost.
    Loss { of_thousand: u32 },
    /// Of a thousand packets from and to a host, so many have their connection reset by something on the way.
    Reset { host: String, of_thousand: u32 },
    /// A link carries so many bytes in a millisecond.
    NarrowLink { a: String, b: String, bytes_per_ms: usize },

    /// `kill -9`, and a start at the end.
    Kill { node: String },
    /// The same, all at once.
    KillAll,
    /// Killed again and again, soon after each start.
    CrashLoop { node: String, every_ms: u64 },
    /// SIGTERM, and a start at the end.
    Stop { node: String },
    /// Its machine loses its power while it stops.
    StopCutShort { node: String, after_ms: u64 },
    /// All nodes are stopped and started, one after the other.
    RollingRestart,
    /// A node is stopped, and started as one of another version.
    Upgrade { node: String },
    /// All are, one after the other.
    RollingUpgrade,
    /// SIGSTOP and SIGCONT.
    Freeze { node: String },
    /// Runs for a moment, stands for a moment.
    Stutter { node: String, on_ms: u64, off_ms: u64 },
    /// A client's program is gone in the middle of what it does.
    ClientVanishes { client: String },

    /// A machine loses its power.
    PowerLoss { node: String },
    /// All do.
    PowerLossAll,
    /// At the so-manieth change of the disk.
    TornPower { node: String, changes: u64 },
    /// The same at the node's very first start, before there is a cluster.
    TornStart { node: String, changes: u64 },
    /// No room on the disk but for so many bytes.
    DiskFull {
        node: String,
        #[serde(default)]
        room: usize,
    },
    /// A sync of the log fails once.
    SyncFails { node: String },
    /// The disk takes its time.
    DiskSlow { node: String },
    /// The disk does nothing for a while.
    DiskStall { node: String },
    /// One in so many operations on some files goes wrong. See [`DiskFault`]; those that destroy something
    /// ([`DiskFault::destroys`]) may strike one node of a plan.
    Disk { node: String, fault: DiskFault, files: FileKind, one_in: u64 },

    /// The wall clock is set forward.
    ClockForward { node: String, ms: i64 },
    /// Or back.
    ClockBack { node: String, ms: i64 },
    /// Or runs fast or slow.
    ClockDrift { node: String, ms_per_s: i64 },

    /// The registry's process is gone for a while.
    RegistryDown,
    /// Its machine loses power: nobody is told.
    RegistryDark,
    /// What etcd does wrong; see [`RegistryFault`].
    Registry { fault: RegistryFault },

    /// An operator changes the layout: other leaders, a move to other nodes begins or is given up. One node may not hear
    /// of it for a while.
    Relayout { unseen_by: Option<String> },
    /// The registry is set back to before a change of the layout, while no node runs that knows better.
    RegistrySetBack,
    /// It misbehaves while the nodes start for the first time.
    RegistryStart { fault: RegistryFault },

    /// A client asks as fast as it can.
    Burst { client: String },
    /// A client lists again and again.
    ListingStorm { client: String },
    /// A client sends large bodies.
    LargeBodies { client: String },
}

impl Fault {
    /// Its name, as in a plan.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::CutOneWay { .. } => "cut-one-way",
            Self::Isolate { .. } => "isolate",
            Self::CutFromPeers { .. } => "cut-from-peers",
            Self::CutClient { .. } => "cut-client",
            Self::CutRegistry { .. } => "cut-registry",
            Self::Split { .. } => "split",
            Self::Swizzle { .. } => "swizzle",
            Self::Flap { .. } => "flap",
            Self::SlowLink { .. } => "slow-link",
            Self::Loss { .. } => "loss",
            Self::Reset { .. } => "reset",
            Self::NarrowLink { .. } => "narrow-link",
            Self::Kill { .. } => "kill",
            Self::KillAll => "kill-all",
            Self::CrashLoop { .. } => "crash-loop",
            Self::Stop { .. } => "stop",
            Self::StopCutShort { .. } => "stop-cut-short",
            Self::RollingRestart => "rolling-restart",
            Self::Upgrade { .. } => "upgrade",
            Self::RollingUpgrade => "rolling-upgrade",
            Self::Freeze { .. } => "freeze",
            Self::Stutter { .. } => "stutter",
            Self::ClientVanishes { .. } => "client-vanishes",
            Self::PowerLoss { .. } => "power-loss",
            Self::PowerLossAll => "power-loss-all",
            Self::TornPower { .. } => "torn-power",
            Self::TornStart { .. } => "torn-start",
            Self::Relayout { .. } => "relayout",
            Self::RegistryStart { .. } => "registry-start",
            Self::RegistrySetBack => "registry-set-back",
            Self::DiskFull { .. } => "disk-full",
            Self::SyncFails { .. } => "sync-fails",
            Self::DiskSlow { .. } => "disk-slow",
            Self::DiskStall { .. } => "disk-stall",
            Self::Disk { fault, .. } => fault.name(),
            Self::ClockForward { .. } => "clock-forward",
            Self::ClockBack { .. } => "clock-back",
            Self::ClockDrift { .. } => "clock-drift",
            Self::RegistryDown => "registry-down",
            Self::RegistryDark => "registry-dark",
            Self::Registry { fault } => fault.name(),
            Self::Burst { .. } => "burst",
            Self::ListingStorm { .. } => "listing-storm",
            Self::LargeBodies { .. } => "large-bodies",
        }
    }

    /// The hosts that it is about; none: all.
    pub fn hosts(&self) -> Vec<String> {
        match self {
            Self::Cut { a, b }
            | Self::Flap { a, b, .. }
            | Self::SlowLink { a, b, .. }
            | Self::NarrowLink { a, b, .. } => {
                vec![a.clone(), b.clone()]
            }
            Self::CutOneWay { from, to } => vec![from.clone(), to.clone()],
            Self::CutClient { client, node } => vec![client.clone(), node.clone()],
            Self::CutRegistry { node } => vec![node.clone(), REGISTRY.to_owned()],
            Self::Split { left } => left.clone(),
            Self::Isolate { node }
            | Self::CutFromPeers { node }
            | Self::Swizzle { node }
            | Self::Kill { node }
            | Self::CrashLoop { node, .. }
            | Self::Stop { node }
            | Self::StopCutShort { node, .. }
            | Self::Upgrade { node }
            | Self::Freeze { node }
            | Self::Stutter { node, .. }
            | Self::PowerLoss { node }
            | Self::TornPower { node, .. }
            | Self::TornStart { node, .. }
            | Self::DiskFull { node, .. }
            | Self::SyncFails { node }
            | Self::DiskSlow { node }
            | Self::DiskStall { node }
            | Self::Disk { node, .. }
            | Self::ClockForward { node, .. }
            | Self::ClockBack { node, .. }
            | Self::ClockDrift { node, .. } => vec![node.clone()],
            Self::ClientVanishes { client }
            | Self::Burst { client }
            | Self::ListingStorm { client }
            | Self::LargeBodies { client } => vec![client.clone()],
            Self::RegistryDown
            | Self::RegistryDark
            | Self::RegistryStart { .. }
            | Self::Registry { .. }
            | Self::Relayout { .. } => {
                vec![REGISTRY.to_owned()]
            }
            Self::KillAll
            | Self::RegistrySetBack
            | Self::RollingRestart
            | Self::RollingUpgrade
            | Self::PowerLossAll
            | Self::Loss { .. } => Vec::new(),
            Self::Reset { host, .. } => vec![host.clone()],
        }
    }

    /// What it does, and when, in a world of these nodes and clients.
    pub fn steps(
        &self,
        at: Duration,
        lasts: Duration,
        nodes: &[String],
        clients: &[String],
    ) -> Vec<(Duration, Step)> {
        let end = at + lasts;
        let kind = self.kind();
        let mut steps = Vec::new();
        let mut during = |from: Step, to: Step| steps.extend([(at, from), (end, to)]);
        let mut cut_both = |a: &str, b: &str| {
            for (a, b) in [(a, b), (b, a)] {
                during(
                    Step::Cut(kind, a.to_owned(), b.to_owned()),
                    Step::Mend(kind, a.to_owned(), b.to_owned()),
                );
            }
        };
        match self {
            Self::Cut { a, b } | Self::CutClient { client: a, node: b } => cut_both(a, b),
            Self::CutRegistry { node } => cut_both(node, REGISTRY),
            Self::CutOneWay { from, to } => {
                during(Step::Cut(kind, from.clone(), to.clone()), Step::Mend(kind, from.clone(), to.clone()));
            }
            Self::Isolate { node } => {
                let others = nodes.iter().chain(clients).map(String::as_str).chain([REGISTRY]);
                others.filter(|other| other != node).for_each(|other| cut_both(node, other));
            }
            Self::CutFromPeers { node } => {
                nodes.iter().filter(|other| *other != node).for_each(|other| cut_both(node, other));
            }
            Self::Split { left } => {
                for a in left {
                    nodes.iter().filter(|other| !left.contains(other)).for_each(|b| cut_both(a, b));
                }
            }
            Self::Swizzle { node } => steps = swizzle(kind, node, nodes, at, lasts),
            Self::Flap { a, b, every_ms } => steps = flap(kind, a, b, at, end, *every_ms),
            Self::SlowLink { a, b, ms } => during(
                Step::Slow(a.clone(), b.clone(), Duration::from_millis(*ms)),
                Step::Slow(a.clone(), b.clone(), Duration::ZERO),
            ),
            Self::NarrowLink { a, b, bytes_per_ms } => during(
                Step::Narrow(a.clone(), b.clone(), *bytes_per_ms),
                Step::Narrow(a.clone(), b.clone(), 0),
            ),
            Self::Loss { of_thousand } => during(Step::Lose(*of_thousand), Step::Lose(0)),
            Self::Reset { host, of_thousand } => {
                during(Step::Reset(host.clone(), *of_thousand), Step::Reset(host.clone(), 0));
            }
            Self::Kill { node } => during(Step::Kill(kind, node.clone()), Step::Restart(node.clone())),
            Self::KillAll => {
                nodes
                    .iter()
                    .for_each(|node| during(Step::Kill(kind, node.clone()), Step::Restart(node.clone())));
            }
            Self::CrashLoop { node, every_ms } => {
                let mut now = at;
                while now < end {
                    steps.push((now, Step::Kill(kind, node.clone())));
                    steps.push((now + Duration::from_millis(1), Step::Restart(node.clone())));
                    now += Duration::from_millis((*every_ms).max(2));
                }
            }
            Self::Stop { node } => during(Step::Stop(kind, node.clone()), Step::Restart(node.clone())),
            Self::StopCutShort { node, after_ms } => {
                let after = Duration::from_millis(*after_ms);
                steps.push((at, Step::Stop("stop", node.clone())));
                steps.push((at + after, Step::PowerLoss(kind, node.clone())));
                steps.push((end.max(at + after), Step::Restart(node.clone())));
            }
            Self::Upgrade { node } => {
                during(Step::Stop(kind, node.clone()), Step::Restart(node.clone()));
                steps.insert(1, (end, Step::ChangeVersion(node.clone())));
            }
            Self::RollingUpgrade => {
                let each = lasts / u32::try_from(nodes.len()).expect("few nodes");
                for (number, node) in (0..).zip(nodes) {
                    steps.push((at + each * number, Step::Stop(kind, node.clone())));
                    steps.push((at + each * (number + 1), Step::ChangeVersion(node.clone())));
                    steps.push((at + each * (number + 1), Step::Restart(node.clone())));
                }
            }
            Self::RollingRestart => {
                let each = lasts / u32::try_from(nodes.len()).expect("few nodes");
                for (number, node) in (0..).zip(nodes) {
                    steps.push((at + each * number, Step::Stop(kind, node.clone())));
                    steps.push((at + each * (number + 1), Step::Restart(node.clone())));
                }
            }
            Self::Freeze { node } => during(Step::Freeze(node.clone()), Step::Thaw(kind, node.clone())),
            Self::Stutter { node, on_ms, off_ms } => {
                let (on, off) =
                    (Duration::from_millis((*on_ms).max(1)), Duration::from_millis((*off_ms).max(1)));
                let mut now = at;
                while now < end {
                    steps.push((now, Step::Freeze(node.clone())));
                    steps.push((now + off, Step::Thaw(kind, node.clone())));
                    now += on + off;
                }
            }
            Self::ClientVanishes { client } => steps.push((at, Step::ReplaceClient(client.clone()))),
            Self::PowerLoss { node } => {
                during(Step::PowerLoss(kind, node.clone()), Step::Restart(node.clone()));
            }
            Self::PowerLossAll => nodes.iter().for_each(|node| {
                during(Step::PowerLoss(kind, node.clone()), Step::Restart(node.clone()));
            }),
            Self::TornPower { node, changes } => {
                during(Step::PowerFails(node.clone(), *changes), Step::Restart(node.clone()));
            }
            // The run sees to it, before anything else.
            Self::TornStart { .. } | Self::RegistryStart { .. } => {}
            Self::RegistrySetBack => steps = registry_set_back(kind, nodes, at, lasts),
            Self::Relayout { unseen_by } => {
                if let Some(node) = unseen_by {
                    cut_both(node, REGISTRY);
                }
                steps.push((at + Duration::from_millis(1), Step::Relayout));
            }
            Self::DiskFull { node, room } => {
                during(Step::Full(node.clone(), *room), Step::Room(node.clone()));
            }
            Self::SyncFails { node } => during(Step::FailSync(node.clone()), Step::Restart(node.clone())),
            Self::DiskSlow { node } => {
                during(Step::SlowDisk(node.clone(), Some(Latency::SLOW)), Step::SlowDisk(node.clone(), None));
            }
            Self::DiskStall { node } => steps.push((at, Step::StallDisk(node.clone(), lasts))),
            Self::Disk { node, fault, files, one_in } => {
                steps = broken_disk(node, *fault, Strike::one_in(*one_in, *files), at, end);
            }
            Self::ClockForward { node, ms } => steps.push((at, Step::Jump(node.clone(), ms.abs()))),
            Self::ClockBack { node, ms } => steps.push((at, Step::Jump(node.clone(), -ms.abs()))),
            Self::ClockDrift { node, ms_per_s } => {
                during(Step::Drift(node.clone(), *ms_per_s), Step::Drift(node.clone(), 0));
            }
            Self::RegistryDown => during(Step::StopRegistry, Step::StartRegistry),
            Self::RegistryDark => during(Step::DarkenRegistry, Step::StartRegistry),
            Self::Registry { fault } if fault.lasts() => {
                during(Step::RegistryWrong(*fault), Step::RegistryRight(*fault));
            }
            Self::Registry { fault } => steps.push((at, Step::RegistryWrong(*fault))),
            Self::Burst { client } => {
                steps.push((at, Step::Storm(crate::workload::Storm::Burst, client.clone())));
            }
            Self::ListingStorm { client } => {
                steps.push((at, Step::Storm(crate::workload::Storm::Listings, client.clone())));
            }
            Self::LargeBodies { client } => {
                steps.push((at, Step::Storm(crate::workload::Storm::LargeBodies, client.clone())));
            }
        }
        steps
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { a, b } => write!(f, "{a} and {b} do not reach each other"),
            Self::CutOneWay { from, to } => write!(f, "what {from} sends to {to} is lost"),
            Self::Isolate { node } => write!(f, "{node} reaches nobody"),
            Self::CutFromPeers { node } => write!(f, "{node} reaches no other node"),
            Self::CutClient { client, node } => write!(f, "{client} and {node} do not reach each other"),
            Self::CutRegistry { node } => write!(f, "{node} does not reach the registry"),
            Self::Split { left } => {
                write!(f, "{} and the other nodes do not reach each other", left.join(", "))
            }
            Self::Swizzle { node } => write!(f, "links of {node} are cut one by one"),
            Self::Flap { a, b, every_ms } => {
                write!(f, "the link of {a} and {b} comes and goes every {every_ms} ms")
            }
            Self::SlowLink { a, b, ms } => write!(f, "packets between {a} and {b} take {ms} ms longer"),
            Self::Loss { of_thousand } => write!(f, "{of_thousand} of 1000 packets are lost"),
            Self::Reset { host, of_thousand } => {
                write!(f, "{of_thousand} of 1000 packets of {host} have their connection reset")
            }
            Self::NarrowLink { a, b, bytes_per_ms } => {
                write!(f, "the link of {a} and {b} carries {bytes_per_ms} bytes in a millisecond")
            }
            Self::Kill { node } => write!(f, "{node} is killed"),
            Self::KillAll => write!(f, "all nodes are killed"),
            Self::CrashLoop { node, every_ms } => write!(f, "{node} is killed every {every_ms} ms"),
            Self::Stop { node } => write!(f, "{node} is asked to stop"),
            Self::StopCutShort { node, after_ms } => {
                write!(f, "{node} is asked to stop and loses its power {after_ms} ms later")
            }
            Self::RollingRestart => write!(f, "all nodes are restarted, one after the other"),
            Self::Upgrade { node } => write!(f, "{node} is stopped and started in another version"),
            Self::RollingUpgrade => {
                write!(f, "all nodes are started in another version, one after the other")
            }
            Self::Freeze { node } => write!(f, "{node} stands still"),
            Self::Stutter { node, on_ms, off_ms } => {
                write!(f, "{node} runs for {on_ms} ms, stands still for {off_ms} ms, and so on")
            }
            Self::ClientVanishes { client } => write!(f, "{client} vanishes, another takes its place"),
            Self::PowerLoss { node } => write!(f, "{node} loses its power"),
            Self::PowerLossAll => write!(f, "all nodes lose their power"),
            Self::TornPower { node, changes } => {
                write!(f, "{node} loses its power at change {changes} of its disk")
            }
            Self::TornStart { node, changes } => {
                write!(
                    f,
                    "{node} loses its power at change {changes} of its disk when it starts for the first time"
                )
            }
            Self::RegistrySetBack => {
                write!(
                    f,
                    "all nodes are killed, and the registry is set back to before a change of the layout"
                )
            }
            Self::RegistryStart { fault } => {
                write!(f, "the registry misbehaves while the nodes start for the first time: {fault}")
            }
            Self::Relayout { unseen_by: None } => write!(f, "an operator changes the layout"),
            Self::Relayout { unseen_by: Some(node) } => {
                write!(f, "an operator changes the layout while {node} does not reach the registry")
            }
            Self::DiskFull { node, room } => write!(f, "the disk of {node} has room for {room} bytes more"),
            Self::SyncFails { node } => write!(f, "a sync of the log of {node} fails"),
            Self::DiskSlow { node } => write!(f, "the disk of {node} is slow"),
            Self::DiskStall { node } => write!(f, "the disk of {node} does nothing for a while"),
            Self::Disk { node, fault, files, one_in } => {
                let where_ = files.title();
                match fault {
                    DiskFault::Rot if *one_in == 1 => {
                        write!(f, "a bit of {where_} rots on the disk of {node}")
                    }
                    fault => {
                        write!(f, "on the disk of {node}, of {where_}: {}, one in {one_in}", fault.title())
                    }
                }
            }
            Self::ClockForward { node, ms } => write!(f, "the wall clock of {node} is set {ms} ms forward"),
            Self::ClockBack { node, ms } => write!(f, "the wall clock of {node} is set {ms} ms back"),
            Self::ClockDrift { node, ms_per_s } => {
                write!(f, "the wall clock of {node} gains {ms_per_s} ms in a second")
            }
            Self::RegistryDown => write!(f, "the registry's process is gone"),
            Self::RegistryDark => write!(f, "the registry's machine has no power"),
            Self::Registry { fault } => write!(f, "the registry misbehaves: {fault}"),
            Self::Burst { client } => write!(f, "{client} asks for many things at once"),
            Self::ListingStorm { client } => write!(f, "{client} lists many times at once"),
            Self::LargeBodies { client } => write!(f, "{client} sends large bodies"),
        }
    }
}
