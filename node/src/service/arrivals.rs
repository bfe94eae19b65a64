//! Tells a request's copies from the first that came.
//!
//! Browsers send a request again by themselves, a POST too, when a connection that had waited for it breaks before an answer:
//! the same bytes, so nothing in them says so. Whoever is then told of the second "it did not happen" would believe it of both.
//! So clients that live in browsers say for which process a request is meant, and a process remembers what came: what it has
//! not seen is the only one, all else counts as a retry.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::OpId;
use holdfast_core::sometimes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::DEADLINE_MAX;

/// A copy comes while its sender waits for an answer: no longer than any request may take.
const REMEMBERED_FOR: Duration = DEADLINE_MAX;
/// Operations remembered at most, some 4 MB. Beyond it the oldest are forgotten, and until their copies can have come no
/// more, every request may be one.
const REMEMBERED_MAX: usize = 65_536;

/// The operations that came lately.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// This process's.
    life: u64,
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    ops: BTreeSet<OpId>,
    /// The oldest first.
    order: VecDeque<(Instant, OpId)>,
    /// Some were forgotten early: copies of them may come until then.
    forgot_until: Option<Instant>,
}

impl Arrivals {
    pub(super) fn new(life: u64) -> Self {
        Self { life, lately: Mutex::default() }
    }

    /// A request of this operation came, meant for the process `to_life`; `None`: nobody doubles what this client sends.
    /// Whether it may be a copy of one that came before.
    pub(super) fn may_be_copy(&self, op: Option<OpId>, to_life: Option<u64>, now: Instant) -> bool {
        let (Some(op), Some(to_life)) = (op, to_life) else { return false };
        let mut lately = self.lately.lock();
        lately.expire(now);
        let is_new = lately.ops.insert(op);
        if is_new {
            lately.order.push_back((now, op));
        }
        sometimes!(!is_new, "a request comes to a node a second time");
        let is_forgetful = lately.forgot_until.is_some_and(|until| now < until);
        let is_other_life = to_life != self.life;
        sometimes!(is_other_life, "a request comes to another process of its node than it was meant for");
        is_other_life || !is_new || is_forgetful
    }
}

impl Lately {
    /// Makes room for one more.
    fn expire(&mut self, now: Instant) {
        while let Some(&(came, op)) = self.order.front() {
            let until = came + REMEMBERED_FOR;
            if now < until {
                if self.order.len() < REMEMBERED_MAX {
                    return;
                }
                self.forgot_until = Some(until);
            }
            self.order.pop_front();
            self.ops.remove(&op);
        }
    }
}

/// What its client is told that a copy was refused with, when it believes that it sent the only one. A failed condition has
/// fenced the operation, and what breaks a rule breaks it in every copy; any other refusal is of this copy alone.
pub(super) fn refusal_of_copy(error: Error) -> Error {
    match error.code {
        Code::Unavailable
        | Code::Overloaded
        | Code::StaleOpId(_)
        | Code::DiskFull
        | Code::Integrity
        | Code::ChecksumMismatch => {
            sometimes!("a copy of a request is refused, which says nothing of the first");
            let message =
                format!("this copy of the request was refused, another may have been carried out: {error}");
            Error::owned(Code::OutcomeUnknown, message)
        }
        Code::ConditionFailed(_)
        | Code::NotFound
        | Code::Fenced
        | Code::Invalid
        | Code::TooLarge(_)
        | Code::Range(_)
        | Code::Timeout
        | Code::OutcomeUnknown
        | Code::Internal => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: u64 = 7;

    #[test]
    fn only_the_first_in_this_life_is_the_only_one() {
        let arrivals = Arrivals::new(LIFE);
        let now = Instant::now();
        let came = |op, to_life| arrivals.may_be_copy(Some(OpId(op)), to_life, now);
        assert!(!came(1, Some(LIFE)));
        assert!(came(1, Some(LIFE)));
        assert!(came(2, Some(LIFE + 1)), "meant for another process, which may have seen it");
        assert!(came(3, Some(0)), "whom it was meant for is not known");
        assert!(!came(4, None) && !came(4, None), "nobody doubles it");
        assert!(!arrivals.may_be_copy(None, Some(LIFE), now));
    }

    #[test]
    fn what_is_forgotten_early_makes_every_request_doubtful_for_a_while() {
        let arrivals = Arrivals::new(LIFE);
        let start = Instant::now();
        let came = |op, now| arrivals.may_be_copy(Some(OpId(op)), Some(LIFE), now);
        for op in 1..=REMEMBERED_MAX as u128 {
            assert!(!came(op, start));
        }
        assert!(came(0, start + REMEMBERED_FOR / 2));
        assert_eq!(arrivals.lately.lock().ops.len(), REMEMBERED_MAX);
        assert!(!came(u128::MAX, start + REMEMBERED_FOR));
        assert_eq!(arrivals.lately.lock().order.len(), 2);
        assert_eq!(arrivals.lately.lock().ops.len(), 2);
    }
}
