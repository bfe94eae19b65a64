//! Made-up histories: what clients of one register could have seen, and what they could not.

use std::time::Duration;

use holdfast::{Condition, Version};

use crate::history::{Action, Held, Op, Seen};
use crate::random::Random;

/// What a made-up history is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Operations.
    pub(super) ops: usize,
    /// An operation begins at most so many steps before it takes effect, and ends at most so many after.
    pub(super) overlap: u64,
    /// In a hundred: reads.
    pub(super) reads: u64,
    /// In a hundred: mutations without an answer.
    pub(super) unknown: u64,
    /// In a hundred: reads whose answer has no text.
    pub(super) without_text: u64,
    /// In a hundred: conditions other than "always".
    pub(super) conditional: u64,
    /// In a hundred: deletes among the mutations.
    pub(super) deletes: u64,
}

/// What the register holds.
#[derive(Clone, Copy)]
enum Content {
    Object(Version, usize),
    Absent(Option<Version>),
}

struct Register<'a> {
    random: &'a mut Random,
    shape: Shape,
    content: Content,
    /// The highest version yet.
    top: u64,
    known: Vec<Version>,
}

/// A version by its height.
pub(super) fn version(height: u64) -> Version {
    format!("1-1-{height:x}-a").parse().expect("that is how versions are written")
}

/// The text of the put with this number.
pub(super) fn text(number: usize) -> String {
    format!("t{number}")
}

/// A history of one key that is linearizable, with rising versions, in the order of its operations' effects.
pub(super) fn history(random: &mut Random, shape: Shape) -> Vec<Op> {
    let mut register = Register { random, shape, content: Content::Absent(None), top: 0, known: Vec::new() };
    (0..shape.ops).map(|number| register.op(number)).collect()
}

impl Register<'_> {
    fn op(&mut self, number: usize) -> Op {
        let action = self.action(number);
        let mut seen = self.take_effect(number, &action);
        // Effects are ten apart, so that beginnings and ends of others can meet or miss them.
        let at = 10 * (self.shape.overlap + number as u64 + 1);
        let mut around = |steps: u64| self.random.below(10 * steps + 1);
        let (began, ended) = (at - around(self.shape.overlap), at + around(self.shape.overlap));
        let (began, mut ended) = (Duration::from_micros(began), Some(Duration::from_micros(ended)));
        if self.random.percent(self.shape.unknown) {
            seen = Seen::Unknown;
            if self.random.one_in(3) {
                // It may have given up before it took effect.
                ended = Some(began + Duration::from_micros(self.random.below(10)));
            } else if self.random.one_in(3) {
                (seen, ended) = (Seen::Pending, None);
            }
        }
        Op { client: format!("c{}", number % 3), key: "k".to_owned(), action, began, ended, seen }
    }

    fn action(&mut self, number: usize) -> Action {
        if self.random.percent(self.shape.reads) {
            return Action::Read;
        }
        let condition = self.condition();
        if self.random.percent(self.shape.deletes) {
            Action::Delete(condition)
        } else {
            Action::Put(text(number), condition)
        }
    }

    fn condition(&mut self) -> Condition {
        if !self.random.percent(self.shape.conditional) {
            return Condition::Always;
        }
        match self.random.below(4) {
            0 => Condition::IfAbsent,
            1 => Condition::IfPresent,
            // Rarely one that nobody knows.
            2 if self.random.one_in(8) => Condition::IfVersion(version(self.random.below(self.top + 3))),
            _ => match (self.content, self.known.len()) {
                (Content::Object(version, _), _) if !self.random.one_in(4) => Condition::IfVersion(version),
                (_, 0) => Condition::IfPresent,
                // One of the last few.
                (_, known) => {
                    let back = self.random.index(known.min(3));
                    Condition::IfVersion(self.known[known - 1 - back])
                }
            },
        }
    }

    fn take_effect(&mut self, number: usize, action: &Action) -> Seen {
        let (condition, is_put) = match action {
            Action::Read => return self.read(),
            Action::Put(_, condition) => (*condition, true),
            Action::Delete(condition) => (*condition, false),
        };
        if self.random.percent(self.shape.unknown / 2) {
            // It never happens, and perhaps is told so. Where nothing was ever written it may be fenced.
            if let Content::Absent(None) = self.content
                && self.random.one_in(2)
            {
                self.content = Content::Absent(Some(self.next_version()));
            }
            return if self.random.one_in(2) { Seen::Nothing } else { Seen::Unknown };
        }
        let (current, held) = match self.content {
            Content::Object(version, _) => (Some(version), Held::Object(version)),
            Content::Absent(tombstone) => (None, Held::Absent(tombstone)),
        };
        match held {
            _ if !condition.holds(current) => Seen::ConditionFailed(held),
            Held::Absent(tombstone) if !is_put => Seen::NothingToDelete(tombstone),
            _ => {
                let version = self.next_version();
                if is_put {
                    self.content = Content::Object(version, number);
                    Seen::Wrote(version)
                } else {
                    self.content = Content::Absent(Some(version));
                    Seen::Deleted(version)
                }
            }
        }
    }

    fn next_version(&mut self) -> Version {
        self.top += 1 + self.random.below(2);
        let version = version(self.top);
        self.known.push(version);
        version
    }

    fn read(&mut self) -> Seen {
        let unlisted = self.random.one_in(3);
        match self.content {
            Content::Absent(_) if unlisted => Seen::Unlisted,
            Content::Absent(tombstone) => Seen::Absent(tombstone),
            Content::Object(version, writer) => {
                let with_text = !self.random.percent(self.shape.without_text);
                Seen::Found(version, with_text.then(|| text(writer)))
            }
        }
    }
}

