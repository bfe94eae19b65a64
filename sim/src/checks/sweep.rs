//! Whether conditions, unlisted keys and values without a writer can be explained by operations without an answer.
//!
//! The order of the values is given. A sweep over the moments by which something must have taken effect moves on to
//! the next value as late as it can, since later more has begun and more is over. Free operations are the only choice.
//! Each may be used once, has no end, and may be used from its beginning on; so what counts is only how many of each
//! sort are left, and each need takes what is of least use to the others (see [`Plan::put_on_nothing`] and the others).
//! Where two choices are left the sweep goes on with both.

use holdfast::Condition;

use super::order::Replaces;
use super::values::{Free, Local, Moment, NEVER, OneKey, Unlisted, Value, Values};
use super::violation::{Kind, Violation};

/// Different ways to have used the free operations that are kept at a time.
const STATES_MAX: usize = 4096;
/// With more than so many, only equal ones are merged.
const COMPARED_MAX: usize = 256;

/// Sorts of free operations that can be of use anywhere.
const SORTS: usize = 4;
const PUT: usize = 0;
const PUT_IF_ABSENT: usize = 1;
const PUT_IF_PRESENT: usize = 2;
const DELETE: usize = 3;

/// How a value came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// By an operation that did not care what was there.
    OnAnything,
    /// By one that found no object.
    OnNothing,
    /// By one that found an object.
    OnObject,
    /// By one that replaced exactly the value before.
    OnThat,
    /// By a free operation.
    ByFree,
}

/// One way in which things may have gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// The value that the key had last, of those that anybody knows.
    at: usize,
    /// A free delete has taken it away.
    hollow: bool,
    /// How many of each sort were used.
    used: [usize; SORTS],
    /// The last moment at which there was no object and then one again.
    absent_until: Option<Moment>,
}

/// Free operations that replace one value only: since when there is a put, and a delete.
#[derive(Clone, Copy)]
struct Private {
    put: Moment,
    delete: Moment,
}

struct Plan<'a> {
    one: &'a OneKey<'a>,
    values: &'a [Value],
    written: Vec<Written>,
    /// When the known writer began.
    write_began: Vec<Moment>,
    private: Vec<Private>,
    /// When each began, in order.
    sorts: [Vec<Moment>; SORTS],
    first_mutation: Moment,
    /// The moment that the sweep is at, and how many of each sort have begun.
    now: Moment,
    begun: [usize; SORTS],
}

/// What has to be true at some moment.
#[derive(Clone, Copy)]
enum Due {
    /// The value must have been there.
    Value(usize),
    /// There must have been no object since the listing began.
    Absent(Unlisted),
}

/// Checks what [`super::order::check`] left open.
pub(super) fn check(one: &OneKey<'_>, all: &Values, replaces: &Replaces) -> Result<(), Violation> {
    let mut dues: Vec<(Moment, Due)> = Vec::with_capacity(all.values.len() + all.unlisted.len());
    for (at, value) in all.values.iter().enumerate() {
        if value.first_ended.0 < NEVER {
            dues.push((value.first_ended.0, Due::Value(at)));
        }
    }
    let unlisted = in_doubt(all);
    dues.extend(unlisted.iter().map(|unlisted| (unlisted.ended, Due::Absent(*unlisted))));
    dues.sort_by_key(|(moment, _)| *moment);
    let mut listings = Listings::new(&unlisted);
    let mut plan = Plan::new(one, all, replaces);
    let mut states = vec![State { at: 0, hollow: false, used: [0; SORTS], absent_until: None }];
    for (moment, due) in dues {
        plan.move_to(moment);
        let first = states[0];
        states = match due {
            Due::Value(at) => plan.reach(states, at, listings.wait_since(moment)),
            Due::Absent(unlisted) => plan.be_absent(states, unlisted),
        };
        if states.is_empty() {
            return Err(plan.explain(first, due));
        }
        thin_out(&mut states);
        if states.len() > STATES_MAX {
            let sentence = "too many operations without an answer to tell: make histories shorter";
            return Err(one.violation(Kind::Undecided, &[], sentence.to_owned()));
        }
    }
    Ok(())
}

