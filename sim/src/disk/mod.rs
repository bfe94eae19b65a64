//! A node's disk, in memory: it loses power, fills up, fails, lies, rots and stalls.
//!
//! Each file and each name has two states: what is on the platter, and what the running system sees. A process that is
//! killed loses nothing (the page cache is the kernel's); a machine that loses power keeps of what was not synced any
//! subset of 512-byte sectors, lengths and names, as the seed chooses. Handles of a process that is gone fail.
//!
//! Nothing here but [`crate`]'s random streams is the simulator's: the store's own tests are built with the same files.

mod attached;
mod crash;
mod fault;
mod file;
mod latency;
mod names;
mod paged;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use node::env::Disk;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::random::Random;
use attached::Attached;
pub use crash::CrashPoint;
use fault::Faults;
pub use fault::{DiskFault, FileKind, Strike, When};
use file::{Astray, Content, Fate, Part};
pub use file::{KEYS_BEGIN, SECTOR_BYTES};
pub use latency::Latency;
use names::Names;
use paged::is_zeros;

/// Zeros that are more are told by their number.
const ZEROS_BYTES_MIN: usize = 4096;
/// No space left on device, input/output error: what Linux answers.
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// Takes down what happens on a disk.
pub trait Journal: Send + Sync {
    /// Something that a person can read.
    fn line(&self, line: fmt::Arguments<'_>);
    /// An operation, and the bytes that it writes.
    fn bytes(&self, what: fmt::Arguments<'_>, data: &[u8]);
}

/// Takes nothing down.
impl Journal for () {
    fn line(&self, _line: fmt::Arguments<'_>) {}
    fn bytes(&self, _what: fmt::Arguments<'_>, _data: &[u8]) {}
}

/// One machine's disk, which outlives its processes. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    host: String,
    journal: Arc<dyn Journal>,
    /// Never drawn from: only the root of keyed streams.
    random: Random,
    contents: Vec<Content>,
    names: Names,
    /// Counts processes: handles of an earlier one do nothing.
    life: u64,
    locked_by: Option<u64>,
    capacity: Option<usize>,
    power_off_in: Option<u64>,
    /// Operations that changed something, so far: all, and by path (and what else is counted by a name).
    operations: u64,
    counts: BTreeMap<String, u64>,
    faults: Faults,
    latency: Option<Latency>,
    /// What the device still needs for what it was told.
    owed: Duration,
    /// Whether it owes that because of a stall.
    stalled: bool,
    /// Told when it is healed: whoever waits for the device need not any longer.
    healed: Arc<Notify>,
    recording: Option<Vec<CrashPoint>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("SimDisk")
            .field("host", &state.host)
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk of a host.
    pub fn new(host: &str, random: Random, journal: impl Journal + 'static) -> Self {
        Self(Arc::new(Mutex::new(State {
            host: host.to_owned(),
            journal: Arc::new(journal),
            random,
            contents: Vec::new(),
            names: Names::default(),
            life: 0,
            locked_by: None,
            capacity: None,
            power_off_in: None,
            operations: 0,
            counts: BTreeMap::new(),
            faults: Faults::default(),
            latency: None,
            owed: Duration::ZERO,
            stalled: false,
            healed: Arc::default(),
            recording: None,
        })))
    }

    /// The disk as a new process sees it.
    pub fn attach(&self) -> Arc<dyn Disk> {
        Arc::new(Attached::new(self.clone(), self.0.lock().life))
    }

    /// The process ends at once, the machine stays up: everything written is there.
    pub fn process_kill(&self) {
        let mut state = self.0.lock();
        if state.has_unsynced() {
            state.faults.bit("kill-kept-the-page-cache");
        }
        state.new_life();
    }

    /// The machine loses power: of what was not synced, any part survives.
    pub fn power_loss(&self) {
        let state = &mut *self.0.lock();
        state.new_life();
        state.lose_power();
    }

    /// The machine loses power at the `operations`-th change from now on: that one and all later operations fail. The
    /// world must then be told ([`Self::power_loss`]).
    pub fn power_off_in(&self, operations: u64) {
        self.0.lock().power_off_in = Some(operations);
    }

    /// Whether [`Self::power_off_in`] is in force.
    pub fn power_may_fail(&self) -> bool {
        self.0.lock().power_off_in.is_some()
    }

    /// Whether the power has failed by [`Self::power_off_in`].
    pub fn power_failed(&self) -> bool {
        self.0.lock().power_off_in == Some(0)
    }

    /// Takes [`Self::power_off_in`] back.
    pub fn power_on(&self) {
        self.0.lock().power_off_in = None;
    }

    /// Switches a fault on or off.
    pub fn set_fault(&self, fault: DiskFault, strike: Option<Strike>) {
        let on = &mut self.0.lock().faults.on;
        match strike {
            Some(strike) => on.insert(fault, strike),
            None => on.remove(&fault),
        };
    }

    /// The faults that are switched on.
    pub fn faults(&self) -> BTreeMap<DiskFault, Strike> {
        self.0.lock().faults.on.clone()
    }

    /// Takes back what would still fail: every fault of [`DiskFault`], the latency, a stall that lasts, the limit of room, a
    /// power loss to come.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.faults.on.clear();
        state.latency = None;
        state.owed = Duration::ZERO;
        state.stalled = false;
        state.healed.notify_waiters();
        state.capacity = None;
        state.power_off_in = None;
    }

    /// Bytes that fit; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// How long the device takes; `None`: no time at all.
    pub fn set_latency(&self, latency: Option<Latency>) {
        self.0.lock().latency = latency;
    }

    /// Whoever next waits for the device waits so much longer.
    pub fn stall(&self, time: Duration) {
        let mut state = self.0.lock();
        state.owed += time;
        state.stalled = true;
        state.journal.line(format_args!("fault: the disk of {} stalls for {time:?}", state.host));
    }

    /// A bit of a stored file flips, and stays so until it is overwritten. `offset`: which byte; `None`: as the seed
    /// says, a byte that is not zero if there are some. Answers where; `None`: there is no such file, or it is not that long.
    pub fn rot(&self, files: FileKind, offset: Option<usize>) -> Option<(String, usize)> {
        let state = &mut *self.0.lock();
        let key = format!("rot of {files:?}");
        let number = state.count(&key);
        let mut random = state.random.fork(&format!("{key} {number}"));
        let stored = state.names.now().iter().filter(|(path, _)| files.has(path));
        let stored = stored.filter(|(_, at)| state.contents[**at].now.len() > offset.unwrap_or(0));
        let stored: Vec<_> = stored.map(|(path, at)| (path.clone(), *at)).collect();
        let (path, at) = stored.get(random.index(stored.len().max(1)))?.clone();
        let offset = offset.unwrap_or_else(|| state.contents[at].somewhere(&mut random));
        state.rot_bit(at, &path, offset, &mut random);
        Some((path, offset))
    }

    /// How often each fault really bit, by its name.
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().faults.fired.clone()
    }

    /// Whether it has, at some time, taken away what it had said that it keeps.
    pub fn has_destroyed(&self) -> bool {
        let state = self.0.lock();
        let destroyers = DiskFault::ALL.into_iter().filter(|fault| fault.destroys());
        destroyers.into_iter().any(|fault| state.faults.fired.contains_key(fault.name()))
    }

    /// Bytes in all files.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// Operations that changed something, so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// All files and their bytes, as a process sees them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        let bytes = |at: &usize| state.contents[*at].now.to_vec();
        state.names.now().iter().map(|(name, at)| (name.clone(), bytes(at))).collect()
    }

