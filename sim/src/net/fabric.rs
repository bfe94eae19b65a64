//! What carries bytes between machines, and when: links with latency, loss, cuts and bandwidth; machines with and
//! without power; and the agenda of everything that is under way.
//!
//! A choice of the network depends on the seed, the link and the time only: a message that is taken out of a run leaves
//! the others where they are.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::link::{Crossing, Link, LinkOptions};
use super::pipe::Port;
use super::wire::Wire;
use crate::hooks;
use crate::host::{HostId, Process};
use crate::panics;
use crate::random::keyed;
use crate::trace::Trace;

thread_local! {
    /// Whose code runs.
    static CURRENT: Cell<Option<HostId>> = const { Cell::new(None) };
    static NAMES: RefCell<Vec<Arc<str>>> = const { RefCell::new(Vec::new()) };
}

/// The name of the host whose code runs, for log lines.
pub(crate) fn current_host_name() -> Arc<str> {
    let at = CURRENT.get().map(|host| host.0);
    NAMES.with_borrow(|names| at.and_then(|at| names.get(at)).cloned()).unwrap_or_else(|| "world".into())
}

/// Something that will happen. Called without the fabric's lock.
type Happening = Box<dyn FnOnce(&Arc<Fabric>) + Send>;

/// All machines and links of a world.
pub(crate) struct Fabric {
    seed: u64,
    trace: Trace,
    state: Mutex<State>,
    /// Something was put on the agenda before what was next, or the driver is wanted.
    changed: Notify,
    pub(super) wire: Option<Wire>,
    /// Faults were ended, all of them or those of some machines: from then on pages send nothing twice without cause.
    pub(super) healed: AtomicBool,
}

#[derive(Default)]
struct State {
    machines: Vec<Machine>,
    /// By sender, then by receiver.
    links: Vec<Vec<Link>>,
    agenda: BinaryHeap<Reverse<Entry>>,
    next_entry: u64,
    /// How many there were.
    processes: usize,
    driver_sleeps_until: Option<Duration>,
    wanted: bool,
    messages: Option<Vec<Message>>,
}

/// A machine: what outlives its processes.
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    /// Without power it neither sends nor receives.
    pub(super) dark: bool,
    /// How often the power came back: connections of before are unknown to its kernel.
    pub(super) boots: u64,
    pub(super) process: Option<Arc<Process>>,
    pub(super) ports: BTreeMap<u16, Port>,
}

/// A message that was sent, for a reader.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    pub(crate) sent: Duration,
    /// `None`: it never arrived.
    pub(crate) received: Option<Duration>,
    pub(crate) label: String,
    pub(crate) bytes: usize,
}

struct Entry {
    due: Duration,
    number: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl Fabric {
    /// `wire`: connections are real TCP (turmoil-net's), packet by packet.
    pub(crate) fn new(seed: u64, trace: Trace, wire: Option<Wire>) -> Arc<Self> {
        Arc::new(Self {
            seed,
            trace,
            state: Mutex::default(),
            changed: Notify::new(),
            wire,
            healed: AtomicBool::new(false),
        })
    }

    /// Adds a machine, linked with all others. Its power is on, nothing runs on it.
    pub(crate) fn add_machine(&self, name: &str, options: LinkOptions) -> HostId {
        let mut state = self.state.lock();
        let host = HostId(state.machines.len());
        for links in &mut state.links {
            links.push(Link::new(options));
        }
        state.links.push((0..=host.0).map(|_| Link::new(options)).collect());
        let name: Arc<str> = name.into();
        NAMES.with_borrow_mut(|names| {
            names.truncate(host.0);
            names.push(name.clone());
        });
        state.machines.push(Machine { name, dark: false, boots: 0, process: None, ports: BTreeMap::new() });
        host
    }

    /// A machine's name.
    pub(crate) fn name(&self, host: HostId) -> Arc<str> {
        self.state.lock().machines[host.0].name.clone()
    }

    /// The machine and port of `name:port`.
    pub(super) fn resolve(&self, address: &str) -> io::Result<(HostId, u16)> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{address}: no such host"));
        let (name, port) = address.rsplit_once(':').ok_or_else(unknown)?;
        let port = port.parse().map_err(|_| unknown())?;
        let state = self.state.lock();
        let at = state.machines.iter().position(|machine| *machine.name == *name).ok_or_else(unknown)?;
        Ok((HostId(at), port))
    }

    /// What runs from here on is this host's, until another is named.
    pub(crate) fn set_current(&self, host: HostId) {
        CURRENT.set(Some(host));
        if let Some(wire) = &self.wire {
            wire.set_current(host);
        }
    }

    pub(super) fn with_machine<T>(&self, host: HostId, body: impl FnOnce(&mut Machine) -> T) -> T {
        body(&mut self.state.lock().machines[host.0])
    }

    /// The process that runs on a machine.
    pub(crate) fn process(&self, host: HostId) -> Option<Arc<Process>> {
        self.state.lock().machines[host.0].process.clone()
    }

    /// Changes the link from one machine to another, in that direction only.
    pub(crate) fn with_link<T>(&self, from: HostId, to: HostId, body: impl FnOnce(&mut Link) -> T) -> T {
        body(&mut self.state.lock().links[from.0][to.0])
    }

    /// Whether packets from one machine reach the other at all, now.
    pub(super) fn reaches(&self, from: HostId, to: HostId) -> bool {
        let state = self.state.lock();
        let dark = |host: HostId| state.machines[host.0].dark;
        !dark(from) && !dark(to) && !state.links[from.0][to.0].is_cut()
    }

