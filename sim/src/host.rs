//! A process on a simulated machine: its tasks run, freeze and die together.
//!
//! All hosts share one tokio runtime, whose paused clock jumps to the next thing that happens anywhere. Whose a task is
//! follows from who spawned it (`holdfast::tasks`), so a process can be killed without its help.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use holdfast::tasks::{self, Scope};
use parking_lot::Mutex;

use crate::net::Fabric;

/// A machine of the world, by its place in the list of all: they never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct HostId(pub(crate) usize);

type Slot = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

/// One process, from its start to its end.
pub(crate) struct Process {
    number: usize,
    host: HostId,
    fabric: Arc<Fabric>,
    alive: AtomicBool,
    frozen: AtomicBool,
    /// Polls that the freeze held back.
    held_back: AtomicU64,
    next: AtomicU64,
    /// By number, so that they end in the order in which they began.
    tasks: Mutex<BTreeMap<u64, Slot>>,
    thawing: Mutex<Vec<Waker>>,
}

impl Process {
    pub(crate) fn new(number: usize, host: HostId, fabric: Arc<Fabric>) -> Arc<Self> {
        Arc::new(Self {
            number,
            host,
            fabric,
            alive: AtomicBool::new(true),
            frozen: AtomicBool::new(false),
            held_back: AtomicU64::new(0),
            next: AtomicU64::new(0),
            tasks: Mutex::default(),
            thawing: Mutex::default(),
        })
    }

    /// Runs `body` as this process: what it spawns is the process's, and so are its sockets.
    pub(crate) fn enter<T>(self: &Arc<Self>, body: impl FnOnce() -> T) -> T {
        self.fabric.set_current(self.host);
        tasks::within(Some(self.clone()), body)
    }

    /// Which process it is, of all that the world had.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Ends it at once: its tasks are dropped, wherever they are. Its sockets close by that.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.alive.store(false, Ordering::Relaxed);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        self.enter(|| {
            for slot in tasks.into_values() {
                let task = slot.lock().take();
                drop(task);
            }
        });
        self.thawing.lock().clear();
    }

    /// SIGSTOP: nothing of it runs, its machine's network goes on.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// SIGCONT. Gives the number of polls that were held back.
    pub(crate) fn thaw(&self) -> u64 {
        self.frozen.store(false, Ordering::Relaxed);
        for waker in std::mem::take(&mut *self.thawing.lock()) {
            waker.wake();
        }
        self.held_back.swap(0, Ordering::Relaxed)
    }
}

impl Scope for Process {
    fn hold(self: Arc<Self>, task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        if !self.is_alive() {
            return Box::pin(pending());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot: Slot = Arc::new(Mutex::new(Some(task)));
        self.tasks.lock().insert(number, slot.clone());
        Box::pin(Held { process: self, slot, number })
    }
}

/// A task of a process.
struct Held {
    process: Arc<Process>,
    slot: Slot,
    number: u64,
}

impl Future for Held {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let process = &self.process;
        if process.frozen.load(Ordering::Relaxed) {
            process.held_back.fetch_add(1, Ordering::Relaxed);
            process.thawing.lock().push(cx.waker().clone());
            return Poll::Pending;
        }
        // Taken out while it runs: it may end its own process.
        let Some(mut task) = self.slot.lock().take() else { return Poll::Pending };
        process.enter(|| {
            let ended = task.as_mut().poll(cx).is_ready();
            if process.is_alive() && !ended {
                *self.slot.lock() = Some(task);
                return Poll::Pending;
            }
            drop(task);
            process.tasks.lock().remove(&self.number);
            // What was killed does not end.
            if process.is_alive() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.process.tasks.lock().remove(&self.number);
        let task = self.slot.lock().take();
        if task.is_some() {
            self.process.enter(|| drop(task));
        }
    }
}