    /// Changes a file's bytes behind everybody's back. The file is there.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut *self.0.lock();
        let at = state.names.find(path).expect("the file is there");
        let content = &mut state.contents[at];
        let mut bytes = content.now.to_vec();
        change(&mut bytes);
        content.now.resize(0);
        content.now.write(0, &bytes);
        content.platter = content.now.clone();
        content.unsynced.clear();
    }

    /// Removes a name behind everybody's back. Answers whether it was there.
    pub fn erase(&self, path: &str) -> bool {
        self.0.lock().names.erase(path)
    }
}

impl State {
    fn used(&self) -> usize {
        self.names.now().values().map(|at| self.contents[*at].now.len()).sum()
    }

    fn room(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn has_unsynced(&self) -> bool {
        !self.names.unsynced().is_empty() || self.contents.iter().any(|content| !content.unsynced.is_empty())
    }

    /// Frees the bytes of files that no name leads to and no process has open.
    fn forget_unnamed(&mut self) {
        let reachable = self.names.reachable();
        for (at, content) in self.contents.iter_mut().enumerate() {
            if !reachable.contains(&at) && Arc::strong_count(&content.handles) == 1 {
                *content = Content::new(&content.path);
            }
        }
    }

    fn new_life(&mut self) {
        self.life += 1;
        self.locked_by = None;
        self.power_off_in = None;
        self.owed = Duration::ZERO;
        self.stalled = false;
    }

    fn lose_power(&mut self) {
        let loss = self.count("power loss");
        // Swarm: some losses keep nearly everything, some nearly nothing.
        let keep_percent = self.random.fork(&format!("power loss {loss}")).pick(&[0, 10, 50, 90, 100]);
        let random = self.random;
        let names_lost = self.names.lose_power(|number| {
            random.fork(&format!("power loss {loss} name {number}")).percent(keep_percent)
        });
        let (mut sectors_lost, mut torn) = (0, 0);
        for content in &mut self.contents {
            let mut kept = Vec::new();
            let mut stream = (None, random);
            // Of the bytes of the change that is looked at: how many parts survive, how many do not.
            let mut tally = (0_u64, 0_u64);
            for (number, _, part) in content.parts() {
                if stream.0 != Some(number) {
                    torn += u64::from(tally.0 > 0 && tally.1 > 0);
                    tally = (0, 0);
                    let key = format!("power loss {loss} {} change {number}", content.path);
                    stream = (Some(number), random.fork(&key));
                }
                let keeps = stream.1.percent(keep_percent);
                if matches!(part, Part::Bytes { .. }) {
                    tally.0 += u64::from(keeps);
                    tally.1 += u64::from(!keeps);
                    sectors_lost += u64::from(!keeps);
                }
                if keeps {
                    kept.push(part);
                }
            }
            torn += u64::from(tally.0 > 0 && tally.1 > 0);
            content.lose_power(kept);
        }
        self.faults.bit("power-loss");
        self.faults.bit_times("unsynced-sectors-lost", sectors_lost);
        self.faults.bit_times("unsynced-names-lost", names_lost);
        self.faults.bit_times("torn-write", torn);
        self.journal.line(format_args!(
            "fault: {} loses power; {sectors_lost} unsynced sectors and {names_lost} unsynced names are lost",
            self.host
        ));
    }

    fn check(&self, life: u64) -> io::Result<()> {
        let off = self.power_off_in == Some(0);
        if life != self.life || off { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    /// How often this was counted before: the key of a draw.
    fn count(&mut self, what: &str) -> u64 {
        let count = match self.counts.get_mut(what) {
            Some(count) => count,
            None => self.counts.entry(what.to_owned()).or_default(),
        };
        *count += 1;
        *count - 1
    }

    /// Before each operation that changes something. Answers how many there were before on this path.
    fn begin_change(&mut self, life: u64, what: &str, path: &str, data: &[u8]) -> io::Result<u64> {
        self.check(life)?;
        if let Some(left) = &mut self.power_off_in {
            *left -= 1;
            if *left == 0 {
                self.faults.bit("torn-power");
            }
        }
        self.check(life)?;
        if self.recording.is_some() {
            let point = self.crash_point(&format!("{what} {path}"));
            self.recording.get_or_insert_default().push(point);
        }
        let host = &self.host;
        if data.len() > ZEROS_BYTES_MIN && is_zeros(data) {
            let length = (data.len() as u64).to_le_bytes();
            self.journal.bytes(format_args!("{host} disk zeros {what} {path}"), &length);
        } else {
            self.journal.bytes(format_args!("{host} disk {what} {path}"), data);
        }
        self.operations += 1;
        let number = self.count(path);
        if let Some(latency) = self.latency {
            let mut random = self.random.fork(&format!("latency {path} {number}"));
            let (time, stalls) = latency.draw(what.starts_with("syncs"), &mut random);
            self.owed += time;
            self.stalled |= stalls;
        }
        Ok(number)
    }

    /// Whether a fault strikes the `number`-th operation of its sort on a file; with the rest of the stream that says so.
    fn struck(&mut self, fault: DiskFault, path: &str, number: u64) -> Option<Random> {
        if self.faults.on.is_empty() {
            return None;
        }
        let mut random = self.random.fork(&format!("{} {path} {number}", fault.name()));
        self.faults.strikes(fault, path, |bound| random.below(bound)).then_some(random)
    }

    /// A fault has bitten: counts and tells it.
    fn bite(&mut self, fault: DiskFault, path: &str) {
        self.faults.bit(fault.name());
        self.journal.line(format_args!("fault: {} of {path} on {}", fault.name(), self.host));
    }

    fn rot_bit(&mut self, at: usize, path: &str, offset: usize, random: &mut Random) {
        let bit = 1_u8 << random.below(8);
        let content = &mut self.contents[at];
        for bytes in [&mut content.now, &mut content.platter] {
            let mut byte = [0];
            if bytes.read(offset, &mut byte).is_some() {
                bytes.write(offset, &[byte[0] ^ bit]);
            }
        }
        self.faults.bit(DiskFault::Rot.name());
        self.journal.line(format_args!("fault: bit rot in {path} at {offset} on {}", self.host));
    }

    /// Where a write goes that misses its place: a sector of some file, which it overwrites.
    fn elsewhere(&self, at: usize, offset: usize, random: &mut Random) -> Option<Fate> {
        let files: Vec<usize> = self.names.now().values().copied().collect();
        let file = *files.get(random.index(files.len().max(1)))?;
        let sectors = self.contents[file].platter.len().div_ceil(SECTOR_BYTES);
        let mut sector = random.index(sectors.max(1));
        if file == at && sector == offset / SECTOR_BYTES {
            sector = (sector + 1) % sectors.max(1);
        }
        let evicted = random.one_in(2);
        Some(Fate::Misdirected { file, offset: sector * SECTOR_BYTES, evicted })
    }

    fn sync_file(&mut self, at: usize) {
        let (lost, astray) = self.contents[at].sync();
        let path = self.contents[at].path.clone();
        for _ in 0..lost {
            self.bite(DiskFault::LostWrite, &path);
        }
        for Astray { file, offset, data, evicted } in astray {
            let content = &mut self.contents[file];
            let fits = content.platter.len().saturating_sub(offset).min(data.len());
            content.platter.write(offset, &data[..fits]);
            if evicted && content.now.len() >= offset + fits {
                content.now.write(offset, &data[..fits]);
            }
            self.bite(DiskFault::MisdirectedWrite, &path);
        }
    }
}