/// A history of which nearly nothing is known but a few values in order: most mutations have no answer, and nobody reads
/// texts. Possible or not; what decides is which operation can have done what.
pub(super) fn doubtful(random: &mut Random, ops: usize) -> Vec<Op> {
    let objects: Vec<bool> = (0..2 + random.index(4)).map(|_| random.percent(60)).collect();
    let spread = random.pick(&[10, 25, 60]);
    (0..ops).map(|number| doubtful_op(random, number, &objects, spread)).collect()
}

fn doubtful_op(random: &mut Random, number: usize, objects: &[bool], spread: u64) -> Op {
    let height = random.index(objects.len());
    // Values are about twenty apart.
    let at = 20 * height as u64 + random.below(spread);
    let value = version(height as u64);
    let condition = match random.below(6) {
        0..=1 => Condition::Always,
        2..=3 => Condition::IfAbsent,
        4 => Condition::IfPresent,
        _ => Condition::IfVersion(version(random.below(objects.len() as u64 + 1))),
    };
    let mutation = |put| if put { Action::Put(text(number), condition) } else { Action::Delete(condition) };
    let (action, seen) = match random.below(12) {
        0..=2 if objects[height] => (Action::Read, Seen::Found(value, None)),
        0..=2 => (Action::Read, Seen::Absent(Some(value))),
        3..=4 => (Action::Read, Seen::Unlisted),
        5 if objects[height] => (mutation(true), Seen::Wrote(value)),
        5 => (mutation(false), Seen::Deleted(value)),
        6 if random.one_in(3) => (Action::Read, Seen::Absent(None)),
        _ => (mutation(random.percent(60)), Seen::Unknown),
    };
    let began = if seen == Seen::Unknown { at / 2 } else { at };
    let (began, ended) = (Duration::from_micros(began), Duration::from_micros(at + random.below(2 * spread)));
    Op { client: "c".to_owned(), key: "k".to_owned(), action, began, ended: Some(ended), seen }
}

/// Changes something, so that the history most likely cannot be any more.
pub(super) fn spoil(random: &mut Random, ops: &mut Vec<Op>) {
    let at = random.index(ops.len());
    let other = random.index(ops.len());
    let same_verb = std::mem::discriminant(&ops[at].action) == std::mem::discriminant(&ops[other].action);
    match random.below(9) {
        0 if same_verb => ops[at].seen = ops[other].seen.clone(),
        1 if same_verb => {
            let (one, two) = (ops[at].seen.clone(), ops[other].seen.clone());
            (ops[at].seen, ops[other].seen) = (two, one);
        }
        2 => {
            let later = Duration::from_micros(random.below(30));
            ops[at].began += later;
            ops[at].ended = ops[at].ended.map(|ended| ended + later);
        }
        3 => {
            let earlier = Duration::from_micros(random.below(30));
            ops[at].began = ops[at].began.saturating_sub(earlier);
            ops[at].ended = ops[at].ended.map(|ended| ended.saturating_sub(earlier));
        }
        4 => ops[at].ended = ops[at].ended.map(|ended| ended.min(ops[at].began + Duration::from_micros(2))),
        5 if ops[at].action != Action::Read => {
            ops[at].seen = if random.one_in(4) { Seen::Nothing } else { Seen::Unknown };
        }
        6 => drop(ops.remove(at)),
        _ => {
            let count = ops.len() as u64;
            shift_version(random, count, &mut ops[at].seen);
        }
    }
    // What has an answer has an end.
    for op in ops.iter_mut().filter(|op| op.seen != Seen::Pending) {
        op.ended.get_or_insert(op.began + Duration::from_micros(20));
    }
}

/// Another version, or another answer of the same sort.
fn shift_version(random: &mut Random, count: u64, seen: &mut Seen) {
    let other = version(random.below(2 * count));
    let maybe = (!random.one_in(4)).then_some(other);
    *seen = match seen {
        Seen::Wrote(_) => Seen::Wrote(other),
        Seen::Deleted(_) if random.one_in(2) => Seen::NothingToDelete(maybe),
        Seen::Deleted(_) => Seen::Deleted(other),
        Seen::NothingToDelete(_) if random.one_in(2) => Seen::Deleted(other),
        Seen::NothingToDelete(_) => Seen::NothingToDelete(maybe),
        Seen::ConditionFailed(_) if random.one_in(2) => Seen::ConditionFailed(Held::Object(other)),
        Seen::ConditionFailed(_) => Seen::ConditionFailed(Held::Absent(maybe)),
        Seen::Found(_, text) if random.one_in(2) => Seen::Found(other, text.clone()),
        Seen::Found(version, text) if random.one_in(2) => {
            Seen::Found(*version, text.as_ref().map(|_| self::text(random.index(8))))
        }
        Seen::Found(..) => Seen::Unlisted,
        Seen::Absent(_) if random.one_in(2) => Seen::Unlisted,
        Seen::Absent(_) | Seen::Unlisted => Seen::Absent(maybe),
        Seen::Nothing | Seen::Unknown | Seen::Pending => return,
    };
}
