//! A plan: everything that a run is made of, written out. A seed is the short name of one; a failure that was shrunk is
//! another. A plan file replays its run exactly.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disk::{DiskFault, FileKind};
use crate::faults::{Fault, Step};
use crate::net::LinkOptions;
use crate::random::Random;
use crate::registry::RegistryFault;
use crate::workload::{PlannedOp, keys, random_ops};
use crate::world::{Mode, REGISTRY, WorldOptions};

/// The plan files that this program reads.
const FORMAT: u32 = 1;
/// The largest plan file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most nodes, clients, faults and operations of a plan file.
const NODES_MAX: usize = 16;
const CLIENTS_MAX: usize = 32;
const FAULTS_MAX: usize = 10_000;
const OPS_MAX: usize = 1_000_000;
/// The longest run, in simulated milliseconds: a day.
const TIME_MS_MAX: u64 = 24 * 3_600_000;
/// Random faults begin, and random operations are asked for, within this time.
pub(crate) const TIME_MS: u64 = 6_000;
/// Or, now and then, within this one: for faults that outlast every patience.
const LONG_MS: u64 = 15_000;

/// Where there are more keys, a page of a listing has more objects than two.
pub(crate) const PAGE_KEYS_FEW: usize = 10;

/// Of plan files from before it was in them.
fn stop_grace_ms() -> u64 {
    5_000
}

fn timeout_ms() -> u64 {
    10_000
}

fn checkpoint_log() -> u64 {
    64 << 10
}

/// A run, written out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Of the file.
    pub format: u32,
    /// Of all that is not written out: latencies, ids, which unsynced sectors survive.
    pub seed: u64,
    /// How true the network is.
    pub mode: Mode,
    /// Nodes.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
    /// Least time of a packet.
    pub latency_ms: u64,
    /// What it may take longer.
    pub jitter_ms: u64,
    /// Of a node's registration.
    pub lease_ttl_ms: u64,
    /// The nodes' own setting. Without, the run should fail.
    pub fsync: bool,
    /// How many of the clients, the last ones, are pages in browsers.
    #[serde(default)]
    pub browsers: usize,
    /// Of a hundred requests of pages, so many are sent twice by the browser.
    #[serde(default)]
    pub doubled_percent: u64,
    /// How long a client tries.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Bytes of the log after which a node makes a checkpoint.
    #[serde(default = "checkpoint_log")]
    pub checkpoint_log: u64,
    /// How long a node that stops waits for what is under way.
    #[serde(default = "stop_grace_ms")]
    pub stop_grace_ms: u64,
    /// The keys that operations name by number.
    pub keys: usize,
    /// When the faults are over.
    pub time_ms: u64,
    /// What goes wrong.
    pub faults: Vec<PlannedFault>,
    /// What clients ask for.
    pub ops: Vec<PlannedOp>,
}

/// A fault and its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedFault {
    /// From the time at which the cluster is whole.
    pub at_ms: u64,
    /// How long.
    pub lasts_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// Why a plan file cannot be used.
