//! What a node needs of the world, as parameters: network, disk, wall clock, randomness, threads.
//!
//! Timers are tokio's (the simulator pauses that clock). Nothing else in this crate may touch `std::net`, `std::fs`,
//! `SystemTime`, the operating system's randomness, or start a thread: it asks here. The real world is in [`real`].

pub mod real;
pub mod witness;

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
pub use holdfast::tasks;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;

use witness::Witness;

/// A connection, either end.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A boxed connection.
pub type BoxIo = Box<dyn Io>;

/// The network.
pub trait Net: Send + Sync + 'static {
    /// Opens a connection to `address` (`host:port`), TCP_NODELAY set. May hang: the caller has the deadline.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxIo>>;

    /// Listens on `address` (`host:port`; port 0: any free one).
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// Offers the service behind the client port to those who can call it without a connection. Real networks have no
    /// such thing; a simulated one may carry whole calls.
    fn offer(&self, _address: &str, _service: Calls) {}
}

/// The service behind the client port, one call at a time.
pub type Calls = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// The next connection, TCP_NODELAY set, and who is at the other end. Cancel safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxIo, String)>>;

    /// `host:port` as bound.
    fn local_address(&self) -> io::Result<String>;
}

/// One node's data folder. Paths are relative to it, `/`-separated. All calls block.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing. Errors with `NotFound` when it is not there and `create` is false.
    /// A file made here is found after a power loss only once its folder was synced.
    fn open(&self, path: &str, create: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Names of the files in a folder, sorted; empty when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes a folder and its parents. No error when it is there.
    fn create_dir(&self, folder: &str) -> io::Result<()>;
    /// Removes a file. Errors with `NotFound`.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Renames a file over `to`, atomically; durable once the folder was synced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renames in a folder durable. `""` is the data folder itself.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;
    /// Claims the data folder for this process until the returned guard is dropped (or the process ends).
    /// Errors with `WouldBlock` when another process has it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
    /// What the device still needs for the calls that have returned, where they return before it is done: whoever works
    /// in place ([`Blocking::InPlace`]) awaits it between a write and its sync, and between a sync and what rests on it.
    /// `None`: nothing. So it is on a real disk, whose calls block for as long as they take. See [`settle`].
    fn busy(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// Waits for as long as the device still needs for what it was told. At once on a real disk.
pub async fn settle(disk: &dyn Disk) {
    if let Some(busy) = disk.busy() {
        busy.await;
    }
}

#[allow(clippy::len_without_is_empty, reason = "a file is no collection")]
/// An open file. Positioned reads and writes, so that no cursor is shared.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`. Errors with `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`, growing the file where needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes what was written durable (fdatasync, with the length). After an error the file must not be used again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Wall time and randomness. Never used in an argument about safety.
pub trait Ambient: Send + Sync + 'static {
    /// Unix milliseconds.
    fn unix_ms(&self) -> u64;
    /// Random bytes: from the operating system, or from the simulator's seed.
    fn random(&self, buffer: &mut [u8]);
}

/// Where blocking work (the store's commits) runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blocking {
    /// On threads of its own, so that a slow disk stalls no network traffic.
    Threads,
    /// In place, on a tokio task: the simulator has no threads.
    InPlace,
}

/// The world of one node.
#[derive(Clone)]
pub struct Env {
    /// The network.
    pub net: Arc<dyn Net>,
    /// The data folder.
    pub disk: Arc<dyn Disk>,
    /// Wall time and randomness.
    pub ambient: Arc<dyn Ambient>,
    /// Where blocking work runs.
    pub blocking: Blocking,
    /// Who is told what the node does that binds it.
    pub witness: Arc<dyn Witness>,
}
