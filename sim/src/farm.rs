//! Runs plans in processes of their own: nothing is shared between runs, a panic on any task is a verdict, and so is a
//! hang.
//!
//! A worker is this program again, with fixed addresses. For each plan it forks: a fresh process costs less than a
//! millisecond that way. The child runs the plan on a fresh thread, whose hash maps have their keys from the seed.

#![allow(unsafe_code, reason = "fork, alarm, personality and exit are system calls without a safe form")]

use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::hooks;
use crate::panics;
use crate::plan::Plan;
use crate::real_world;
use crate::run::{Failure, OUT_OF_TIME, Outcome, run};
use crate::trace::{Detail, Trace};
use crate::world::Mode;

/// The first argument of a worker.
pub const WORKER: &str = "worker";
/// Real seconds after which a run is ended, if nobody says less.
const RUN_SECONDS_MAX: u32 = 40;
/// The exit code of a child that has told nothing.
const UNTOLD: i32 = 3;
/// Debug builds are generous with it.
const STACK_BYTES: usize = 64 << 20;
/// Tells the allocator to give nothing back: it would be asked for again, a page fault for each page, since the clock that
/// it looks at is simulated and flies.
pub(crate) const KEEP_MEMORY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "-1");
/// Lines of the trace that a failure keeps.
const LINES_KEPT: usize = 160;

/// What a worker is asked to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// The plan of a seed.
    Seed(u64, Mode),
    /// A plan.
    Plan(Box<Plan>),
}

impl Job {
    /// Its plan's seed.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Seed(seed, _) => *seed,
            Self::Plan(plan) => plan.seed,
        }
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        match self {
            Self::Seed(seed, mode) => Plan::random(*seed, *mode),
            Self::Plan(plan) => (**plan).clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    job: Job,
    lines: bool,
    seconds_max: u32,
}

/// Workers.
#[derive(Clone, Debug)]
pub struct Farm {
    /// The `sim` program.
    pub program: PathBuf,
    /// How many at a time.
    pub workers: usize,
    /// Set in the workers' environment.
    pub env: Vec<(String, String)>,
    /// Real seconds after which a run is ended, with a verdict.
    pub run_seconds_max: u32,
}

impl Farm {
    /// As many workers as processors.
    pub fn new(program: &Path) -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Self { program: program.to_owned(), workers, env: Vec::new(), run_seconds_max: RUN_SECONDS_MAX }
    }

    /// Runs jobs until there are none left, or `on_outcome` says no. Keeps no lines.
    pub fn run_all(
        &self,
        jobs: impl Iterator<Item = Job> + Send,
        on_outcome: impl FnMut(&Job, Outcome) -> bool + Send,
    ) -> io::Result<()> {
        let shared = Mutex::new((jobs, on_outcome, true));
        let work = || -> io::Result<()> {
            let mut worker = Worker::start(self)?;
            loop {
                let job = {
                    let mut shared = shared.lock().expect("no worker panics");
                    if !shared.2 {
                        return Ok(());
                    }
                    let Some(job) = shared.0.next() else { return Ok(()) };
                    job
                };
                let outcome = worker.run(job.clone(), false)?;
                let mut shared = shared.lock().expect("no worker panics");
                shared.2 &= (shared.1)(&job, outcome);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.workers).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("a worker's thread does not panic"))
        })
    }

    /// Runs one job, in a worker of its own. `lines`: a failure tells the end of its trace.
    pub fn run_one(&self, job: Job, lines: bool) -> io::Result<Outcome> {
        Worker::start(self)?.run(job, lines)
    }
}

struct Worker {
    child: Child,
    orders: ChildStdin,
    outcomes: BufReader<ChildStdout>,
    run_seconds_max: u32,
}