/// The listings that no known absence explains: those with a value without an object that the sweep has surely come to
/// before their end, and not left before their beginning, are no question. (It comes to a value when the first operation
/// of that one or a later one ends, and leaves one without an object only when the next must be there.)
fn in_doubt(all: &Values) -> Vec<Unlisted> {
    let mut must_be: Moment = NEVER;
    let mut absent = Vec::new();
    for (at, value) in all.values.iter().enumerate().rev() {
        let next_must_be = must_be;
        must_be = must_be.min(value.first_ended.0);
        if !value.object {
            absent.push((if at == 0 { 0 } else { must_be }, next_must_be));
        }
    }
    absent.reverse();
    let explained = |one: &&Unlisted| {
        let after = absent.partition_point(|(must_be, _)| *must_be <= one.ended);
        absent[..after].last().is_some_and(|(_, next_must_be)| *next_must_be >= one.began)
    };
    all.unlisted.iter().filter(|one| !explained(one)).copied().collect()
}

/// Leaves out states that are in nothing better than another.
fn thin_out(states: &mut Vec<State>) {
    states.sort_unstable();
    states.dedup();
    if (2..=COMPARED_MAX).contains(&states.len()) {
        let all = states.clone();
        states.retain(|state| !all.iter().any(|other| other != state && other.is_as_good_as(state)));
    }
}

impl State {
    fn is_as_good_as(&self, other: &Self) -> bool {
        let used_less = self.used.iter().zip(other.used).all(|(mine, theirs)| *mine <= theirs);
        (self.at, self.hollow) == (other.at, other.hollow)
            && used_less
            && self.absent_until >= other.absent_until
    }
}

/// Which listings that did not show the key are under way.
struct Listings {
    /// By their beginning.
    coming: std::iter::Peekable<std::vec::IntoIter<(Moment, Moment)>>,
    /// Beginnings and ends, the latest beginning on top; what ended is taken off when it is there.
    open: std::collections::BinaryHeap<(Moment, Moment)>,
}

impl Listings {
    fn new(unlisted: &[Unlisted]) -> Self {
        let mut coming: Vec<_> = unlisted.iter().map(|one| (one.began, one.ended)).collect();
        coming.sort_unstable();
        Self { coming: coming.into_iter().peekable(), open: std::collections::BinaryHeap::new() }
    }

    /// When the latest of those that are under way began. Moments must not go back.
    fn wait_since(&mut self, now: Moment) -> Option<Moment> {
        while let Some(one) = self.coming.next_if(|(began, _)| *began <= now) {
            self.open.push(one);
        }
        while self.open.peek().is_some_and(|(_, ended)| *ended < now) {
            self.open.pop();
        }
        self.open.peek().map(|(began, _)| *began)
    }
}

impl<'a> Plan<'a> {
    fn new(one: &'a OneKey<'a>, all: &'a Values, replaces: &Replaces) -> Self {
        let values = &all.values;
        let written = |(value, replaced): (&Value, &Option<usize>)| match value.writer {
            None => Written::ByFree,
            Some(_) if replaced.is_some() => Written::OnThat,
            Some(writer) => match (one.condition(writer), value.object) {
                (Condition::IfAbsent, _) => Written::OnNothing,
                (Condition::Always, true) => Written::OnAnything,
                _ => Written::OnObject,
            },
        };
        let began = |value: &Value| value.writer.map_or(0, |writer| one.began(writer));
        let mut plan = Self {
            one,
            values,
            written: values.iter().zip(replaces).map(written).collect(),
            write_began: values.iter().map(began).collect(),
            private: vec![Private { put: NEVER, delete: NEVER }; values.len()],
            sorts: Default::default(),
            first_mutation: all.first_mutation,
            now: 0,
            begun: [0; SORTS],
        };
        for free in &all.free {
            plan.add(free);
        }
        for sort in &mut plan.sorts {
            sort.sort_unstable();
        }
        plan
    }

