//! Puts and gets without pause, to be run while nodes are killed, stopped or cut off: how long were calls, how long
//! did nothing succeed, did anything fail?
//!
//! `cargo run -p holdfast --example steady_load -- http://127.0.0.1:7070,http://127.0.0.1:7080 10 16`
//! (addresses, seconds, calls at a time)

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast::{Client, Error, GetOptions, PutOptions};

/// What all tasks saw.
struct Seen {
    last_success: Instant,
    longest_gap: Duration,
    longest_call: Duration,
    calls: u64,
    failures: Vec<Error>,
}

impl Seen {
    fn on_call(&mut self, took: Duration, result: Result<(), Error>) {
        match result {
            Ok(()) => {
                let now = Instant::now();
                self.longest_gap = self.longest_gap.max(now - self.last_success);
                self.last_success = now;
                self.longest_call = self.longest_call.max(took);
                self.calls += 1;
            }
            Err(error) => self.failures.push(error),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, usual: &str| arguments.get(at).map_or(usual, String::as_str).to_owned();
    let urls = argument(0, "http://127.0.0.1:7070");
    let seconds: u64 = argument(1, "10").parse().expect("seconds are a number");
    let tasks: usize = argument(2, "16").parse().expect("calls at a time are a number");
    let client = Client::connect(urls.split(','))?;

    let seen = Arc::new(Mutex::new(Seen {
        last_success: Instant::now(),
        longest_gap: Duration::ZERO,
        longest_call: Duration::ZERO,
        calls: 0,
        failures: Vec::new(),
    }));
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> =
        (0..tasks).map(|task| tokio::spawn(work(client.clone(), task, end, seen.clone()))).collect();
    for task in tasks {
        task.await.expect("a task that panics has said so");
    }
    let seen = seen.lock().expect("no task panicked");
    println!(
        "{} calls, {} failed, longest call {} ms, longest time without a success {} ms",
        seen.calls,
        seen.failures.len(),
        seen.longest_call.as_millis(),
        seen.longest_gap.as_millis(),
    );
    for error in seen.failures.iter().take(10) {
        println!("  {error}");
    }
    Ok(())
}

async fn work(client: Client, task: usize, end: Instant, seen: Arc<Mutex<Seen>>) {
    for n in 0_u64.. {
        if Instant::now() >= end {
            return;
        }
        let key = format!("load/{task}/{}", n % 1000);
        let begin = Instant::now();
        let put = client.put("examples", &key, vec![7; 1024], PutOptions::default()).await;
        seen.lock().expect("no task panics with it").on_call(begin.elapsed(), put.map(drop));
        let begin = Instant::now();
        let got = client.get("examples", &key, GetOptions::default()).await;
        seen.lock().expect("no task panics with it").on_call(begin.elapsed(), got.map(drop));
    }
}
