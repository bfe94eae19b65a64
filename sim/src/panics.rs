//! A panic on any task, as the verdict of its run. Runtimes swallow panics, and the run is to end at once.
//!
//! Where nobody reads on, the process ends. Where a person does, the first panic is noted, the run is unwound, and there is
//! a page that shows how it came to it. A panic that the product is prepared for, as one of its storage engine over a
//! damaged file, is none.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic;

use node::store::is_guarded;

use crate::farm::{exit, tell};
use crate::run::{Failure, Outcome};
use crate::trace::Trace;

/// The exit code of a process that has told its panic.
pub(crate) const TOLD: i32 = 2;
/// The kind of failure.
const PANIC: &str = "panic";

thread_local! {
    static FIRST: RefCell<Option<Failure>> = const { RefCell::new(None) };
    static ANY: Cell<bool> = const { Cell::new(false) };
}

fn failure(info: &panic::PanicHookInfo<'_>) -> Failure {
    Failure::new(PANIC, info.to_string().replace('\n', " "))
}

/// From here on a panic tells its outcome and ends this process.
pub(crate) fn end_the_process() {
    panic::set_hook(Box::new(|info| {
        if is_guarded() {
            return;
        }
        tell(&Outcome::failed(failure(info)));
        exit(TOLD);
    }));
}

/// From here on a panic on this thread ends the run that it drives. Other threads have none.
pub(crate) fn end_the_run(trace: &Trace) {
    let trace = trace.clone();
    panic::set_hook(Box::new(move |info| {
        if !is_guarded() && !ANY.replace(true) {
            let failure = failure(info);
            trace.line(format_args!("{}", failure.sentence));
            FIRST.set(Some(failure));
        }
    }));
}

/// Whether there was one, on this thread.
pub(crate) fn any() -> bool {
    ANY.get()
}

/// Leaves the run, if there was one on any of its tasks.
pub(crate) fn leave_if_any() {
    if any() {
        panic::resume_unwind(Box::new("a task has panicked"));
    }
}

/// What was caught around a run, as its failure. Where nobody noted it, it goes on.
pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Failure {
    match FIRST.take() {
        Some(failure) => failure,
        None => panic::resume_unwind(payload),
    }
}