    /// Whether a machine has power, and how often it came back.
    pub(super) fn power(&self, host: HostId) -> (bool, u64) {
        let machine = &self.state.lock().machines[host.0];
        (!machine.dark, machine.boots)
    }

    /// A new process takes the machine.
    pub(crate) fn start_process(self: &Arc<Self>, host: HostId) -> Arc<Process> {
        let mut state = self.state.lock();
        state.processes += 1;
        let process = Process::new(state.processes, host, self.clone());
        let machine = &mut state.machines[host.0];
        assert!(machine.process.is_none(), "{} runs already", machine.name);
        machine.process = Some(process.clone());
        if let Some(wire) = &self.wire {
            wire.start_process(host, machine.dark);
        }
        if machine.dark {
            machine.dark = false;
            machine.boots += 1;
        }
        process
    }

    /// The process is gone. With power on, its kernel closes what it had open.
    pub(crate) fn end_process(&self, host: HostId, power_fails: bool) {
        let process = {
            let mut state = self.state.lock();
            let machine = &mut state.machines[host.0];
            machine.dark |= power_fails;
            machine.process.take()
        };
        if let Some(process) = process {
            process.kill();
        }
        // Listeners close with the tasks that had them; what is left was never accepted.
        let ports = std::mem::take(&mut self.state.lock().machines[host.0].ports);
        drop(ports);
    }

    /// What becomes of a packet that is sent now. `attempt`: how often it was sent before.
    pub(super) fn cross(&self, from: HostId, to: HostId, bytes: usize, attempt: u32) -> Crossing {
        let now = hooks::now();
        let mut state = self.state.lock();
        let State { machines, links, .. } = &mut *state;
        if machines[from.0].dark || machines[to.0].dark {
            return Crossing::Lost;
        }
        let place = (from.0 * machines.len() + to.0) as u64;
        let draw = keyed(self.seed, place, now.as_millis() as u64 * 64 + u64::from(attempt));
        links[from.0][to.0].cross(now, bytes, draw)
    }

    /// Notes a message for the trace and, when somebody will read the run, for its picture.
    pub(super) fn note(&self, from: HostId, to: HostId, arrives: Option<Duration>, label: &str, data: &[u8]) {
        self.trace.event(label, [from.0, to.0], data);
        let mut state = self.state.lock();
        if let Some(messages) = &mut state.messages {
            messages.push(Message {
                from,
                to,
                sent: hooks::now(),
                received: arrives,
                label: label.to_owned(),
                bytes: data.len(),
            });
        }
    }

    /// From here on messages are kept.
    pub(crate) fn keep_messages(&self) {
        self.state.lock().messages = Some(Vec::new());
    }

    pub(crate) fn take_messages(&self) -> Vec<Message> {
        self.state.lock().messages.take().unwrap_or_default()
    }

    /// Sends something that is not sent again when it is lost. It is dropped then.
    pub(super) fn send_once(self: &Arc<Self>, from: HostId, to: HostId, label: &str, arrive: Happening) {
        let at = self.cross(from, to, 0, 0).arrives();
        self.note(from, to, at, label, &[]);
        if let Some(at) = at {
            let boots = self.power(to).1;
            self.at(at, move |fabric| {
                if fabric.power(to) == (true, boots) {
                    arrive(fabric);
                }
            });
        }
    }

    /// Puts something on the agenda.
    pub(crate) fn at(&self, due: Duration, happening: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let mut state = self.state.lock();
        let number = state.next_entry;
        state.next_entry += 1;
        state.agenda.push(Reverse(Entry { due, number, happening: Box::new(happening) }));
        if state.driver_sleeps_until.is_some_and(|until| due < until) {
            state.driver_sleeps_until = None;
            self.changed.notify_one();
        }
    }

    /// Has [`Self::run_until`] return soon.
    pub(crate) fn want_driver(&self) {
        self.state.lock().wanted = true;
        self.changed.notify_one();
    }

    /// Lets time pass until `end`, or until the driver is wanted. On the world's runtime.
    pub(crate) async fn run_until(self: &Arc<Self>, start: Instant, end: Duration) {
        loop {
            let next = {
                let mut state = self.state.lock();
                if std::mem::take(&mut state.wanted) || panics::any() {
                    return;
                }
                let next = state.agenda.peek().map_or(end, |Reverse(entry)| entry.due.min(end));
                state.driver_sleeps_until = Some(next);
                next
            };
            if next > hooks::now() {
                tokio::select! {
                    biased;
                    () = self.changed.notified() => continue,
                    () = sleep_until(start + next) => {}
                }
            }
            self.state.lock().driver_sleeps_until = None;
            let now = hooks::now();
            while let Some(happening) = self.take_due(now) {
                happening(self);
            }
            if now >= end {
                return;
            }
        }
    }

    fn take_due(&self, now: Duration) -> Option<Happening> {
        let mut state = self.state.lock();
        if state.agenda.peek().is_some_and(|Reverse(entry)| entry.due <= now) {
            state.agenda.pop().map(|Reverse(entry)| entry.happening)
        } else {
            None
        }
    }

    /// Every link as it was in the beginning.
    pub(crate) fn heal_links(&self) {
        self.healed.store(true, Ordering::Relaxed);
        for links in &mut self.state.lock().links {
            links.iter_mut().for_each(Link::heal);
        }
    }

    /// Forgets everything, at the end of the world: the agenda and the processes hold each other.
    pub(crate) fn dissolve(&self) {
        let mut state: MutexGuard<'_, State> = self.state.lock();
        let agenda = std::mem::take(&mut state.agenda);
        let processes: Vec<_> =
            state.machines.iter_mut().filter_map(|machine| machine.process.take()).collect();
        drop(state);
        drop(agenda);
        processes.iter().for_each(Process::kill);
    }
}
