//! Tells a request's copies from the first that came.
//!
//! Browsers send a request again by themselves, a POST too, when a connection that had waited for it breaks before an answer:
//! the same bytes, so nothing in them says so. Whoever is then told of the second "it did not happen" would believe it of both.
//! So clients that live in browsers number their attempts and say for which process they are meant, and a process remembers what
//! came. The first is the only one; all else counts as a retry. Either may overtake the other: a first that is refused after
//! a copy has come speaks for itself alone, and after one that was refused, no copy may take effect. So what comes to another
//! process than it was meant for, or after it may have been forgotten, is not carried out; its client's next attempt is a
//! retry. Those need not be remembered: what they are refused with is fenced, or says nothing of other copies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::error::{Code, Error};
use holdfast_core::ids::OpId;
use holdfast_core::sometimes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::DEADLINE_MAX;

/// What came is remembered for at least so long. A client believes no refusal that comes later than half of it after it
/// sent its request (`COPIES_MS_MAX` in `core/src/client/policy.rs`).
const REMEMBERED_FOR: Duration = DEADLINE_MAX;
/// A request whose op id is older, by this node's clock, may be what a machine sends that was asleep.
const OP_ID_AGE_MAX: Duration = Duration::from_secs(30);
/// Attempts remembered at most, some 30 MB. Beyond it the oldest are forgotten, and until their copies can have come no
/// more, every request may be one.
const REMEMBERED_MAX: usize = 1 << 20;

/// An attempt of an operation, as its client names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    /// `None`: the node makes one, for each copy.
    pub(super) op: Option<OpId>,
    /// For which process it is meant; 0: not known, so that it counts as a retry; `None`: nobody doubles what this client
    /// sends.
    pub(super) to_life: Option<u64>,
    /// Tells the client's own attempts apart.
    pub(super) number: u32,
    /// Its client knows that it is not the only one.
    pub(super) retry: bool,
}

/// How far the first request of an attempt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum First {
    UnderWay,
    /// Under way, and a copy has come.
    Copied,
    /// Its client may have been told that it did nothing.
    Refused,
    /// Whatever comes after it counts as a retry.
    Ended,
}

/// The attempts that came lately.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// This process's number.
    life: u64,
    lately: Mutex<Lately>,
}

#[derive(Debug)]
struct Lately {
    /// What came since `since`, and what came before.
    current: BTreeMap<u64, First>,
    previous: BTreeMap<u64, First>,
    since: Instant,
    /// Some were forgotten early: copies of them may come until then.
    forgot_until: Option<Instant>,
}

/// A request that came.
#[derive(Debug)]
pub(super) struct Arrival {
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// There are no copies of it.
    Only,
    /// There may be copies after it.
    First(Arc<Arrivals>, u64),
    /// Another may have come before it, whose client was told nothing that a retry can make untrue.
    Copy {
        /// Its client does not take it for the only one, and believes no word about its op id's age: it may be told.
        is_marked: bool,
    },
    /// Another may have come before it and been refused.
    Spare,
}

impl Arrivals {
    pub(super) fn new(life: u64) -> Self {
        let lately = Lately {
            current: BTreeMap::new(),
            previous: BTreeMap::new(),
            since: Instant::now(),
            forgot_until: None,
        };
        Self { life, lately: Mutex::new(lately) }
    }

    /// A request of this attempt came. To be noted in the order in which requests come, before any of them is carried out.
    pub(super) fn note(self: &Arc<Self>, attempt: Attempt, now: Instant, unix_ms: u64) -> Arrival {
        let Attempt { op: Some(op), to_life: Some(to_life), number, retry } = attempt else {
            return Arrival { role: Role::Only };
        };
        let copy = Role::Copy { is_marked: retry };
        // Whatever came before it, what it is refused with is fenced, or says nothing.
        if retry || to_life == 0 {
            return Arrival { role: copy };
        }
        let key = key_of(op, number);
        let mut lately = self.lately.lock();
        lately.make_room(now);
        let role = match lately.get(key) {
            Some(first @ (First::UnderWay | First::Copied)) => {
                sometimes!("a copy of a request comes while the first is under way");
                *first = First::Copied;
                copy
            }
            Some(First::Refused) => {
                sometimes!("a copy of a request comes after the first was refused");
                Role::Spare
            }
            Some(First::Ended) => copy,
            None => {
                let is_other_life = to_life != self.life;
                sometimes!(
                    is_other_life,
                    "a request comes to another process of its node than it was meant for"
                );
                let is_old = op.unix_ms() + OP_ID_AGE_MAX.as_millis() as u64 <= unix_ms;
                let is_forgetful = lately.forgot_until.is_some_and(|until| now < until);
                let may_be_stray = is_other_life || is_old || is_forgetful;
                lately.current.insert(key, if may_be_stray { First::Refused } else { First::UnderWay });
                if may_be_stray { Role::Spare } else { Role::First(self.clone(), key) }
            }
        };
        Arrival { role }
    }
}