impl Worker {
    fn start(farm: &Farm) -> io::Result<Self> {
        let mut command = Command::new(&farm.program);
        command
            .arg(WORKER)
            .envs(farm.env.iter().cloned())
            .env("RUST_BACKTRACE", "0")
            .env(KEEP_MEMORY.0, KEEP_MEMORY.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // SAFETY: one system call, which is allowed between fork and exec.
        unsafe { command.pre_exec(same_addresses) };
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a worker has no pipe");
        let orders = child.stdin.take().ok_or_else(missing)?;
        let outcomes = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, orders, outcomes, run_seconds_max: farm.run_seconds_max })
    }

    fn run(&mut self, job: Job, lines: bool) -> io::Result<Outcome> {
        let mut order = serde_json::to_vec(&Order { job, lines, seconds_max: self.run_seconds_max })?;
        order.push(b'\n');
        self.orders.write_all(&order)?;
        let mut line = String::new();
        if self.outcomes.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a worker has ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing that it must not lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Addresses that are the same in every run, so that what is hashed or ordered by address is too. Where the system
/// forbids it, that is one leak that stays open; the comparison of traces still finds what comes of it.
pub(crate) fn same_addresses() -> io::Result<()> {
    // SAFETY: changes only this process's address space of after the next exec.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    Ok(())
}

/// The worker's side: an order a line comes in, an outcome a line goes out.
pub fn work() -> io::Result<()> {
    let mut orders = io::stdin().lock();
    let mut line = String::new();
    loop {
        line.clear();
        if orders.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Order { job, lines, seconds_max } = serde_json::from_str(&line)?;
        let plan = job.plan();
        // SAFETY: this process has one thread, so the child has all of its state.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: has no preconditions. A child that takes longer is ended by its signal.
                unsafe { libc::alarm(seconds_max) };
                carry_out(plan, lines);
            }
            child => reap(child, seconds_max)?,
        }
    }
}

/// Waits for a child. One that did not tell its outcome itself was ended.
fn reap(child: libc::pid_t, seconds_max: u32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the child is this process's own, and the status is written to a local.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        let failure = if signal == libc::SIGALRM {
            Failure::new(OUT_OF_TIME, format!("it did not end within {seconds_max} real seconds"))
        } else if signal == libc::SIGSYS {
            Failure::new("not simulated", real_world::ASKED)
        } else {
            Failure::new("crash", format!("the run was ended by signal {signal}"))
        };
        tell(&Outcome::failed(failure));
    } else if !matches!(libc::WEXITSTATUS(status), 0 | panics::TOLD) {
        tell(&Outcome::failed(Failure::new("crash", "what came of the run could not be told")));
    }
    Ok(())
}

impl Outcome {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            hash: String::new(),
            events: 0,
            sim_ms: u64::try_from(hooks::now().as_millis()).unwrap_or(u64::MAX),
            cpu_us: cpu_us(),
            ops: 0,
            settled: 0,
            fired: crate::fired::fired().into_iter().map(|(kind, times)| (kind.to_owned(), times)).collect(),
            recovery_ms: 0,
            record: None,
            reached: Vec::new(),
        }
    }
}

pub(crate) fn tell(outcome: &Outcome) {
    let mut line = serde_json::to_vec(outcome).expect("an outcome is plain data");
    line.push(b'\n');
    let mut out = io::stdout().lock();
    // Nobody hears it: the parent is gone, and this process with it.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

/// In the child. Does not return.
fn carry_out(plan: Plan, lines: bool) -> ! {
    let detail = if lines { Detail::Lines } else { Detail::Hash };
    let simulation = move || {
        // First of all: the keys of this thread's hash maps are drawn when the first is made.
        hooks::enter(plan.seed);
        let trace = Trace::new(detail);
        if lines {
            panics::end_the_run(&trace);
        } else {
            panics::end_the_process();
        }
        real_world::forbid();
        let logs = lines.then(|| trace.capture_logs("warn,node=debug,holdfast=debug,sim=debug"));
        let (mut outcome, world) = run(&plan, &trace);
        if let Some(failure) = &mut outcome.failure {
            failure.lines = trace.last_lines(LINES_KEPT);
        }
        outcome.cpu_us = cpu_us();
        tell(&outcome);
        drop(logs);
        // The world is not taken apart: the process ends.
        std::mem::forget(world);
        exit(0);
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(simulation);
    // It does not come back, unless it panicked where no run does.
    let _ = thread.map(thread::JoinHandle::join);
    exit(UNTOLD)
}

pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends this process without running what the parent's copy will run itself.
    unsafe { libc::_exit(code) }
}

/// Processor time of this process.
fn cpu_us() -> u64 {
    // SAFETY: all zeros are a valid value, which the call overwrites.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the usage is written to a local.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let us = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap_or(0);
    us(usage.ru_utime) + us(usage.ru_stime)
}
