//! Linearizability, key by key: is there one order of all operations, in which each takes effect at one moment between
//! its question and its answer, that explains every answer?
//!
//! Exact, by search with memory (Wing and Gong, Lowe): every order is tried, no pair of (operations done, value) twice.
//! Fast enough for the hundred operations that a key sees here; `docs/simulation.md` names the checker that replaces it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::register::{Register, Value};
use crate::history::{Action, Op, Seen};

/// States that are looked at for one key before the check gives up, which counts as a failure: make histories shorter.
const STATES_MAX: usize = 4_000_000;

/// A key whose answers no order explains.
#[derive(Clone, Debug)]
pub struct Violation {
    key: String,
    why: String,
    ops: Vec<Op>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?}: {}", self.key, self.why)?;
        for op in &self.ops {
            writeln!(f, "    {op}")?;
        }
        Ok(())
    }
}

/// Checks every key of a history. All of them were absent at the beginning.
pub fn check(ops: &[Op]) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<Op>> = BTreeMap::new();
    for op in ops {
        keys.entry(&op.key).or_default().push(op.clone());
    }
    for (key, ops) in keys {
        check_key(&ops).map_err(|why| Violation { key: key.to_owned(), why, ops })?;
    }
    Ok(())
}

fn check_key(ops: &[Op]) -> Result<(), String> {
    let register = Register::new(ops)?;
    versions_rise(ops)?;
    let tells = |op: &&(usize, &Op)| match op.1.seen {
        Seen::Nothing => false,
        Seen::Unknown | Seen::Pending => op.1.action != Action::Read,
        _ => true,
    };
    let mut steps: Vec<(usize, &Op)> = ops.iter().enumerate().collect::<Vec<_>>();
    steps.retain(|step| tells(&step));
    steps.sort_by_key(|(number, op)| (op.began, *number));
    Search { register, steps }.run()
}

/// A put that began after another one had ended has a higher version.
fn versions_rise(ops: &[Op]) -> Result<(), String> {
    let mut puts: Vec<_> = ops
        .iter()
        .filter_map(|op| match op.seen {
            Seen::Wrote(version) => Some((op.began, op.ended?, version, op)),
            _ => None,
        })
        .collect();
    puts.sort_by_key(|(began, ..)| *began);
    for (at, (began, _, version, op)) in puts.iter().enumerate() {
        if let Some((.., earlier)) =
            puts[..at].iter().find(|(_, ended, other, _)| ended < began && other >= version)
        {
            return Err(format!("its versions go back: {op} came after {earlier}"));
        }
    }
    Ok(())
}

/// When an operation must have taken effect.
fn deadline(op: &Op) -> Duration {
    match op.seen {
        Seen::Unknown | Seen::Pending => Duration::MAX,
        _ => op.ended.unwrap_or(Duration::MAX),
    }
}

struct Search<'a> {
    register: Register,
    /// In the order in which they began.
    steps: Vec<(usize, &'a Op)>,
}

/// Which steps are done, and the value.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    done: Vec<u64>,
    value: Value,
}

impl State {
    fn has(&self, step: usize) -> bool {
        self.done[step / 64] >> (step % 64) & 1 == 1
    }
}

impl Search<'_> {
    fn run(&self) -> Result<(), String> {
        let first = State { done: vec![0; self.steps.len().div_ceil(64)], value: None };
        let mut seen = HashSet::from([first.clone()]);
        let mut open = vec![first];
        let mut furthest = (0, None);
        while let Some(state) = open.pop() {
            let left = |step: &usize| !state.has(*step);
            // Nothing that must take effect is left: what has no answer may never happen.
            let Some(limit) = self.next_deadline(&state) else { return Ok(()) };
            let done: u32 = state.done.iter().map(|word| word.count_ones()).sum();
            if done >= furthest.0 {
                furthest = (done, Some(state.clone()));
            }
            let ready = (0..self.steps.len()).take_while(|step| self.steps[*step].1.began <= limit);
            for step in ready.filter(left) {
                let (number, op) = self.steps[step];
                let Some(value) = self.register.apply(number, op, state.value) else { continue };
                let mut next = State { value, ..state.clone() };
                next.done[step / 64] |= 1 << (step % 64);
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
            if seen.len() > STATES_MAX {
                return Err("its history is too long to be checked".to_owned());
            }
        }
        Err(self.explain(furthest.1.as_ref()))
    }

    /// The first moment by which one of the steps that are left must have taken effect.
    fn next_deadline(&self, state: &State) -> Option<Duration> {
        let left = self.steps.iter().enumerate().filter(|(step, _)| !state.has(*step));
        left.map(|(_, (_, op))| deadline(op)).min().filter(|limit| *limit < Duration::MAX)
    }

    fn explain(&self, furthest: Option<&State>) -> String {
        let Some(state) = furthest else { return "no order explains the answers".to_owned() };
        let left = self.steps.iter().enumerate().filter(|(step, _)| !state.has(*step));
        let stuck = left.map(|(_, (_, op))| op).min_by_key(|op| deadline(op));
        let value = match state.value {
            Some(put) => self
                .steps
                .iter()
                .find(|(number, _)| *number == put)
                .map_or_else(String::new, |(_, op)| op.to_string()),
            None => "absent".to_owned(),
        };
        let stuck = stuck.map_or_else(String::new, |op| op.to_string());
        format!(
            "no order explains the answers; at best this one is wrong:\n    {stuck}\n  where the value was:\n    {value}"
        )
    }
}

