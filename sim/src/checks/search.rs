//! The same question by trying everything (Wing and Gong, with Lowe's memory): for small histories of one key.
//!
//! Written from the register's definition alone, to compare the fast check with. Which version an operation without an
//! answer got is tried too: any that somebody mentions, or one that nobody does.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::time::Duration;

use holdfast::{Condition, Version};

use super::mixer::Mixer;
use crate::history::{Action, Held, Op, Seen};

/// What the key holds. Versions by their rank among those that are mentioned; 0: one that nobody mentions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Content {
    Never,
    Absent(u8),
    Object(u8, u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    done: u32,
    content: Content,
    /// Rising: the highest rank that was given. Else: a bit for each.
    given: u32,
}

struct Search<'a> {
    ops: &'a [Op],
    versions: Vec<Version>,
    rising: bool,
    first_mutation: Duration,
}

/// Whether some order explains the answers; `rising`: one in which the versions rise. At most 31 operations.
pub(super) fn has_an_order(ops: &[Op], rising: bool) -> bool {
    assert!(ops.len() < 32, "too long to be searched");
    let mut versions: Vec<Version> = ops.iter().flat_map(mentioned).collect();
    versions.sort_unstable();
    versions.dedup();
    let mutations = ops.iter().filter(|op| op.action != Action::Read);
    let first_mutation = mutations.map(|op| op.began).min().unwrap_or(Duration::MAX);
    Search { ops, versions, rising, first_mutation }.run()
}

fn mentioned(op: &Op) -> Vec<Version> {
    let condition = match op.action {
        Action::Put(_, Condition::IfVersion(version)) | Action::Delete(Condition::IfVersion(version)) => {
            Some(version)
        }
        _ => None,
    };
    let seen = match op.seen {
        Seen::Wrote(version) | Seen::Deleted(version) | Seen::Found(version, _) => Some(version),
        Seen::ConditionFailed(Held::Object(version)) => Some(version),
        Seen::ConditionFailed(Held::Absent(tombstone))
        | Seen::NothingToDelete(tombstone)
        | Seen::Absent(tombstone) => tombstone,
        Seen::Pending | Seen::Unknown | Seen::Nothing | Seen::Unlisted => None,
    };
    condition.into_iter().chain(seen).collect()
}

fn deadline(op: &Op) -> Duration {
    match op.seen {
        Seen::Unknown | Seen::Pending | Seen::Nothing => Duration::MAX,
        _ => op.ended.unwrap_or(Duration::MAX),
    }
}

impl Search<'_> {
    fn run(&self) -> bool {
        let first = State { done: 0, content: Content::Never, given: 0 };
        let mut seen: HashSet<State, BuildHasherDefault<Mixer>> = HashSet::from_iter([first]);
        let mut open = vec![first];
        let mut next = Vec::new();
        while let Some(state) = open.pop() {
            let left = |at: &usize| state.done >> at & 1 == 0;
            let limit = (0..self.ops.len()).filter(left).map(|at| deadline(&self.ops[at])).min();
            let Some(limit) = limit.filter(|limit| *limit < Duration::MAX) else { return true };
            for at in (0..self.ops.len()).filter(left).filter(|at| self.ops[*at].began <= limit) {
                self.apply(at, state, &mut next);
            }
            if state.content == Content::Never && self.first_mutation <= limit {
                // A fence.
                self.give(state, &mut next, Content::Absent);
            }
            open.extend(next.drain(..).filter(|state| seen.insert(*state)));
        }
        false
    }

    fn rank(&self, version: Version) -> u8 {
        let at = self.versions.binary_search(&version).expect("all mentioned versions are there");
        u8::try_from(at + 1).expect("few versions")
    }

    fn may_give(&self, state: State, rank: u8) -> bool {
        let rank = u32::from(rank);
        if self.rising { rank > state.given } else { state.given >> rank & 1 == 0 }
    }

    fn given(&self, state: State, rank: u8, content: Content) -> State {
        let rank = u32::from(rank);
        let given = match (rank, self.rising) {
            (0, _) => state.given,
            (_, true) => rank,
            (_, false) => state.given | 1 << rank,
        };
        State { given, content, ..state }
    }

    /// With any version.
    fn give(&self, state: State, next: &mut Vec<State>, content: impl Fn(u8) -> Content) {
        next.push(self.given(state, 0, content(0)));
        for rank in 1..=u8::try_from(self.versions.len()).expect("few versions") {
            if self.may_give(state, rank) {
                next.push(self.given(state, rank, content(rank)));
            }
        }
    }

    fn apply(&self, at: usize, state: State, next: &mut Vec<State>) {
        let op = &self.ops[at];
        let state = State { done: state.done | 1 << at, ..state };
        let number = u8::try_from(at).expect("few operations");
        let (condition, is_put) = match &op.action {
            Action::Read => return next.extend(self.read_fits(op, state.content).then_some(state)),
            Action::Put(_, condition) => (*condition, true),
            Action::Delete(condition) => (*condition, false),
        };
        let holds = match (condition, state.content) {
            (Condition::Always, _) => true,
            (Condition::IfAbsent, content) => !matches!(content, Content::Object(..)),
            (Condition::IfPresent, content) => matches!(content, Content::Object(..)),
            (Condition::IfVersion(version), Content::Object(rank, _)) => rank == self.rank(version),
            (Condition::IfVersion(_), _) => false,
        };
        let effect = holds && (is_put || matches!(state.content, Content::Object(..)));
        let content = |rank| if is_put { Content::Object(rank, number) } else { Content::Absent(rank) };
        match op.seen {
            Seen::Unknown | Seen::Pending if effect => self.give(state, next, content),
            Seen::Wrote(version) if is_put && effect => self.give_this(state, version, next, content),
            Seen::Deleted(version) if !is_put && effect => self.give_this(state, version, next, content),
            Seen::NothingToDelete(tombstone) if !is_put && holds => {
                next.extend(self.is(state.content, Held::Absent(tombstone)).then_some(state));
            }
            Seen::ConditionFailed(held) if !holds => {
                next.extend(self.is(state.content, held).then_some(state));
            }
            _ => {}
        }
    }

    fn give_this(
        &self,
        state: State,
        version: Version,
        next: &mut Vec<State>,
        content: impl Fn(u8) -> Content,
    ) {
        let rank = self.rank(version);
        if self.may_give(state, rank) {
            next.push(self.given(state, rank, content(rank)));
        }
    }

    fn is(&self, content: Content, held: Held) -> bool {
        match (content, held) {
            (Content::Never, Held::Absent(None)) => true,
            (Content::Absent(rank), Held::Absent(Some(version))) => rank == self.rank(version),
            (Content::Object(rank, _), Held::Object(version)) => rank == self.rank(version),
            _ => false,
        }
    }

    fn read_fits(&self, op: &Op, content: Content) -> bool {
        match &op.seen {
            Seen::Unknown | Seen::Pending | Seen::Nothing => true,
            Seen::Unlisted => !matches!(content, Content::Object(..)),
            Seen::Absent(tombstone) => self.is(content, Held::Absent(*tombstone)),
            Seen::Found(version, text) => {
                let Content::Object(_, writer) = content else { return false };
                let written = match &self.ops[usize::from(writer)].action {
                    Action::Put(text, _) => text,
                    _ => return false,
                };
                self.is(content, Held::Object(*version)) && text.as_ref().is_none_or(|text| text == written)
            }
            _ => false,
        }
    }
}
