//! A key's history never forgets silently: "never took effect" is only said of operations that never did.

use std::collections::BTreeMap;

use holdfast_core::history::{Effect, HISTORY_ENTRIES_MAX, History, Seen};
use holdfast_core::ids::OpId;
use holdfast_core::term::{Ballot, Term, Version};
use proptest::prelude::*;

fn effect(number: u64) -> Effect {
    let version = Version(Ballot { term: Term::ZERO, seq: number });
    match number % 3 {
        0 => Effect::Put(version),
        1 => Effect::Deleted(version),
        _ => Effect::Fenced,
    }
}

/// What was ever told to a history.
#[derive(Default)]
struct Model {
    history: History,
    /// Last effects, of those that were above the floor when they came.
    pushed: BTreeMap<OpId, Effect>,
}

impl Model {
    fn push(&mut self, op: OpId, effect: Effect) {
        if op > self.history.floor() {
            self.pushed.insert(op, effect);
        }
        self.history.push(op, effect);
    }

    fn check(&self, ops: impl Iterator<Item = OpId>) -> Result<(), TestCaseError> {
        let history = &self.history;
        prop_assert!(history.entries().len() <= HISTORY_ENTRIES_MAX);
        prop_assert!(history.entries().is_sorted_by(|a, b| a.0 < b.0));
        prop_assert!(history.entries().iter().all(|(op, _)| *op > history.floor()));
        // The largest are kept.
        let kept = self.pushed.len().min(HISTORY_ENTRIES_MAX);
        prop_assert_eq!(history.entries().len(), kept);
        for op in ops {
            let told = history.seen(op);
            match self.pushed.get(&op) {
                Some(effect) if op > history.floor() => prop_assert_eq!(told, Seen::Known(*effect)),
                Some(_) => prop_assert_eq!(told, Seen::Forgotten(history.floor())),
                None if op > history.floor() => prop_assert_eq!(told, Seen::Never),
                None => prop_assert_eq!(told, Seen::Forgotten(history.floor())),
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_that_took_effect_is_ever_said_never_to_have(
        // Few ids, so that they repeat; in any order, so that late ones come below the floor.
        ops in prop::collection::vec((1..60_u128, 0..100_u64), 0..120),
    ) {
        let mut model = Model::default();
        for (op, number) in ops {
            model.push(OpId(op), effect(number));
            model.check((0..61).map(OpId))?;
        }
    }

    #[test]
    fn the_floor_only_rises(ops in prop::collection::vec(any::<u128>(), 0..60)) {
        let mut history = History::default();
        for op in ops {
            let before = history.floor();
            history.push(OpId(op), Effect::Fenced);
            prop_assert!(history.floor() >= before);
        }
    }

    #[test]
    fn a_history_survives_its_parts(ops in prop::collection::vec((any::<u128>(), any::<u64>()), 0..60)) {
        let mut history = History::default();
        for (op, number) in ops {
            history.push(OpId(op), effect(number));
        }
        let mut parts = history.entries().to_vec();
        parts.reverse();
        prop_assert_eq!(History::from_parts(parts, history.floor()), history);
    }

    #[test]
    fn parts_from_outside_are_bounded_and_sorted(
        parts in prop::collection::vec((0..100_u128, 0..100_u64), 0..60), floor in 0..100_u128,
    ) {
        let parts: Vec<_> = parts.into_iter().map(|(op, number)| (OpId(op), effect(number))).collect();
        let history = History::from_parts(parts.clone(), OpId(floor));
        prop_assert!(history.floor() >= OpId(floor));
        prop_assert!(history.entries().len() <= HISTORY_ENTRIES_MAX);
        for (op, _) in parts {
            prop_assert_ne!(history.seen(op), Seen::Never);
        }
    }
}

#[test]
fn a_retry_learns_what_became_of_the_first_try() {
    let mut history = History::default();
    history.push(OpId(5), effect(3));
    assert_eq!(history.seen(OpId(5)), Seen::Known(effect(3)));
    assert_eq!(history.seen(OpId(4)), Seen::Never);
    assert_eq!(history.seen(OpId(6)), Seen::Never);
}

#[test]
fn the_seventeenth_operation_makes_the_first_forgotten() {
    let mut history = History::default();
    for op in 1..=17 {
        history.push(OpId(op), Effect::Fenced);
    }
    assert_eq!(history.seen(OpId(1)), Seen::Forgotten(OpId(1)));
    assert_eq!(history.seen(OpId(2)), Seen::Known(Effect::Fenced));
    history.push(OpId(1), effect(0));
    assert_eq!(history.seen(OpId(1)), Seen::Forgotten(OpId(1)), "what is below the floor stays forgotten");
}