#[cfg(test)]
mod tests {
    use holdfast::Condition;

    use super::*;

    fn version(round: u64) -> holdfast::Version {
        format!("1-{round:x}-1-a").parse().unwrap()
    }

    fn op(action: Action, began: u64, ended: u64, seen: Seen) -> Op {
        let (client, key) = ("c".to_owned(), "k".to_owned());
        let (began, ended) = (Duration::from_millis(began), Some(Duration::from_millis(ended)));
        Op { client, key, action, began, ended, seen }
    }

    fn put(text: &str, began: u64, ended: u64, seen: Seen) -> Op {
        op(Action::Put(text.to_owned(), Condition::Always), began, ended, seen)
    }

    fn found(round: u64, text: &str) -> Seen {
        Seen::Found(version(round), Some(text.to_owned()))
    }

    #[test]
    fn overlapping_operations_may_be_in_any_order() {
        let ops = [
            put("a", 0, 10, Seen::Wrote(version(1))),
            put("b", 5, 15, Seen::Wrote(version(2))),
            op(Action::Read, 6, 12, found(1, "a")),
            op(Action::Read, 13, 14, found(2, "b")),
        ];
        check(&ops).unwrap();
    }

    #[test]
    fn a_stale_read_is_found() {
        let ops = [
            put("a", 0, 10, Seen::Wrote(version(1))),
            put("b", 20, 30, Seen::Wrote(version(2))),
            op(Action::Read, 40, 50, found(1, "a")),
        ];
        assert!(check(&ops).is_err());
    }

    #[test]
    fn a_lost_write_is_found() {
        let ops = [put("a", 0, 10, Seen::Wrote(version(1))), op(Action::Read, 40, 50, Seen::Absent)];
        assert!(check(&ops).is_err());
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never_but_not_twice() {
        let late = [
            put("a", 0, 10, Seen::Unknown),
            op(Action::Read, 20, 30, Seen::Absent),
            op(Action::Read, 40, 50, found(1, "a")),
        ];
        check(&late).unwrap();
        let twice = [
            put("a", 0, 10, Seen::Unknown),
            op(Action::Read, 20, 30, found(1, "a")),
            op(Action::Delete(Condition::Always), 40, 50, Seen::Deleted(true)),
            op(Action::Read, 60, 70, found(1, "a")),
        ];
        assert!(check(&twice).is_err());
        check(&twice[..3]).unwrap();
    }

    #[test]
    fn one_of_two_swaps_wins() {
        let swap = |text: &str, seen| {
            op(Action::Put(text.to_owned(), Condition::IfVersion(version(1))), 20, 30, seen)
        };
        let first = put("a", 0, 10, Seen::Wrote(version(1)));
        let won = swap("b", Seen::Wrote(version(2)));
        check(&[first.clone(), won.clone(), swap("c", Seen::ConditionFailed(Some(version(2))))]).unwrap();
        assert!(check(&[first.clone(), won.clone(), swap("c", Seen::Wrote(version(3)))]).is_err());
        assert!(check(&[first, won, swap("c", Seen::ConditionFailed(Some(version(1))))]).is_err());
    }

    #[test]
    fn what_did_not_happen_is_never_read() {
        let ops = [put("a", 0, 10, Seen::Nothing), op(Action::Read, 40, 50, found(1, "a"))];
        assert!(check(&ops).is_err());
    }
}
