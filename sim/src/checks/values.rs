//! The values that one key had, in the order of their versions, and what every operation says of them.
//!
//! Every answer that says anything names the version it is based on, so that it belongs to exactly one value. What is
//! left are operations without an answer (*free*: each may have taken effect once, or not) and listings that did not
//! show the key (*unlisted*: there was no object, whichever tombstone).

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use holdfast::{Condition, Version};

use super::mixer::Mixer;
use super::violation::{GUILTY_MAX, Kind, Violation};
use crate::history::{Action, Held, Op, Seen};

/// A moment, in nanoseconds of simulated time. [`NEVER`]: after everything.
pub(super) type Moment = u64;
/// After everything.
pub(super) const NEVER: Moment = Moment::MAX;

/// An operation, by its position among those of the key.
pub(super) type Local = usize;

/// One value of a key.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// `None`: nothing was ever written.
    pub(super) version: Option<Version>,
    /// An object, or none.
    pub(super) object: bool,
    /// The operation that wrote it, if that is known.
    pub(super) writer: Option<Local>,
    /// Some operation that shows that there was this value.
    pub(super) witness: Local,
    /// When the last of its operations (writer and observers) began.
    pub(super) last_begun: (Moment, Local),
    /// When the first of its operations ended.
    pub(super) first_ended: (Moment, Local),
    /// When the first of its observers ended.
    pub(super) first_seen: (Moment, Local),
}

/// An operation without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free {
    pub(super) put: bool,
    pub(super) condition: Condition,
    pub(super) began: Moment,
}

/// A listing that did not show the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unlisted {
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) op: Local,
}

/// All operations on one key.
pub(super) struct OneKey<'a> {
    key: &'a str,
    ops: Vec<(usize, &'a Op)>,
    /// When each began, and when it must have taken effect, if it did.
    spans: Vec<(Moment, Moment)>,
    /// Puts without an answer, by their texts.
    doubtful: HashMap<&'a str, Local, BuildHasherDefault<Mixer>>,
}

/// What they say.
#[derive(Debug)]
pub(super) struct Values {
    /// In the order of their versions; the first is "nothing was ever written".
    pub(super) values: Vec<Value>,
    pub(super) free: Vec<Free>,
    pub(super) unlisted: Vec<Unlisted>,
    /// When the first mutation began, whatever became of it.
    pub(super) first_mutation: Moment,
}

/// What one operation says of one version.
struct Mention {
    version: Version,
    object: bool,
    op: Local,
    says: Says,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// The operation wrote it.
    Wrote,
    /// The operation saw it.
    Saw,
    /// The operation read its text, which is that of this put without an answer.
    SawBy(Local),
    /// The operation read its text, which should be that of the put that was told this version.
    SawText,
    /// The operation replaced it, so it was there. Says nothing of when.
    Replaced,
    /// Supposed to have been there.
    Supposed,
}

impl<'a> OneKey<'a> {
    /// `ops`: with their numbers in the history.
    pub(super) fn new(key: &'a str, ops: Vec<(usize, &'a Op)>) -> Self {
        let ended = |op: &Op| match op.seen {
            Seen::Unknown | Seen::Pending => NEVER,
            _ => op.ended.map_or(NEVER, nanos),
        };
        let spans = ops.iter().map(|(_, op)| (nanos(op.began), ended(op))).collect();
        let doubtful = ops.iter().enumerate().filter_map(|(local, (_, op))| match (&op.action, &op.seen) {
            (Action::Put(text, _), Seen::Unknown | Seen::Pending) => Some((text.as_str(), local)),
            _ => None,
        });
        Self { key, spans, doubtful: doubtful.collect(), ops }
    }
}

