//! One key as clients should see it: a register whose value is the put that wrote it, with versions and conditions.

use std::collections::BTreeMap;

use holdfast::{Condition, Version};

use crate::history::{Action, Op, Seen};

/// The key's value: the number of the put that wrote it; `None`: absent.
pub(super) type Value = Option<usize>;

/// Which put wrote which version, as far as anybody was told.
#[derive(Debug, Default)]
pub(super) struct Register {
    versions: BTreeMap<Version, usize>,
    version_of: BTreeMap<usize, Version>,
}

impl Register {
    /// From all operations on one key. An error is a sentence: what was seen contradicts itself.
    pub(super) fn new(ops: &[Op]) -> Result<Self, String> {
        let mut texts = BTreeMap::new();
        for (number, op) in ops.iter().enumerate() {
            if let Action::Put(text, _) = &op.action {
                texts.insert(text.as_str(), number);
            }
        }
        let mut register = Self::default();
        for (number, op) in ops.iter().enumerate() {
            match &op.seen {
                Seen::Wrote(version) => register.bind(number, *version)?,
                Seen::Found(version, Some(text)) => {
                    let put =
                        *texts.get(text.as_str()).ok_or(format!("{text:?} was read, but never written"))?;
                    if ops[put].seen == Seen::Nothing {
                        return Err(format!(
                            "{text:?} was read, but its writer was told that it did not happen"
                        ));
                    }
                    register.bind(put, *version)?;
                }
                _ => {}
            }
        }
        Ok(register)
    }

    fn bind(&mut self, put: usize, version: Version) -> Result<(), String> {
        let (before, known) = (self.versions.insert(version, put), self.version_of.insert(put, version));
        if before.is_some_and(|other| other != put) {
            return Err(format!("two puts have the version {version}"));
        }
        if known.is_some_and(|other| other != version) {
            return Err(format!("one put has two versions, {version} among them"));
        }
        Ok(())
    }

    /// Whether the value may have this version. One that nobody was told of may belong to any put without a version.
    fn may_be(&self, value: Value, version: Version) -> bool {
        match (value, self.versions.get(&version)) {
            (None, _) => false,
            (Some(put), Some(owner)) => put == *owner,
            (Some(put), None) => !self.version_of.contains_key(&put),
        }
    }

    fn holds(&self, condition: Condition, value: Value) -> bool {
        match condition {
            Condition::Always => true,
            Condition::IfAbsent => value.is_none(),
            Condition::IfPresent => value.is_some(),
            Condition::IfVersion(version) => self.may_be(value, version),
        }
    }

    fn is(&self, value: Value, seen: Option<Version>) -> bool {
        seen.map_or(value.is_none(), |version| self.may_be(value, version))
    }

    /// The value after operation `number`, if it can take effect on `value` with the answer it had.
    pub(super) fn apply(&self, number: usize, op: &Op, value: Value) -> Option<Value> {
        match (&op.action, &op.seen) {
            (Action::Put(_, condition), Seen::Wrote(_)) => {
                self.holds(*condition, value).then_some(Some(number))
            }
            // Without an answer it takes effect where its condition holds, and nothing elsewhere.
            (Action::Put(_, condition), Seen::Unknown | Seen::Pending) => {
                Some(if self.holds(*condition, value) { Some(number) } else { value })
            }
            (Action::Delete(condition), Seen::Deleted(found)) => {
                (self.holds(*condition, value) && value.is_some() == *found).then_some(None)
            }
            (Action::Delete(condition), Seen::Unknown | Seen::Pending) => {
                Some(if self.holds(*condition, value) { None } else { value })
            }
            (Action::Put(_, condition) | Action::Delete(condition), Seen::ConditionFailed(seen)) => {
                let fails = !matches!(condition, Condition::Always) && self.is(value, *seen);
                let contradicts = match condition {
                    Condition::IfVersion(version) => *seen == Some(*version),
                    condition => self.holds(*condition, value),
                };
                (fails && !contradicts).then_some(value)
            }
            (Action::Read, Seen::Found(version, _)) => self.may_be(value, *version).then_some(value),
            (Action::Read, Seen::Absent) => value.is_none().then_some(value),
            _ => None,
        }
    }
}
