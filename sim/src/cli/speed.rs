//! `sim speed`: the figures of the simulator itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use holdfast::Condition;

use super::Done;
use crate::farm::KEEP_MEMORY;
use crate::hooks;
use crate::trace::{Detail, Trace};
use crate::world::{Mode, World, WorldOptions};

/// `speed`.
#[derive(Args)]
pub(super) struct Speed {
    /// Simulated seconds of each loaded world.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=240))]
    seconds: u64,
    /// Only one of them: what a profiler looks at.
    #[arg(long, value_parser = ["direct", "wire", "idle", "start", "restart"])]
    only: Option<String>,
}

/// Operations of one client in a second.
const OPS_PER_S: u64 = 10;

impl Speed {
    pub(super) fn run(self) -> Done {
        if std::env::var_os(KEEP_MEMORY.0).is_none() {
            // As workers run. The allocator looks at its environment once, at the start.
            let mut again = Command::new(std::env::current_exe()?);
            let error = again.args(std::env::args_os().skip(1)).env(KEEP_MEMORY.0, KEEP_MEMORY.1).exec();
            return Err(error.into());
        }
        println!(
            "simulated time for one second of one processor; two processors run two worlds side by side"
        );
        let wanted = |name: &str| self.only.as_deref().is_none_or(|only| only == name);
        for (name, mode, limit) in [("direct", Mode::Direct, 60.0), ("wire", Mode::Wire, 6.0)] {
            if !wanted(name) {
                continue;
            }
            let times = loaded(mode, self.seconds);
            println!(
                "{name}: 5 nodes, registry, 3 clients, {} operations/s: {times:.0} x real time on one processor, {:.1} simulated hours per minute of two; limit {limit}",
                3 * OPS_PER_S,
                2.0 * times * 60.0 / 3600.0
            );
        }
        if wanted("start") {
            let ms = started(40);
            println!("start of a new cluster of 5 nodes, until it is whole: {ms:.1} ms of one processor");
        }
        if wanted("restart") {
            let ms = restarted(60);
            println!("kill and start of one of 5 nodes, until all is whole: {ms:.1} ms of one processor");
        }
        if wanted("idle") {
            let times = idle(3_000);
            println!("idle cluster of 10 nodes: {times:.0} x real time; limit 10000");
        }
        Ok(true)
    }
}

fn world(mode: Mode, nodes: usize, clients: usize) -> World {
    let options = WorldOptions { mode, nodes, clients, ..WorldOptions::default() };
    hooks::enter(1);
    World::new(1, &options, Trace::new(Detail::Hash))
}

fn loaded(mode: Mode, seconds: u64) -> f64 {
    std::thread::spawn(move || {
        let mut world = world(mode, 5, 3);
        world.wait_whole();
        let began = hooks::real_now();
        let jobs: Vec<_> = world
            .clients()
            .into_iter()
            .map(|client| {
                world.spawn(&client, move |client| async move {
                    for number in 0..seconds * OPS_PER_S {
                        let key = format!("key-{}", number % 100);
                        if number % 2 == 0 {
                            client.put(&key, Condition::Always, 500).await.expect("nothing is broken");
                        } else {
                            client.get(&key).await.expect("nothing is broken");
                        }
                        tokio::time::sleep(Duration::from_millis(1000 / OPS_PER_S)).await;
                    }
                })
            })
            .collect();
        let start = world.now();
        for job in jobs {
            world.wait(job);
        }
        (world.now() - start).as_secs_f64() / (hooks::real_now() - began).as_secs_f64()
    })
    .join()
    .expect("a world without faults does not fail")
}

/// Milliseconds of the processor's for a cluster's start.
fn started(times: u32) -> f64 {
    let once = || {
        std::thread::spawn(|| {
            let began = hooks::real_now();
            world(Mode::Direct, 5, 1).wait_whole();
            hooks::real_now() - began
        })
        .join()
        .expect("a world without faults does not fail")
    };
    (0..times).map(|_| once()).sum::<Duration>().as_secs_f64() * 1e3 / f64::from(times)
}

/// The same for one node of a cluster that has a few objects.
fn restarted(times: u32) -> f64 {
    std::thread::spawn(move || {
        let mut world = world(Mode::Direct, 5, 1);
        world.wait_whole();
        for number in 0..20 {
            let key = format!("key-{number}");
            world
                .call("c0", |client| async move { client.put(&key, Condition::Always, 500).await })
                .expect("nothing is broken");
        }
        let began = hooks::real_now();
        for number in 0..times {
            let node = format!("n{}", number % 5);
            world.kill(&node);
            world.restart(&node);
            world.run_for(Duration::from_secs(1));
            world.wait_whole();
        }
        (hooks::real_now() - began).as_secs_f64() * 1e3 / f64::from(times)
    })
    .join()
    .expect("a world that is mended does not fail")
}

fn idle(seconds: u64) -> f64 {
    std::thread::spawn(move || {
        let mut world = world(Mode::Direct, 10, 1);
        world.wait_whole();
        world.run_for(Duration::from_secs(30));
        let began = hooks::real_now();
        world.run_for(Duration::from_secs(seconds));
        seconds as f64 / (hooks::real_now() - began).as_secs_f64()
    })
    .join()
    .expect("a world without faults does not fail")
}