impl OneKey<'_> {
    fn op(&self, local: Local) -> &Op {
        self.ops[local].1
    }

    pub(super) fn began(&self, local: Local) -> Moment {
        self.spans[local].0
    }

    fn ended(&self, local: Local) -> Moment {
        self.spans[local].1
    }

    pub(super) fn condition(&self, local: Local) -> Condition {
        match self.op(local).action {
            Action::Put(_, condition) | Action::Delete(condition) => condition,
            Action::Read => Condition::Always,
        }
    }

    /// An operation in a sentence: "operation 12 (a put of c1)".
    pub(super) fn name(&self, local: Local) -> String {
        let (number, op) = self.ops[local];
        let verb = match (&op.action, &op.seen) {
            (Action::Put(..), _) => "put",
            (Action::Delete(_), _) => "delete",
            (Action::Read, Seen::Unlisted) => "listing",
            (Action::Read, _) => "read",
        };
        format!("operation {number} (a {verb} of {})", op.client)
    }

    pub(super) fn violation(&self, kind: Kind, guilty: &[Local], sentence: String) -> Violation {
        let mut guilty: Vec<usize> = guilty.iter().map(|local| self.ops[*local].0).collect();
        guilty.sort_unstable();
        guilty.dedup();
        guilty.truncate(GUILTY_MAX);
        Violation { key: self.key.to_owned(), sentence, guilty, kind }
    }

    /// Sorts out what the operations say. `supposed`: versions of objects that are taken to have been there.
    pub(super) fn values(&self, supposed: &[Version]) -> Result<Values, Violation> {
        let mut sorted = Sorted { first_mutation: NEVER, ..Sorted::default() };
        sorted.mentions.reserve(self.ops.len());
        for local in 0..self.ops.len() {
            self.sort_out(local, &mut sorted)?;
        }
        let supposed = supposed.iter().map(|version| Mention {
            version: *version,
            object: true,
            op: 0,
            says: Says::Supposed,
        });
        sorted.mentions.extend(supposed);
        self.bind(sorted)
    }

    fn sort_out(&self, local: Local, sorted: &mut Sorted) -> Result<(), Violation> {
        let op = self.op(local);
        if op.action != Action::Read {
            sorted.first_mutation = sorted.first_mutation.min(self.began(local));
        }
        self.fits_its_question(local)?;
        let mut mention = |version, object, says| {
            sorted.mentions.push(Mention { version, object, op: local, says });
        };
        match &op.seen {
            Seen::Nothing => {}
            Seen::Pending | Seen::Unknown => {
                if op.action != Action::Read {
                    sorted.doubtful.push(local);
                }
            }
            Seen::Wrote(version) | Seen::Deleted(version) => {
                mention(*version, matches!(op.seen, Seen::Wrote(_)), Says::Wrote);
                if let Condition::IfVersion(replaced) = self.condition(local) {
                    mention(replaced, true, Says::Replaced);
                }
            }
            Seen::ConditionFailed(Held::Object(version)) => mention(*version, true, Says::Saw),
            Seen::Found(version, None) => mention(*version, true, Says::Saw),
            Seen::Found(version, Some(text)) => {
                let writer = self.doubtful.get(text.as_str());
                mention(*version, true, writer.map_or(Says::SawText, |writer| Says::SawBy(*writer)));
            }
            Seen::Absent(Some(version))
            | Seen::NothingToDelete(Some(version))
            | Seen::ConditionFailed(Held::Absent(Some(version))) => mention(*version, false, Says::Saw),
            Seen::Absent(None) | Seen::NothingToDelete(None) | Seen::ConditionFailed(Held::Absent(None)) => {
                sorted.saw_nothing.push(local);
            }
            Seen::Unlisted => {
                let (began, ended) = (self.began(local), self.ended(local));
                sorted.unlisted.push(Unlisted { began, ended, op: local });
            }
        }
        Ok(())
    }

    /// Whether the answer is one to the question.
    fn fits_its_question(&self, local: Local) -> Result<(), Violation> {
        let op = self.op(local);
        let wrote_other =
            |condition: &Condition, version: &Version| *condition != Condition::IfVersion(*version);
        let fits = match (&op.action, &op.seen) {
            (_, Seen::Pending | Seen::Unknown | Seen::Nothing) => true,
            (Action::Put(_, condition), Seen::Wrote(version)) => wrote_other(condition, version),
            (Action::Delete(condition), Seen::Deleted(version)) => {
                *condition != Condition::IfAbsent && wrote_other(condition, version)
            }
            (Action::Delete(condition), Seen::NothingToDelete(_)) => condition.holds(None),
            (Action::Put(_, condition) | Action::Delete(condition), Seen::ConditionFailed(held)) => {
                !condition.holds(match held {
                    Held::Object(version) => Some(*version),
                    Held::Absent(_) => None,
                })
            }
            (Action::Read, Seen::Found(..) | Seen::Absent(_) | Seen::Unlisted) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let sentence = format!("{} was given an answer that contradicts its own question", self.name(local));
        Err(self.violation(Kind::Contradiction, &[local], sentence))
    }

    /// Gives every version its value, and every value its writer.
    fn bind(&self, sorted: Sorted) -> Result<Values, Violation> {
        let Sorted { mut mentions, saw_nothing, unlisted, doubtful, first_mutation } = sorted;
        let mut found: BTreeMap<Local, Version> = BTreeMap::new();
        for mention in &mentions {
            if let Says::SawBy(writer) = mention.says {
                let before =
                    found.insert(writer, mention.version).filter(|before| *before != mention.version);
                if let Some(before) = before {
                    return Err(self.two_versions(writer, before, mention));
                }
            }
        }
        for writer in found.keys() {
            if let Condition::IfVersion(version) = self.condition(*writer) {
                mentions.push(Mention { version, object: true, op: *writer, says: Says::Replaced });
            }
        }
        // Sorting moves small things: half of the check's time otherwise.
        let mut mentions: Vec<&Mention> = mentions.iter().collect();
        mentions.sort_by_key(|mention| mention.version);
        let mut values = Vec::with_capacity(mentions.chunk_by(|a, b| a.version == b.version).count() + 1);
        let mut never = Value::of(None, false, 0);
        for local in saw_nothing {
            self.observe(&mut never, local);
        }
        values.push(never);
        for of_version in mentions.chunk_by(|a, b| a.version == b.version) {
            values.push(self.value(of_version)?);
        }
        let is_free = |local: &Local| !found.contains_key(local);
        let free = doubtful.into_iter().filter(is_free).map(|local| Free {
            put: matches!(self.op(local).action, Action::Put(..)),
            condition: self.condition(local),
            began: self.began(local),
        });
        Ok(Values { values, free: free.collect(), unlisted, first_mutation })
    }

    fn two_versions(&self, writer: Local, before: Version, mention: &Mention) -> Violation {
        let sentence = format!("{} has two versions, {before} and {}", self.name(writer), mention.version);
        self.violation(Kind::VersionReused, &[writer, mention.op], sentence)
    }

    /// Whether the text that an operation read is that of the value's writer.
    fn text_fits(&self, mention: &Mention, writer: Option<Local>) -> Result<(), Violation> {
        let Seen::Found(_, Some(text)) = &self.op(mention.op).seen else { return Ok(()) };
        let is_of = |local: Local| matches!(&self.op(local).action, Action::Put(own, _) if own == text);
        if writer.is_some_and(is_of) {
            return Ok(());
        }
        let reader = self.name(mention.op);
        let Some(author) = (0..self.ops.len()).find(|local| is_of(*local)) else {
            let sentence = format!("{reader} read the text {text:?}, which nobody ever wrote");
            return Err(self.violation(Kind::NeverWritten, &[mention.op], sentence));
        };
        if let Seen::Wrote(version) = self.op(author).seen {
            return Err(self.two_versions(author, version, mention));
        }
        let sentence =
            format!("{reader} read what {} wrote, which was told that it did not happen", self.name(author));
        Err(self.violation(Kind::DidNotHappen, &[author, mention.op], sentence))
    }

    /// The value that all of these speak of.
    fn value(&self, mentions: &[&Mention]) -> Result<Value, Violation> {
        let first = mentions[0];
        let version = first.version;
        let mut value = Value::of(Some(version), first.object, first.op);
        for mention in mentions {
            if mention.object != value.object {
                let sentence = format!("version {version} was an object to one and none to another");
                return Err(self.violation(Kind::VersionReused, &[first.op, mention.op], sentence));
            }
            let writer = match mention.says {
                Says::Wrote => Some(mention.op),
                Says::SawBy(writer) => Some(writer),
                Says::Saw | Says::SawText | Says::Replaced | Says::Supposed => None,
            };
            if let (Some(one), Some(other)) = (value.writer, writer)
                && one != other
            {
                let sentence =
                    format!("{} and {} both wrote version {version}", self.name(one), self.name(other));
                return Err(self.violation(Kind::VersionReused, &[one, other, mention.op], sentence));
            }
            value.writer = value.writer.or(writer);
            if matches!(mention.says, Says::Saw | Says::SawBy(_) | Says::SawText) {
                self.observe(&mut value, mention.op);
            }
        }
        for mention in mentions.iter().filter(|mention| mention.says == Says::SawText) {
            self.text_fits(mention, value.writer)?;
        }
        if let Some(writer) = value.writer {
            value.witness = writer;
            self.attach(&mut value, writer);
        }
        Ok(value)
    }

    fn observe(&self, value: &mut Value, local: Local) {
        value.first_seen = value.first_seen.min((self.ended(local), local));
        self.attach(value, local);
    }

    fn attach(&self, value: &mut Value, local: Local) {
        value.last_begun = value.last_begun.max((self.began(local), local));
        value.first_ended = value.first_ended.min((self.ended(local), local));
    }
}