impl Lately {
    fn get(&mut self, key: u64) -> Option<&mut First> {
        self.current.get_mut(&key).or_else(|| self.previous.get_mut(&key))
    }

    /// For one more.
    fn make_room(&mut self, now: Instant) {
        let until = self.since + REMEMBERED_FOR;
        let is_full = self.current.len() >= REMEMBERED_MAX / 2;
        if now < until && !is_full {
            return;
        }
        let dropped = std::mem::take(&mut self.previous);
        if now < until && !dropped.is_empty() {
            self.forgot_until = Some(until);
        }
        self.previous = std::mem::take(&mut self.current);
        self.since = now;
    }
}

/// Two that are equal by chance are taken for copies, which is safe.
fn key_of(op: OpId, number: u32) -> u64 {
    let [high, low] = [(op.0 >> 64) as u64, op.0 as u64];
    high.rotate_left(32) ^ low ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Arrival {
    /// Errors when it may not be carried out: its client may have been told that it did nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.role {
            Role::Spare => Err(unknown("one before it may have been refused")),
            Role::Only | Role::First(..) | Role::Copy { .. } => Ok(()),
        }
    }

    /// Whether another may have come before it: it is to be carried out as a retry.
    pub(super) fn may_be_copy(&self) -> bool {
        matches!(self.role, Role::Copy { .. })
    }

    /// It was carried out with this result; `is_refusal` says of a good one that it changed nothing. What its client can be told.
    pub(super) fn settle<T>(
        self,
        result: Result<T, Error>,
        is_refusal: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        let (arrivals, key) = match self.role {
            Role::Only | Role::Spare => return result,
            Role::Copy { is_marked } => return result.map_err(|error| refusal_of_copy(error, is_marked)),
            Role::First(arrivals, key) => (arrivals, key),
        };
        let is_refused = match &result {
            Ok(value) => is_refusal(value),
            Err(error) => !matches!(error.code, Code::OutcomeUnknown | Code::Timeout | Code::Internal),
        };
        let mut lately = arrivals.lately.lock();
        match lately.get(key) {
            Some(First::Copied) | None if is_refused => {
                sometimes!("a request is refused of which a copy may have come meanwhile");
                Err(unknown("another came before this one was refused"))
            }
            Some(first) => {
                *first = if is_refused { First::Refused } else { First::Ended };
                result
            }
            None => result,
        }
    }
}

fn unknown(why: &str) -> Error {
    let message = format!("there is another copy of this request, and what became of it is not known: {why}");
    Error::owned(Code::OutcomeUnknown, message)
}