#[derive(Debug)]
pub struct PlanError(String);

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// The plan of a seed.
    pub fn random(seed: u64, mode: Mode) -> Self {
        let mut random = Random::new(seed, "plan");
        let latency_ms = random.pick(&[1, 1, 1, 2, 5]);
        let mut plan = Self {
            format: FORMAT,
            seed,
            mode,
            nodes: random.pick(&[3, 3, 3, 4, 5]),
            clients: random.pick(&[1, 2, 3, 3]),
            latency_ms,
            jitter_ms: random.pick(&[0, 1, 2, 5, 30]),
            lease_ttl_ms: random.pick(&[2_000, 10_000]),
            fsync: true,
            browsers: random.fork("browsers").index(2),
            doubled_percent: random.fork("doubled").pick(&[0, 20, 60]),
            timeout_ms: random.fork("timeout").pick(&[10_000, 10_000, 2_000, 400, 0]),
            checkpoint_log: random.fork("checkpoints").pick(&[8 << 10, 64 << 10, 64 << 10, 512 << 10]),
            stop_grace_ms: random.fork("stop grace").pick(&[5, 50, 1_000, 5_000]),
            // Few, so that they are hot; sometimes more than a page of a listing.
            keys: random.pick(&[1, 1, 2, 3, 5, 5, 30]),
            time_ms: if random.fork("time").one_in(8) { LONG_MS } else { TIME_MS },
            faults: Vec::new(),
            ops: Vec::new(),
        };
        if plan.timeout_ms == 0 {
            // Hardly enough: many an operation ends without a word. A page of a listing that meets many deleted keys asks
            // the nodes twice, and leaders for what replicas do not agree on.
            let messages = if plan.keys > PAGE_KEYS_FEW { 18 } else { 8 };
            plan.timeout_ms = messages * (plan.latency_ms + plan.jitter_ms) + 50;
        }
        plan.faults = random_faults(&plan, random.fork("faults"));
        let rots = |fault: &PlannedFault| matches!(fault.fault, Fault::Disk { fault: DiskFault::Rot, .. });
        if plan.faults.iter().any(rots) {
            // What is only in the log does not stand there long enough.
            plan.checkpoint_log = 8 << 10;
        }
        plan.ops = random_ops(&plan, &random.fork("ops"));
        plan
    }

    /// Reads a plan file.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let place = path.display();
        let size = fs::metadata(path).map_err(|error| PlanError(format!("{place}: {error}")))?.len();
        if size > FILE_BYTES_MAX {
            return Err(PlanError(format!("{place} has {size} bytes: a plan has {FILE_BYTES_MAX} at most")));
        }
        let text = fs::read_to_string(path).map_err(|error| PlanError(format!("{place}: {error}")))?;
        Self::parse(&text).map_err(|PlanError(why)| PlanError(format!("{place}: {why}")))
    }

    /// A plan from its JSON text.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged =
            |error: serde_json::Error| PlanError(format!("this is no plan, or a damaged one: {error}"));
        let Format { format } = serde_json::from_str(text).map_err(damaged)?;
        if format != FORMAT {
            return Err(PlanError(format!(
                "it is a plan of format {format}, this program reads format {FORMAT}: replay it with the version that wrote it"
            )));
        }
        let plan: Self = serde_json::from_str(text).map_err(damaged)?;
        plan.check()?;
        Ok(plan)
    }

    /// Its JSON text.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a plan is plain data")
    }

    /// Whether it can be run.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let limits = [
            ("nodes", self.nodes, 1, NODES_MAX),
            ("clients", self.clients, 1, CLIENTS_MAX),
            ("keys", self.keys, 1, 10_000),
            ("faults", self.faults.len(), 0, FAULTS_MAX),
            ("ops", self.ops.len(), 0, OPS_MAX),
        ];
        for (what, is, least, most) in limits {
            if !(least..=most).contains(&is) {
                return Err(PlanError(format!("it has {is} {what}: {least} to {most} can be simulated")));
            }
        }
        let times = self.faults.iter().flat_map(|fault| [fault.at_ms, fault.lasts_ms]);
        let times = times.chain(self.ops.iter().map(|op| op.at_ms));
        if let Some(time) = times.chain([self.time_ms]).find(|time| *time > TIME_MS_MAX) {
            return Err(PlanError(format!("{time} ms is longer than the longest run, {TIME_MS_MAX} ms")));
        }
        if self.latency_ms == 0 {
            return Err(PlanError("latency_ms is 0: a packet takes a millisecond at least".to_owned()));
        }
        let hosts = self.hosts();
        let named = self.faults.iter().flat_map(|fault| fault.fault.hosts());
        if let Some(stranger) = named.into_iter().find(|name| !hosts.contains(name)) {
            return Err(PlanError(format!("a fault names {stranger}, which is no host of this plan")));
        }
        self.check_destroyed()?;
        if let Some(op) = self.ops.iter().find(|op| op.client >= self.clients || op.key >= self.keys) {
            return Err(PlanError(format!(
                "an operation of client {} on key {}: there is none",
                op.client, op.key
            )));
        }
        Ok(())
    }

    /// What is promised holds as long as a majority of every object's nodes keeps what it has acknowledged.
    fn check_destroyed(&self) -> Result<(), PlanError> {
        let destroys = |fault: &Fault| matches!(fault, Fault::Disk { fault, .. } if fault.destroys());
        let mut hit: Vec<String> = self
            .faults
            .iter()
            .map(|fault| &fault.fault)
            .filter(|fault| destroys(fault))
            .flat_map(Fault::hosts)
            .collect();
        hit.sort_unstable();
        hit.dedup();
        let most = usize::from(self.nodes > 2);
        if hit.len() <= most {
            return Ok(());
        }
        Err(PlanError(format!(
            "the disks of {} destroy what is on them: of {} nodes, {most} may do so",
            hit.join(" and "),
            self.nodes
        )))
    }

    /// The names of the nodes.
    pub fn node_names(&self) -> Vec<String> {
        (0..self.nodes).map(|number| format!("n{number}")).collect()
    }

    /// The names of the clients.
    pub fn client_names(&self) -> Vec<String> {
        (0..self.clients).map(|number| format!("c{number}")).collect()
    }

    fn hosts(&self) -> Vec<String> {
        [self.node_names(), self.client_names(), vec![REGISTRY.to_owned()]].concat()
    }

    /// The world that it runs in.
    pub fn world_options(&self) -> WorldOptions {
        let ms = Duration::from_millis;
        WorldOptions {
            mode: self.mode,
            nodes: self.nodes,
            clients: self.clients,
            link: LinkOptions { latency: ms(self.latency_ms), jitter: ms(self.jitter_ms) },
            lease_ttl: ms(self.lease_ttl_ms),
            fsync: self.fsync,
            browsers: self.browsers,
            doubled_percent: self.doubled_percent,
            timeout: ms(self.timeout_ms),
            checkpoint_log: self.checkpoint_log,
            stop_grace: ms(self.stop_grace_ms),
            hot: keys(self.keys),
            processes_max: self.processes_max(),
        }
    }

    /// Processes that one machine may start: what the faults start, those of liveness, and some that fail to start.
    fn processes_max(&self) -> usize {
        let ms = Duration::from_millis;
        let (nodes, clients) = (self.node_names(), self.client_names());
        let starts = |fault: &PlannedFault| {
            let steps = fault.fault.steps(ms(fault.at_ms), ms(fault.lasts_ms), &nodes, &clients);
            steps.iter().filter(|(_, step)| matches!(step, Step::Restart(_) | Step::ReplaceClient(_))).count()
        };
        self.faults.iter().map(starts).sum::<usize>() + 60
    }
}

