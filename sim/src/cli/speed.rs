//! `sim speed`: the figures of the simulator itself.

use std::time::Duration;

use clap::Args;
use holdfast::Condition;

use super::Done;
use crate::hooks;
use crate::trace::{Detail, Trace};
use crate::world::{Mode, World, WorldOptions};

/// `speed`.
#[derive(Args)]
pub(super) struct Speed {
    /// Simulated seconds of each loaded world.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=240))]
    seconds: u64,
}

/// Operations of one client in a second.
const OPS_PER_S: u64 = 10;

impl Speed {
    pub(super) fn run(self) -> Done {
        println!(
            "simulated time for one second of one processor; two processors run two worlds side by side"
        );
        for (name, mode, limit) in [("direct", Mode::Direct, 60.0), ("wire", Mode::Wire, 6.0)] {
            let times = loaded(mode, self.seconds);
            println!(
                "{name}: 5 nodes, registry, 3 clients, {} operations/s: {times:.0} x real time on one processor, {:.1} simulated hours per minute of two; limit {limit}",
                3 * OPS_PER_S,
                2.0 * times * 60.0 / 3600.0
            );
        }
        let times = idle(3_000);
        println!("idle cluster of 10 nodes: {times:.0} x real time; limit 10000");
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