#[derive(Default)]
struct Sorted {
    mentions: Vec<Mention>,
    saw_nothing: Vec<Local>,
    unlisted: Vec<Unlisted>,
    /// Mutations without an answer.
    doubtful: Vec<Local>,
    first_mutation: Moment,
}

impl Value {
    fn of(version: Option<Version>, object: bool, witness: Local) -> Self {
        let (begun, ended) = ((0, witness), (NEVER, witness));
        Self {
            version,
            object,
            writer: None,
            witness,
            last_begun: begun,
            first_ended: ended,
            first_seen: ended,
        }
    }

    /// In a sentence.
    pub(super) fn name(&self) -> String {
        match (self.version, self.object) {
            (None, _) => "that nothing was ever written".to_owned(),
            (Some(version), true) => format!("version {version}"),
            (Some(version), false) => format!("the deletion {version}"),
        }
    }
}

impl Values {
    /// Versions that operations without an answer were to replace, and of which nobody else speaks.
    pub(super) fn only_named(&self) -> Vec<Version> {
        let named = self.free.iter().filter_map(|free| match free.condition {
            Condition::IfVersion(version) => Some(version),
            _ => None,
        });
        let known = |version: &Version| {
            self.values.binary_search_by_key(&Some(*version), |value| value.version).is_ok()
        };
        let mut named: Vec<_> = named.filter(|version| !known(version)).collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

fn nanos(at: Duration) -> Moment {
    Moment::try_from(at.as_nanos()).unwrap_or(NEVER)
}
