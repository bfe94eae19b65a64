//! The fast check against the search that tries everything, on made-up histories.

use std::collections::BTreeMap;
use std::fmt;

use holdfast::Condition;

use super::made::{Shape, doubtful, history, spoil};
use super::search::has_an_order;
use super::{Kind, Violation, check};
use crate::history::{Action, Op, Seen};
use crate::random::Random;

/// Operations of a compared history: fewer find little, more take the search long.
const OPS: (usize, usize) = (4, 11);

/// What was compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Histories.
    pub histories: u64,
    /// Of these, how many both found possible.
    pub possible: u64,
    /// How many both found impossible, by what the fast check called it.
    pub impossible: BTreeMap<Kind, u64>,
    /// Of the impossible ones, how many would be possible if versions were not ordered.
    pub only_versions: u64,
}

/// A history on which they do not agree.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The history's own seed.
    pub seed: u64,
    /// The history.
    pub ops: Vec<Op>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "history {}: {}", self.seed, self.what)?;
        self.ops.iter().enumerate().try_for_each(|(number, op)| writeln!(f, "    {number}: {op}"))
    }
}

impl std::error::Error for Mismatch {}

/// Compares `count` histories made from `seed`, `seed + 1` and so on. Errors with the first on which the two do not agree.
pub fn differential(seed: u64, count: u64) -> Result<Compared, Box<Mismatch>> {
    let mut compared = Compared::default();
    for seed in seed..seed + count {
        let ops = made(seed);
        let verdict = check(&ops);
        compare(&ops, &verdict, &mut compared).map_err(|what| Box::new(Mismatch { seed, ops, what }))?;
    }
    Ok(compared)
}

fn made(seed: u64) -> Vec<Op> {
    let mut random = Random::new(seed, "differential");
    if random.one_in(3) {
        let ops = OPS.0 + random.index(OPS.1 - OPS.0 + 1);
        return doubtful(&mut random, ops);
    }
    let shape = Shape {
        ops: OPS.0 + random.index(OPS.1 - OPS.0 + 1),
        overlap: random.pick(&[0, 1, 2, 3, 8]),
        reads: random.pick(&[25, 45, 60]),
        unknown: random.pick(&[0, 10, 30, 50, 75]),
        without_text: random.pick(&[0, 50, 100]),
        conditional: random.pick(&[0, 30, 70]),
        deletes: random.pick(&[0, 30, 50]),
    };
    let mut ops = history(&mut random, shape);
    for _ in 0..random.pick(&[0, 0, 1, 1, 2, 4]) {
        spoil(&mut random, &mut ops);
    }
    ops
}

fn compare(ops: &[Op], verdict: &Result<(), Violation>, compared: &mut Compared) -> Result<(), String> {
    compared.histories += 1;
    let possible = has_an_order(ops, true);
    let violation = match (verdict, possible) {
        (Ok(()), true) => {
            compared.possible += 1;
            return Ok(());
        }
        (Ok(()), false) => return Err("no order explains it, and none was missed".to_owned()),
        (Err(violation), true) => return Err(format!("an order explains it, but: {violation}")),
        (Err(violation), false) => violation,
    };
    *compared.impossible.entry(violation.kind).or_default() += 1;
    let guilty = &violation.guilty;
    if guilty.is_empty() || guilty.len() > super::GUILTY_MAX || guilty.iter().any(|at| *at >= ops.len()) {
        return Err(format!("nobody, or too many, are guilty: {violation}"));
    }
    let plain = has_an_order(ops, false);
    compared.only_versions += u64::from(plain);
    match violation.kind {
        Kind::WentBack
        | Kind::SeenTooEarly
        | Kind::DidNotHappen
        | Kind::Contradiction
        | Kind::VersionReused
            if plain =>
        {
            Err(format!("only the versions forbid it, but: {violation}"))
        }
        Kind::VersionsFall if !plain && is_simple(ops) => {
            Err(format!("no order of the versions could explain it either, but: {violation}"))
        }
        _ => Ok(()),
    }
}

/// Whether all values are objects whose writers are known, and all conditions are swaps: then zones decide.
fn is_simple(ops: &[Op]) -> bool {
    let is_written = |version| ops.iter().any(|op| op.seen == Seen::Wrote(version));
    ops.iter().all(|op| {
        let condition = match &op.action {
            Action::Put(_, condition) => *condition,
            Action::Delete(_) => return false,
            Action::Read => Condition::Always,
        };
        let with_zones = match condition {
            Condition::Always => true,
            Condition::IfVersion(version) => is_written(version),
            Condition::IfAbsent | Condition::IfPresent => false,
        };
        with_zones && matches!(op.seen, Seen::Wrote(_) | Seen::Found(_, Some(_)) | Seen::Absent(None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Histories of each test; `HOLDFAST_SIM_HISTORIES` sets another number.
    const HISTORIES: u64 = 25_000;

    #[test]
    fn the_fast_check_agrees_with_trying_every_order() {
        agrees(0);
    }

    /// So that two processors share them.
    #[test]
    fn and_does_so_on_other_histories() {
        agrees(1 << 32);
    }

    fn agrees(seed: u64) {
        let wanted = std::env::var("HOLDFAST_SIM_HISTORIES").ok();
        let count =
            wanted.map_or(HISTORIES, |text| text.parse().expect("HOLDFAST_SIM_HISTORIES is a number"));
        let compared = differential(seed, count).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        println!("{compared:#?}");
        assert!(compared.possible > count / 5, "hardly any history is possible: {compared:?}");
        if count >= HISTORIES {
            for kind in [
                Kind::Contradiction,
                Kind::VersionReused,
                Kind::NeverWritten,
                Kind::DidNotHappen,
                Kind::SeenTooEarly,
                Kind::WentBack,
                Kind::LostUpdate,
                Kind::VersionsFall,
                Kind::ConditionIgnored,
                Kind::LeftOut,
            ] {
                assert!(compared.impossible.contains_key(&kind), "no history shows {kind:?}");
            }
        }
    }
}
