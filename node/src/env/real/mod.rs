//! The real world: the machine's network, disk, clock, randomness and threads.

mod disk;
mod net;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{io, panic};

pub use disk::RealDisk;
pub use net::RealNet;

use super::witness::Unwatched;
use super::{Ambient, Blocking, Env};

/// The environment of a production node, whose data folder is `folder` (made when it is not there).
pub fn env(folder: PathBuf) -> io::Result<Env> {
    Ok(Env {
        net: Arc::new(RealNet),
        disk: Arc::new(RealDisk::new(folder)?),
        ambient: Arc::new(RealAmbient),
        blocking: Blocking::Threads,
        witness: Arc::new(Unwatched),
    })
}

/// The machine's clock and the operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealAmbient;

impl Ambient for RealAmbient {
    fn unix_ms(&self) -> u64 {
        // A clock before 1970 reads as 1970: wall time is for people, never for an argument.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system always has randomness once it is up");
    }
}

/// Starts a thread of its own for blocking work. A panic in it ends the thread only.
pub fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The panic was already reported by the hook; who waits for the work sees its channels close.
        let _ = panic::catch_unwind(panic::AssertUnwindSafe(work));
    })
}
