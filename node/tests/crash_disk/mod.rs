//! The simulator's disk, for the store's own tests: built from the same files, because the simulator stands above this
//! crate.

#![allow(dead_code, unreachable_pub, unused_imports, missing_docs, reason = "each test uses its part")]

#[path = "../../../sim/src/disk/mod.rs"]
mod disk;
#[path = "../../../sim/src/random.rs"]
mod random;

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use node::env::witness::Unwatched;
use node::env::{Ambient, Blocking, BoxIo, Env, Listener, Net};
use parking_lot::Mutex;

pub use disk::{CrashPoint, DiskFault, FileKind, Latency, SimDisk, Strike};
pub use random::Random;

/// An empty disk, whose power losses are the seed's.
pub fn new_disk(seed: u64) -> SimDisk {
    SimDisk::new("disk", Random::new(seed, "disk"), ())
}

/// The world of a store on this disk, as a new process.
pub fn env(disk: &SimDisk, seed: u64, blocking: Blocking) -> Env {
    Env {
        net: Arc::new(NoNet),
        disk: disk.attach(),
        ambient: Arc::new(Seeded(Mutex::new(Random::new(seed, "ambient")))),
        blocking,
        witness: Arc::new(Unwatched),
    }
}

struct Seeded(Mutex<Random>);

impl Ambient for Seeded {
    fn unix_ms(&self) -> u64 {
        0
    }

    fn random(&self, buffer: &mut [u8]) {
        self.0.lock().fill(buffer);
    }
}

struct NoNet;

impl Net for NoNet {
    fn connect(&self, _address: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen(&self, _address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}
