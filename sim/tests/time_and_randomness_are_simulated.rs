//! The standard library's clock, hash maps and the operating system's randomness answer as the seed says, on the
//! simulator's thread only.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sim::hooks;

/// Everything that a program can ask, under a seed, on a fresh thread.
fn asked(seed: u64) -> (Duration, Duration, Vec<u8>, u64, Vec<u32>) {
    let thread = thread::spawn(move || {
        hooks::enter(seed);
        let began = Instant::now();
        hooks::set_now(Duration::from_millis(1234));
        let mut random = vec![0; 32];
        getrandom::fill(&mut random).unwrap();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let hash = RandomState::new().hash_one("x");
        let order = (0..100).map(|n| (n, ())).collect::<HashMap<u32, ()>>().into_keys().collect();
        (began.elapsed(), wall, random, hash, order)
    });
    thread.join().unwrap()
}

#[test]
fn the_same_seed_answers_the_same() {
    let one = asked(7);
    assert_eq!(one, asked(7));
    assert_eq!(one.0, Duration::from_millis(1234));
    assert_eq!(one.1, Duration::from_millis(hooks::EPOCH_UNIX_S * 1000 + 1234));
    let other = asked(8);
    assert_ne!(one.2, other.2);
    assert_ne!(one.4, other.4);
}

#[test]
fn other_threads_have_real_time_and_randomness() {
    let before = Instant::now();
    asked(7);
    thread::sleep(Duration::from_millis(5));
    assert!(before.elapsed() >= Duration::from_millis(5));
    let mut random = [[0; 32]; 2];
    random.iter_mut().for_each(|part| getrandom::fill(part).unwrap());
    assert_ne!(random[0], random[1]);
    assert_eq!(hooks::draws(), 0);
}