/// A copy was refused. A failed condition has fenced the operation, and what breaks a rule breaks it in every copy; any other
/// refusal is of this copy alone.
fn refusal_of_copy(error: Error, is_marked: bool) -> Error {
    match error.code {
        Code::StaleOpId(_) if is_marked => error,
        Code::Unavailable
        | Code::Overloaded
        | Code::StaleOpId(_)
        | Code::DiskFull
        | Code::Integrity
        | Code::ChecksumMismatch => {
            sometimes!("a copy of a request is refused, which says nothing of the first");
            unknown(&error.to_string())
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
    const UNIX_MS: u64 = 1_700_000_000_000;

    fn attempt(op: u8, number: u32) -> Attempt {
        Attempt { op: Some(OpId::from_parts(UNIX_MS, [op; 10])), to_life: Some(LIFE), number, retry: false }
    }

    fn came(arrivals: &Arc<Arrivals>, attempt: Attempt) -> Arrival {
        arrivals.note(attempt, Instant::now(), UNIX_MS)
    }

    fn refused(arrival: Arrival) -> Code {
        let refused = Err::<bool, _>(Error::new(Code::ConditionFailed(None), "no"));
        arrival.settle(refused, |_| false).unwrap_err().code
    }

    #[test]
    fn only_the_first_in_this_life_is_no_copy() {
        let arrivals = Arc::new(Arrivals::new(LIFE));
        let role = |arrival: Arrival| (arrival.check().is_ok(), arrival.may_be_copy());
        let (alone, copy, spare) = ((true, false), (true, true), (false, false));
        assert_eq!(role(came(&arrivals, attempt(1, 0))), alone);
        assert_eq!(role(came(&arrivals, attempt(1, 0))), copy);
        assert_eq!(role(came(&arrivals, attempt(1, 1))), alone, "another attempt of its client");
        let meant_for = |op, to_life| role(came(&arrivals, Attempt { to_life, ..attempt(op, 0) }));
        assert_eq!(meant_for(2, Some(LIFE + 1)), spare, "another process may have refused it");
        assert_eq!(meant_for(3, Some(0)), copy, "whom it was meant for is not known");
        assert_eq!(role(came(&arrivals, Attempt { retry: true, ..attempt(2, 0) })), copy);
        assert_eq!([meant_for(4, None), meant_for(4, None)], [alone; 2], "nobody doubles it");
        assert_eq!(role(came(&arrivals, Attempt { op: None, ..attempt(5, 0) })), alone);
        let later = UNIX_MS + OP_ID_AGE_MAX.as_millis() as u64;
        assert_eq!(role(arrivals.note(attempt(6, 0), Instant::now(), later)), spare, "of one who was asleep");
    }

    #[test]
    fn what_was_refused_stays_refused_and_what_may_yet_happen_is_not_told_as_refused() {
        let arrivals = Arc::new(Arrivals::new(LIFE));
        let first = came(&arrivals, attempt(1, 0));
        assert!(matches!(refused(first), Code::ConditionFailed(_)));
        let copy = came(&arrivals, attempt(1, 0));
        assert_eq!(copy.check().unwrap_err().code, Code::OutcomeUnknown);

        let first = came(&arrivals, attempt(2, 0));
        let copy = came(&arrivals, attempt(2, 0));
        assert!(copy.check().is_ok());
        assert_eq!(refused(first), Code::OutcomeUnknown);
        assert!(matches!(refused(copy), Code::ConditionFailed(_)), "fenced");

        let nothing_to_delete = |arrival: Arrival| arrival.settle(Ok(false), |deleted| !deleted);
        let first = came(&arrivals, attempt(3, 0));
        let _copy = came(&arrivals, attempt(3, 0));
        assert_eq!(nothing_to_delete(first).unwrap_err().code, Code::OutcomeUnknown);
        assert_eq!(nothing_to_delete(came(&arrivals, attempt(4, 0))), Ok(false));
        assert!(came(&arrivals, attempt(4, 0)).check().is_err());

        let first = came(&arrivals, attempt(5, 0));
        assert_eq!(first.settle(Ok(true), |deleted| !deleted), Ok(true));
        let copy = came(&arrivals, attempt(5, 0));
        let overloaded = Err::<bool, _>(Error::new(Code::Overloaded, "later"));
        assert_eq!(copy.settle(overloaded, |_| false).unwrap_err().code, Code::OutcomeUnknown);
        let stale = || Err::<bool, _>(Error::new(Code::StaleOpId(OpId(1)), "old"));
        for copy in [attempt(5, 0), Attempt { to_life: Some(0), ..attempt(5, 1) }] {
            let copy = came(&arrivals, copy);
            assert_eq!(copy.settle(stale(), |_| false).unwrap_err().code, Code::OutcomeUnknown);
        }
        let marked = came(&arrivals, Attempt { retry: true, ..attempt(5, 2) });
        assert!(matches!(marked.settle(stale(), |_| false).unwrap_err().code, Code::StaleOpId(_)));
    }

    #[test]
    fn what_is_forgotten_early_makes_every_request_doubtful_for_a_while() {
        let arrivals = Arc::new(Arrivals::new(LIFE));
        let start = Instant::now();
        let came = |number, now| arrivals.note(attempt(1, number), now, UNIX_MS).check().is_err();
        for number in 0..REMEMBERED_MAX as u32 {
            assert!(!came(number, start));
        }
        let soon = start + REMEMBERED_FOR / 2;
        assert!(came(u32::MAX, soon));
        let remembered = {
            let lately = arrivals.lately.lock();
            lately.current.len() + lately.previous.len()
        };
        assert!(remembered <= REMEMBERED_MAX);
        assert!(!came(u32::MAX - 1, start + REMEMBERED_FOR));
        assert!(!came(1, start + 4 * REMEMBERED_FOR), "long ago");
    }
}