    fn add(&mut self, free: &Free) {
        let sort = match (free.put, free.condition) {
            (_, Condition::IfVersion(version)) => {
                if let Ok(at) = self.values.binary_search_by_key(&Some(version), |value| value.version) {
                    let private = &mut self.private[at];
                    let began = if free.put { &mut private.put } else { &mut private.delete };
                    *began = free.began.min(*began);
                }
                return;
            }
            (true, Condition::Always) => PUT,
            (true, Condition::IfAbsent) => PUT_IF_ABSENT,
            (true, Condition::IfPresent) => PUT_IF_PRESENT,
            (false, Condition::Always | Condition::IfPresent) => DELETE,
            // It has no effect where there is no object.
            (false, Condition::IfAbsent) => return,
        };
        self.sorts[sort].push(free.began);
    }

    fn move_to(&mut self, now: Moment) {
        self.now = now;
        for (sort, begun) in self.sorts.iter().zip(&mut self.begun) {
            *begun += sort[*begun..].iter().take_while(|began| **began <= now).count();
        }
    }

    /// Every way to have had the value by now. `waiting`: when the latest listing began that is under way and needs a
    /// moment without the key.
    fn reach(&self, mut states: Vec<State>, at: usize, waiting: Option<Moment>) -> Vec<State> {
        let mut reached = Vec::with_capacity(states.len());
        while let Some(state) = states.pop() {
            if state.at >= at {
                reached.push(state);
            } else {
                let waits = waiting.is_some_and(|since| state.absent_until.is_none_or(|until| until < since));
                self.next(state, waits, &mut states);
            }
        }
        reached
    }

    /// Every way to have had no object since the listing began.
    fn be_absent(&self, mut states: Vec<State>, unlisted: Unlisted) -> Vec<State> {
        let mut absent = Vec::with_capacity(states.len());
        while let Some(state) = states.pop() {
            if !self.is_object(state) || state.absent_until.is_some_and(|until| until >= unlisted.began) {
                absent.push(state);
                continue;
            }
            // Here, by a delete that nobody else needs to know of, or with a later value.
            let replaced = self.written.get(state.at + 1) == Some(&Written::OnThat);
            if !replaced && self.is_over(state) {
                absent.extend(self.delete(state).map(|state| State { hollow: true, ..state }));
            }
            let from = states.len();
            self.next(state, false, &mut states);
            // One that was absent on the way did not need to go on.
            let late = states.split_off(from);
            states.extend(late.into_iter().filter(|next| next.absent_until == state.absent_until));
        }
        absent
    }

    fn is_object(&self, state: State) -> bool {
        self.values[state.at].object && !state.hollow
    }

    /// Whether nobody who has not begun yet knows this value.
    fn is_over(&self, state: State) -> bool {
        self.values[state.at].last_begun.0 <= self.now
    }

    /// Every way to go on to the next value now. `waits`: a listing would like the key to be absent for a moment.
    fn next(&self, state: State, waits: bool, states: &mut Vec<State>) {
        let at = state.at + 1;
        if at >= self.values.len() || !self.is_over(state) || self.write_began[at] > self.now {
            return;
        }
        let written_on = |state: State| State { at, hollow: false, ..state };
        let object = self.values[at].object;
        if !self.is_object(state) {
            let gone = State { absent_until: Some(self.now), ..state };
            let ready = match self.written[at] {
                Written::OnAnything | Written::OnNothing => Some(gone),
                Written::OnObject => self.put_on_nothing(gone),
                Written::OnThat => None,
                Written::ByFree if object => self.put_on_nothing(gone),
                // The tombstone of a fence.
                Written::ByFree if at == 1 => (self.first_mutation <= self.now).then_some(gone),
                Written::ByFree => self.put_on_nothing(gone).and_then(|state| self.take(state, DELETE)),
            };
            states.extend(ready.map(written_on));
            return;
        }
        // Deleted for a moment.
        let gone = || self.delete(state).map(|state| State { absent_until: Some(self.now), ..state });
        let gone_and_put = || gone().and_then(|state| self.put_on_nothing(state));
        match self.written[at] {
            Written::OnThat => states.push(written_on(state)),
            Written::OnNothing => states.extend(gone().map(written_on)),
            Written::OnAnything => {
                states.push(written_on(state));
                states.extend(gone().filter(|_| waits).map(written_on));
            }
            Written::OnObject => {
                states.push(written_on(state));
                states.extend(gone_and_put().filter(|_| waits && object).map(written_on));
            }
            Written::ByFree if !object => states.extend(self.delete(state).map(written_on)),
            Written::ByFree => {
                let private = self.private[state.at];
                let directly = if private.put <= self.now { Some(state) } else { self.put_on_object(state) };
                let deleted_by_private = private.put > self.now && private.delete <= self.now;
                if waits || directly.is_none() || deleted_by_private {
                    states.extend(gone_and_put().map(written_on));
                }
                states.extend(directly.map(written_on));
            }
        }
    }

