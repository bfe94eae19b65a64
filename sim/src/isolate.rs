//! Runs simulations in processes of their own: nothing is shared with other tests, a panic on any task fails the run, a
//! hang ends with a verdict, and two runs of one seed are compared by their traces.
//!
//! A test starts its own binary again, restricted to itself, with an environment variable that says to run the body.

#![allow(
    unsafe_code,
    reason = "one call between fork and exec, which the standard library only offers as unsafe"
)]

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::panic;
use std::process::{Child, Command, Stdio, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::hooks;
use crate::reach;
use crate::real_world;
use crate::trace::{Detail, Trace};

/// Set in a child: the name of the test whose body it runs.
const CHILD: &str = "HOLDFAST_SIM_CHILD";
/// The seed to run instead of a test's own: how a failure is replayed.
const SEED: &str = "HOLDFAST_SIM_SEED";
/// The seeds of a sweep, `from..to`, instead of its own: how more are explored.
const SEEDS: &str = "HOLDFAST_SIM_SEEDS";
/// Print every line of the trace.
const LOG: &str = "HOLDFAST_SIM_LOG";
/// What a child prints in front of its trace's hash.
const VERDICT: &str = "simulation trace ";
/// A child that takes longer hangs.
const CHILD_TIME_MAX: Duration = Duration::from_secs(240);
/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 120;
/// Simulations run on a fresh thread with this much stack: debug builds are generous with it.
const STACK_BYTES: usize = 64 << 20;

/// The running simulation's trace, for the panic hook.
static RUNNING: Mutex<Option<Trace>> = Mutex::new(None);

/// Runs `body` with the seed in two processes and compares their traces. `test`: the test's path.
pub fn twice(test: &str, seed: u64, body: fn(u64, Trace)) {
    compare(&test_name(test), seed, body);
}

fn compare(test: &str, seed: u64, body: fn(u64, Trace)) {
    let seed = chosen_seed().unwrap_or(seed);
    if is_child(test) {
        return child(seed, body);
    }
    if env::var_os(LOG).is_some() {
        run(test, seed).unwrap_or_else(|why| panic!("{why}"));
        return;
    }
    let (one, two) = thread::scope(|scope| {
        let other = scope.spawn(|| run(test, seed));
        (run(test, seed), other.join().expect("it only waits for a process"))
    });
    let one = one.unwrap_or_else(|why| panic!("{why}"));
    let two = two.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(one, two, "seed {seed} of {test} gave two different traces: something is not simulated");
    println!("{test}, seed {seed}: {one}, twice");
}

/// Runs `body` with every seed, each in a process of its own; the first `compared` of them twice.
pub fn sweep(test: &str, seeds: Range<u64>, compared: u64, body: fn(u64, Trace)) {
    let test = test_name(test);
    if is_child(&test) {
        return child(chosen_seed().expect("a parent names the seed"), body);
    }
    if chosen_seed().is_some() {
        return compare(&test, 0, body);
    }
    let seeds = chosen_seeds().unwrap_or(seeds);
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let mut result = run(&test, seed);
            if seed < seeds.start + compared
                && let Ok(first) = &result
            {
                result = run(&test, seed).and_then(|second| {
                    if *first == second {
                        Ok(second)
                    } else {
                        Err("two runs gave different traces".to_owned())
                    }
                });
            }
            if let Err(why) = result {
                failures.lock().expect("no worker panics").insert(seed, why);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().expect("no worker panics");
    let count = seeds.end - seeds.start;
    println!("{test}: {count} seeds, {} failed, in {:.1} s", failures.len(), began.elapsed().as_secs_f64());
    if let Some((seed, why)) = failures.iter().next() {
        let all: Vec<_> = failures.keys().collect();
        for (seed, why) in &failures {
            let what = why.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
            println!("seed {seed}: {}", what.or(why.lines().next()).unwrap_or_default());
        }
        panic!("seeds {all:?} of {test} failed. Seed {seed} ({SEED}={seed} replays it):\n{why}");
    }
}

/// The path without the crate, which is what the test binary calls it.
fn test_name(path: &str) -> String {
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

fn is_child(test: &str) -> bool {
    env::var(CHILD).is_ok_and(|name| name == test)
}

fn chosen_seed() -> Option<u64> {
    let text = env::var(SEED).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{SEED} is {text:?}: it must be a number")))
}

fn chosen_seeds() -> Option<Range<u64>> {
    let text = env::var(SEEDS).ok()?;
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    Some(range.unwrap_or_else(|| panic!("{SEEDS} is {text:?}: it must be two numbers, as in 100..200")))
}

/// In the parent: one run in a child. Answers its trace's hash, or what went wrong.
fn run(test: &str, seed: u64) -> Result<String, String> {
    let failed = |what: &str, error: io::Error| format!("{what}: {error}");
    let program = env::current_exe().map_err(|error| failed("the test's own program is not known", error))?;
    let mut command = Command::new(program);
    command
        .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(CHILD, test)
        .env(SEED, seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(if env::var_os(LOG).is_some() { Stdio::inherit() } else { Stdio::piped() });
    // SAFETY: one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(same_addresses) };
    let child = command.spawn().map_err(|error| failed("a process cannot be started", error))?;
    let (output, in_time) = wait(child).map_err(|error| failed("a process cannot be waited for", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().find_map(|line| line.split_once(VERDICT)).map(|(_, hash)| hash.to_owned());
    match verdict {
        Some(hash) if output.status.success() => Ok(hash),
        _ => {
            let ending = if in_time { output.status.to_string() } else { "it hung and was ended".to_owned() };
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("seed {seed} of {test}: {ending}\n{said}"))
        }
    }
}

/// Addresses that are the same in every run, so that what is hashed or ordered by address is too. Where the system
/// forbids it, that is one leak that stays open; the comparison of traces still finds what comes of it.
fn same_addresses() -> io::Result<()> {
    // SAFETY: changes only this process's address space of after the next exec.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    Ok(())
}

/// Waits with a limit. Says whether it was kept.
fn wait(mut child: Child) -> io::Result<(std::process::Output, bool)> {
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let hung = over.recv_timeout(CHILD_TIME_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hung {
            // SAFETY: the child is not reaped before this thread was told, so the id is still its own.
            unsafe { libc::kill(id, libc::SIGKILL) };
        }
        hung
    });
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let read = |pipe: Option<Box<dyn io::Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What cannot be read is missing from a report, no more.
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(stdout.map(|pipe| Box::new(pipe) as _));
    let stderr = read(stderr.map(|pipe| Box::new(pipe) as _));
    // The pipes end with the process.
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    drop(done);
    let hung = watchdog.join().unwrap_or(false);
    Ok((std::process::Output { status: child.wait()?, stdout, stderr }, !hung))
}

/// In the child: the body, on a fresh thread, whose hash maps have their keys from the seed.
fn child(seed: u64, body: fn(u64, Trace)) {
    let detail = if env::var_os(LOG).is_some() { Detail::Print } else { Detail::Lines };
    fail_on_any_panic();
    let simulation = move || {
        hooks::enter(seed);
        let trace = Trace::new(detail);
        *RUNNING.lock().expect("nothing panics while it holds this") = Some(trace.clone());
        // Warnings of libraries too.
        let logs = trace.capture_logs("warn,node=debug,holdfast=debug,sim=debug");
        real_world::forbid();
        body(seed, trace.clone());
        drop(logs);
        trace.digest()
    };
    let thread = thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK_BYTES);
    let running = thread.spawn(simulation).expect("one thread can be started");
    let (hash, events) = running.join().expect("a panic has ended the process before");
    reach::note_if_asked(seed);
    println!("\n{VERDICT}{hash:032x} ({events} events)");
}

/// Tasks run on a runtime, which swallows panics: end the process instead.
fn fail_on_any_panic() {
    panic::set_hook(Box::new(|info| {
        let trace = RUNNING.try_lock().ok().and_then(|running| running.clone());
        if let Some(trace) = &trace {
            for line in trace.last_lines(LINES_SHOWN) {
                eprintln!("{line}");
            }
        }
        let ms = hooks::now().as_secs_f64() * 1e3;
        eprintln!("{ms:>10.3} {info}");
        exit(101);
    }));
}

/// A test in a world of its own: `scenario!(name, seed, options, |world| { … })`. It runs in two processes, whose traces
/// must be equal.
#[macro_export]
macro_rules! scenario {
    ($(#[$meta:meta])* $name:ident, $options:expr, |$world:ident| $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            fn body(seed: u64, trace: $crate::trace::Trace) {
                let options: $crate::WorldOptions = $options;
                let mut world = $crate::World::new(seed, &options, trace);
                let $world = &mut world;
                $body
                world.finish();
            }
            $crate::isolate::twice(concat!(module_path!(), "::", stringify!($name)), 1, body);
        }
    };
}