/// Faults of a random half of all kinds: swarm testing, so that rare combinations of the rest come up.
fn random_faults(plan: &Plan, mut random: Random) -> Vec<PlannedFault> {
    let mut kinds: Vec<usize> = (0..KINDS).filter(|_| random.one_in(2)).collect();
    // What one disk destroys leaves no room for much else to go wrong: only some plans have that.
    let destroys = random.fork("destroys").one_in(2);
    kinds.retain(|kind| destroys || !disk_fault_of(*kind).is_some_and(DiskFault::destroys));
    if kinds.is_empty() {
        kinds = vec![0];
    }
    let count = 4 + random.below(18);
    let longest_ms = match plan.time_ms {
        LONG_MS => 12_000,
        _ => random.fork("longest").pick(&[500, 2_000, 2_000, 5_000]),
    };
    let mut faults: Vec<_> = (0..count)
        .map(|number| {
            // A stream for each, so that they do not depend on each other.
            let mut random = random.fork(&format!("fault {number}"));
            let kind = random.pick(&kinds);
            let mut at_ms = random.below(plan.time_ms);
            let mut lasts_ms = u64::try_from(random.log_ms(2, longest_ms).as_millis()).expect("seconds");
            let fault = random_fault(kind, plan, &mut random);
            // Longer than anybody's patience.
            if matches!(fault, Fault::Freeze { .. }) && random.one_in(3) {
                lasts_ms = longest_ms / 2 + random.below(longest_ms);
            }
            if plan.time_ms == LONG_MS && is_cut(&fault) && random.one_in(2) {
                at_ms = random.below(plan.time_ms / 8);
                lasts_ms = plan.time_ms - at_ms;
            }
            // Nodes try again only after a while.
            let lasts_ms =
                if matches!(fault, Fault::DiskFull { .. }) { 300 + 2 * lasts_ms } else { lasts_ms };
            PlannedFault { at_ms, lasts_ms, fault }
        })
        .collect();
    // The layout changes, and soon there is nobody any more who could tell all nodes.
    if random.fork("last layout").one_in(4) {
        let mut random = random.fork("last layout's");
        let unseen_by = random.pick(&plan.node_names());
        let lasts_ms = 1 + random.below(1_000);
        let at_ms = plan.time_ms - lasts_ms;
        if random.one_in(2) {
            // And the disk of a node does not take it, and the node is started again.
            let node = random.pick(&plan.node_names());
            let again = Fault::Kill { node: node.clone() };
            let fault =
                Fault::Disk { node, fault: DiskFault::WriteError, files: FileKind::Layout, one_in: 1 };
            faults.push(PlannedFault { at_ms, lasts_ms, fault });
            faults.push(PlannedFault { at_ms: plan.time_ms - 1, lasts_ms: 20, fault: again });
        }
        let fault = Fault::Relayout { unseen_by: Some(unseen_by) };
        faults.push(PlannedFault { at_ms, lasts_ms: 2 * lasts_ms, fault });
    }
    // The first layout is written to a registry that hardly answers.
    if random.fork("first layout").one_in(8) {
        let percent = 60 + random.fork("first layout's").below(36);
        let fault = Fault::RegistryStart { fault: RegistryFault::Refuse { percent } };
        faults.push(PlannedFault { at_ms: 0, lasts_ms: 1_500, fault });
    }
    // What stands on a disk rots: few plans come to it by chance, and on few disks is anything that is read again.
    if destroys && random.fork("rot").one_in(4) {
        let mut random = random.fork("rot's");
        let node = Random::new(plan.seed, "the node whose disk destroys").pick(&plan.node_names());
        let at_ms = plan.time_ms / 2 + random.below(plan.time_ms / 2);
        let rot =
            |one_in| Fault::Disk { node: node.clone(), fault: DiskFault::Rot, files: FileKind::Base, one_in };
        if random.one_in(2) {
            // Most of the file is free; and too many keep it from being opened.
            let many = 1 + random.index(12);
            faults.extend(std::iter::repeat_n(PlannedFault { at_ms, lasts_ms: 1, fault: rot(1) }, many));
            // What it has in memory is not read again.
            let again = Fault::Kill { node: node.clone() };
            faults.push(PlannedFault { at_ms: at_ms + 2, lasts_ms: 20, fault: again });
        } else {
            let lasts_ms = 200 + random.below(1_000);
            faults.push(PlannedFault { at_ms, lasts_ms, fault: rot(2 + random.below(4)) });
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// Whether links carry nothing while it lasts.
fn is_cut(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Cut { .. }
            | Fault::CutOneWay { .. }
            | Fault::Isolate { .. }
            | Fault::CutFromPeers { .. }
            | Fault::Split { .. }
    )
}

/// Where the kinds of [`DiskFault`] begin.
const DISK_KINDS: usize = 43;
/// And those of [`RegistryFault`].
const REGISTRY_KINDS: usize = DISK_KINDS + DiskFault::ALL.len();
const KINDS: usize = REGISTRY_KINDS + RegistryFault::KINDS as usize;

fn disk_fault_of(kind: usize) -> Option<DiskFault> {
    DiskFault::ALL.get(kind.checked_sub(DISK_KINDS)?).copied()
}

fn random_disk_fault(fault: DiskFault, node: String, plan: &Plan, random: &mut Random) -> Fault {
    // Those of redb are touched only now and then.
    let files = random.pick(&[
        FileKind::Any,
        FileKind::Log,
        FileKind::Log,
        FileKind::Base,
        FileKind::Sums,
        FileKind::Layout,
    ]);
    let one_in = random.pick(&[1, 2, 5, 20]);
    let node = match fault.destroys() {
        // The same for all of a plan.
        true => Random::new(plan.seed, "the node whose disk destroys").pick(&plan.node_names()),
        false => node,
    };
    Fault::Disk { node, fault, files, one_in }
}

fn random_fault(kind: usize, plan: &Plan, random: &mut Random) -> Fault {
    let nodes = plan.node_names();
    let at = random.index(nodes.len());
    let node = nodes[at].clone();
    let other = nodes[(at + 1 + random.index((nodes.len() - 1).max(1))) % nodes.len()].clone();
    let client = random.pick(&plan.client_names());
    // Two nodes, or a client and a node.
    let (a, b) = if random.one_in(2) { (client.clone(), node.clone()) } else { (node.clone(), other) };
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).expect("short");
    match kind {
        0 => Fault::Cut { a, b },
        1 => Fault::CutOneWay { from: a, to: b },
        2 => Fault::Isolate { node },
        3 => Fault::CutFromPeers { node },
        4 => Fault::CutClient { client, node },
        5 => Fault::CutRegistry { node },
        6 => {
            let size = 1 + random.index((nodes.len() - 1).max(1));
            let left = (0..size).map(|step| nodes[(at + step) % nodes.len()].clone()).collect();
            Fault::Split { left }
        }
        7 => Fault::Swizzle { node },
        8 => Fault::Flap { a, b, every_ms: random.log_ms(10, 500).as_millis() as u64 },
        9 => Fault::SlowLink { a, b, ms: random.log_ms(8, 300).as_millis() as u64 },
        10 => Fault::Loss { of_thousand: random.pick(&[5, 20, 50, 200]) },
        11 => Fault::NarrowLink { a, b, bytes_per_ms: random.pick(&[16, 64, 256]) },
        12 => Fault::Kill { node },
        13 => Fault::KillAll,
        14 => Fault::CrashLoop { node, every_ms: random.log_ms(20, 600).as_millis() as u64 },
        15 => Fault::Stop { node },
        16 => Fault::RollingRestart,
        17 => Fault::Freeze { node },
        18 => Fault::Stutter { node, on_ms: random.pick(&[1, 5, 20]), off_ms: random.pick(&[5, 20, 80]) },
        19 => Fault::ClientVanishes { client },
        20 => Fault::PowerLoss { node },
        21 => Fault::PowerLossAll,
        22 => Fault::TornPower { node, changes: 1 + random.below(40) },
        23 => Fault::DiskFull { node, room: random.pick(&[0, 0, 4 << 10, 64 << 10, 256 << 10]) },
        24 => Fault::SyncFails { node },
        25 => Fault::ClockForward { node, ms: ms(random.log_ms(10, 100_000)) },
        26 => Fault::ClockBack { node, ms: ms(random.log_ms(10, 100_000)) },
        27 => Fault::ClockDrift { node, ms_per_s: random.pick(&[-100, -10, 10, 100]) },
        28 => Fault::RegistryDown,
        29 => Fault::RegistryDark,
        30 => Fault::Burst { client },
        31 => Fault::ListingStorm { client },
        32 => Fault::LargeBodies { client },
        33 => Fault::DiskSlow { node },
        34 => Fault::DiskStall { node },
        35 => Fault::Relayout { unseen_by: Some(node).filter(|_| !random.one_in(4)) },
        37 => Fault::RegistrySetBack,
        38 => {
            let fault = match random.below(4) {
                0 => RegistryFault::Slow { most_ms: 1_000 },
                1 => RegistryFault::LoseAnswers { percent: 10 + random.below(91) },
                2 => RegistryFault::LeaderChange { away_ms: 1 + random.below(1_000) },
                _ => RegistryFault::Refuse { percent: 10 + random.below(91) },
            };
            Fault::RegistryStart { fault }
        }
        39 => Fault::Upgrade { node },
        40 => Fault::RollingUpgrade,
        41 => Fault::StopCutShort { node, after_ms: random.log_ms(1, 64).as_millis() as u64 },
        42 => {
            let host = if random.one_in(3) { node } else { client };
            Fault::Reset { host, of_thousand: random.pick(&[20, 100, 300]) }
        }
        // A first start makes few changes, a later one may make many.
        36 => {
            let changes =
                if random.one_in(2) { random.below(96) } else { random.log_ms(1, 400).as_millis() as u64 };
            Fault::TornStart { node, changes: 1 + changes }
        }
        REGISTRY_KINDS..KINDS => {
            let kind = (kind - REGISTRY_KINDS) as u64;
            Fault::Registry { fault: RegistryFault::of_kind(kind, random) }
        }
        kind => match disk_fault_of(kind) {
            Some(fault) => random_disk_fault(fault, node, plan, random),
            None => unreachable!("KINDS counts them"),
        },
    }
}
