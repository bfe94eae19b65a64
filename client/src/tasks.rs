//! Where background tasks run: on tokio, and always as part of whatever their spawner is a part of.
//!
//! A process is one whole: its tasks need no owner. The simulator runs many nodes and clients on one runtime, and has to
//! know whose each task is, to stop, to freeze or to kill them together. So the crates of Holdfast spawn here: a task that
//! belongs to a [`Scope`] passes it on to those that it spawns. Outside of every scope, [`spawn`] is tokio's.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Tasks that belong together.
pub trait Scope: Send + Sync + 'static {
    /// Takes in a task. What it gives back is spawned instead: it polls the task, [`within`] this scope, for as long as
    /// the scope wants it to run, and ends when the task does.
    fn hold(self: Arc<Self>, task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Scope>>> = const { RefCell::new(None) };
}

/// Runs `body` as a part of a scope, or of none.
pub fn within<T>(scope: Option<Arc<dyn Scope>>, body: impl FnOnce() -> T) -> T {
    /// Puts the outer scope back, also after a panic.
    struct Outer(Option<Arc<dyn Scope>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _outer = Outer(CURRENT.replace(scope));
    body()
}

/// Spawns a task on the current tokio runtime, in the current scope. Panics outside of a runtime, as tokio does.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(scope) = CURRENT.with_borrow(Clone::clone) else { return tokio::spawn(task) };
    let (sender, mut receiver) = oneshot::channel();
    let held = scope.hold(Box::pin(async move { drop(sender.send(task.await)) }));
    tokio::spawn(async move {
        held.await;
        match receiver.try_recv() {
            Ok(output) => output,
            // The scope has dropped the task: it never ends.
            Err(_) => pending().await,
        }
    })
}

/// Spawns what hyper and tonic have to run in the background.
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        spawn(task);
    }
}