    fn take(&self, mut state: State, sort: usize) -> Option<State> {
        let left = state.used[sort] < self.begun[sort];
        state.used[sort] += 1;
        left.then_some(state)
    }

    /// With a free delete of the object that is there. One that replaces only this version is of no use elsewhere.
    fn delete(&self, state: State) -> Option<State> {
        if self.private[state.at].delete <= self.now { Some(state) } else { self.take(state, DELETE) }
    }

    /// With a free put where there is nothing. One that needs an absent key is used first: wherever it could be used
    /// later, an unconditional one can.
    fn put_on_nothing(&self, state: State) -> Option<State> {
        self.take(state, PUT_IF_ABSENT).or_else(|| self.take(state, PUT))
    }

    /// With a free put where there is an object. One that needs an object is used first: it is of use nowhere else, and
    /// there an unconditional one is as good.
    fn put_on_object(&self, state: State) -> Option<State> {
        self.take(state, PUT_IF_PRESENT).or_else(|| self.take(state, PUT))
    }
}

impl Plan<'_> {
    /// Why no state is left: of the first that was, what it could not get over.
    fn explain(&self, mut state: State, due: Due) -> Violation {
        let (target, op) = match due {
            Due::Value(at) => (at, self.values[at].first_ended.1),
            Due::Absent(unlisted) => return self.left_out(state, unlisted),
        };
        loop {
            let mut next = Vec::new();
            self.next(state, false, &mut next);
            match next.pop() {
                Some(further) if further.at < target => state = further,
                _ => return self.no_way_on(state, op),
            }
        }
    }

    fn left_out(&self, state: State, unlisted: Unlisted) -> Violation {
        let held = &self.values[state.at];
        let sentence = format!(
            "{} did not show the key, which had an object at every moment of it, at the end {}",
            self.one.name(unlisted.op),
            held.name()
        );
        let mut guilty = vec![unlisted.op, held.witness];
        let around = [state.at.wrapping_sub(1), state.at + 1];
        let around = around.iter().filter_map(|at| self.values.get(*at));
        guilty.extend(around.filter(|value| value.version.is_some()).map(|value| value.witness));
        self.one.violation(Kind::LeftOut, &guilty, sentence)
    }

    fn no_way_on(&self, state: State, op: Local) -> Violation {
        let (before, after) = (&self.values[state.at], &self.values[state.at + 1]);
        let after_name = after.name();
        let Some(writer) = after.writer else {
            let sentence = format!(
                "{} saw {after_name}, and no operation is left that can have written it by then",
                self.one.name(after.first_seen.1)
            );
            return self.one.violation(Kind::NeverWritten, &[after.first_seen.1, op], sentence);
        };
        let (name, found) = (self.one.name(writer), if self.is_object(state) { "an object" } else { "none" });
        let needed = if self.written[state.at + 1] == Written::OnNothing { "none" } else { "an object" };
        let sentence = format!(
            "{name} took effect as {after_name} on {found}, where its condition needs {needed}: {}",
            match before.version {
                Some(_) => format!("before it came {}", before.name()),
                None => "nothing was written before".to_owned(),
            }
        );
        let mut guilty = vec![writer, op];
        if before.version.is_some() {
            guilty.push(before.witness);
        }
        self.one.violation(Kind::ConditionIgnored, &guilty, sentence)
    }
}
