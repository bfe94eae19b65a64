//! Points in the code that are reached only sometimes, and that a simulation must have reached to have tested anything.
//!
//! A fault that never fell between two particular steps has proved nothing about them. So where something rare and
//! interesting happens, the code says so: `sometimes!("a reader asks the leader to complete a half written record")`.
//! The simulator collects what was reached ([`reached`]), compares it with every point that the sources name, and fails
//! when one was not reached in enough seeds. FoundationDB (`CODE_PROBE`) and Antithesis (`sometimes` assertions) do the same.
//!
//! Why the points are in the product and not behind a `cfg`: what is simulated must be what runs, to the byte. A point
//! decides nothing, is told nothing and answers nothing, so behaviour is the same with it as without. It costs one relaxed
//! load and a branch that is predicted (0.3 ns: `cargo bench -p holdfast-core --bench sometimes`), and once in a process's
//! life it enters a list. Against the 100 µs of a put with its fsync, twenty points on its way are nothing.
//!
//! A point is its sentence and no more: where it stands, whoever compares the sources knows.

use core::sync::atomic::{AtomicBool, Ordering};

use once_cell::race::OnceRef;

/// One point of the code. Made by [`sometimes!`](crate::sometimes!), as a static.
#[derive(Debug)]
pub struct Point {
    sentence: &'static str,
    reached: AtomicBool,
    /// Whether it is in the list; it never leaves it.
    listed: AtomicBool,
    /// The next one in the list.
    next: OnceRef<'static, Point>,
}

/// The list of the points that were ever reached, in the order in which they first were.
static FIRST: OnceRef<'static, Point> = OnceRef::new();

impl Point {
    /// A point that was not reached. `sentence` says what happens there, and is used once in all sources.
    pub const fn new(sentence: &'static str) -> Self {
        Self {
            sentence,
            reached: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            next: OnceRef::new(),
        }
    }

    /// What happens there.
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// Execution is at the point.
    #[inline]
    pub fn reach(&'static self) {
        if !self.reached.load(Ordering::Relaxed) {
            self.reach_first();
        }
    }

    #[cold]
    fn reach_first(&'static self) {
        self.reached.store(true, Ordering::Relaxed);
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        // A place is taken once and for good, so whoever finds one taken goes on from there: no lock, and each try that
        // fails is another point's success.
        let mut place = &FIRST;
        while place.set(self).is_err() {
            place = &place.get().expect("it was just found taken").next;
        }
    }
}

/// The points that were reached since the process began or [`forget`] was called.
pub fn reached() -> impl Iterator<Item = &'static Point> {
    listed().filter(|point| point.reached.load(Ordering::Relaxed))
}

/// Makes every point one that was not reached: for a process that runs one simulation after another and wants to know
/// what each of them reached.
pub fn forget() {
    listed().for_each(|point| point.reached.store(false, Ordering::Relaxed));
}

fn listed() -> impl Iterator<Item = &'static Point> {
    core::iter::successors(FIRST.get(), |point| point.next.get())
}

/// Marks a point that is reached only sometimes: `sometimes!("a sentence that says what happens here")`, or
/// `sometimes!(condition, "…")` where it is reached if the condition holds. See [the module](mod@crate::sometimes).
///
/// The sentence is a literal, and no two points have the same: the simulator finds both by reading the sources.
#[macro_export]
macro_rules! sometimes {
    ($sentence:literal) => {{
        static POINT: $crate::sometimes::Point = $crate::sometimes::Point::new($sentence);
        POINT.reach();
    }};
    ($condition:expr, $sentence:literal) => {
        if $condition {
            $crate::sometimes!($sentence);
        }
    };
}

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_point_is_reached_or_not_and_each_is_listed_once() {
        static NEVER: Point = Point::new("never");
        static POINTS: [Point; 50] = [const { Point::new("one of fifty") }; 50];
        let ours = || -> Vec<_> {
            reached().filter(|point| POINTS.iter().any(|ours| core::ptr::eq(ours, *point))).collect()
        };
        assert!(ours().is_empty());
        // All at once, from several threads: none is lost, none is there twice.
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..3).for_each(|_| POINTS.iter().for_each(Point::reach)));
            }
        });
        assert_eq!(ours().len(), POINTS.len());
        forget();
        assert!(ours().is_empty());
        POINTS[7].reach();
        assert_eq!(ours().len(), 1);
        assert!(!reached().any(|point| core::ptr::eq(point, &NEVER)));

        let condition = |holds: bool| crate::sometimes!(holds, "only with its condition");
        let seen = || reached().any(|point| point.sentence() == "only with its condition");
        condition(false);
        assert!(!seen());
        condition(true);
        assert!(seen());
    }
}
