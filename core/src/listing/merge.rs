//! The merge: judges each key by the copies of a majority, in key order, and rolls up.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem;

use super::position::Position;
use super::query::Query;
use super::sources::{Quorums, Sources};
use crate::ids::{NodeId, ObjectKey, ObjectName, Partition};
use crate::placement::Layout;
use crate::record::{Object, Record, State};
use crate::sometimes;
use crate::term::{Ballot, Version};

/// Most entries of one page of a node: with heads of some 300 bytes a message of a few hundred KiB.
const ENTRIES_PER_PAGE_MAX: usize = 1000;
/// Entries asked for beyond the node's expected part of the page, since keys are not spread quite evenly.
const ENTRIES_PER_PAGE_SPARE: usize = 8;
/// Doubtful keys that are read at a time.
const RESOLVES_MAX: usize = 16;

/// What one replica holds of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: ObjectKey,
    /// The ballot at which the replica accepted the record.
    pub ballot: Ballot,
    /// The record, whose body is not needed.
    pub record: Record,
}

/// What the caller must do. Effects of one call are in order and all to be performed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask `node` for at most `limit` heads of the bucket's keys, tombstones included, in byte order: those that start
    /// with the query's prefix and whose bytes are `>= from`. It may send fewer, but not none. Answer with [`ListMerge::on_page`], or with
    /// [`ListMerge::on_node_failed`]; [`ListMerge::on_node_slow`] may come before either.
    AskPage {
        /// Whom.
        node: NodeId,
        /// Inclusive. Not always UTF-8.
        from: Vec<u8>,
        /// At least 1.
        limit: usize,
    },
    /// Read this key through the register protocol (completing what is half written) and answer with
    /// [`ListMerge::on_resolved`]. A read that fails fails the listing: drop the merge.
    Resolve(ObjectName),
    /// The page is ready. Nothing follows.
    Done(Listing),
    /// So few replicas of this partition answer that keys could be missed. Nothing follows.
    Unavailable(Partition),
}

/// What a listing found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Objects in key order, without bodies.
    pub objects: Vec<(ObjectKey, Version, Object)>,
    /// Common prefixes in order.
    pub prefixes: Vec<String>,
    /// The next page starts after this; `None`: there is nothing more. (A next page may turn out empty.)
    pub next_after: Option<String>,
}

/// One page of a listing under way.
///
/// The promise: a key whose write was acknowledged before the call and that is not deleted before its end is listed (or
/// its common prefix is) exactly once, and nothing is listed that was not there at some time during the call. The nodes
/// asked must all use the layout that [`ListMerge::begin`] was given, or refuse.
#[derive(Debug)]
pub struct ListMerge {
    query: Query,
    sources: Sources,
    /// Keys below are decided. Never falls.
    cursor: Position,
    /// What was told of each key above the cursor.
    found: BTreeMap<ObjectKey, Found>,
    /// Doubtful keys.
    doubts: BTreeMap<ObjectKey, Doubt>,
    listing: Listing,
    /// [`Effect::Done`] or [`Effect::Unavailable`] was given.
    finished: bool,
}

/// What was told of one key.
#[derive(Debug)]
struct Found {
    /// Of its partition.
    quorums: Quorums,
    copies: Vec<Copies>,
}

/// Copies with equal ballots, counted together.
#[derive(Debug)]
struct Copies {
    ballot: Ballot,
    record: Record,
    /// Replicas that have it.
    replicas: usize,
    /// Next replicas that have it, where the partition moves.
    next: usize,
}

/// How far a doubtful key's read is.
#[derive(Debug)]
enum Doubt {
    Asked,
    Resolved(Option<(Version, Object)>),
}

/// What the copies say of one key.
enum Verdict {
    /// There is this object.
    Live(Version, Object),
    /// There is none.
    Gone,
    /// They do not say.
    Doubtful,
}

impl ListMerge {
    /// Starts a page. `answering`: the nodes that can be asked, the preferred first.
    pub fn begin(query: Query, layout: &Layout, answering: &[NodeId]) -> (Self, Vec<Effect>) {
        let start = query.start();
        let mut merge = Self {
            sources: Sources::new(layout, answering, &start),
            cursor: start,
            query,
            found: BTreeMap::new(),
            doubts: BTreeMap::new(),
            listing: Listing::default(),
            finished: false,
        };
        let effects = if merge.cursor >= merge.query.end() { merge.finish(None) } else { merge.advance() };
        (merge, effects)
    }

    /// `node` answered the last [`Effect::AskPage`]. `complete`: there is nothing after the last entry.
    pub fn on_page(&mut self, node: NodeId, entries: Vec<Entry>, complete: bool) -> Vec<Effect> {
        if self.finished {
            return Vec::new();
        }
        let Some((source, from)) = self.sources.on_page(node) else { return Vec::new() };
        if !self.is_sound(&entries, complete, &from) {
            return self.on_node_failed(node);
        }
        let told = match entries.last() {
            Some(last) if !complete => Position::after(last.key.as_str()),
            _ => Position::End,
        };
        for entry in entries {
            if self.cursor.is_below(entry.key.as_str()) {
                self.note(source, entry);
            }
        }
        self.sources.told(source, told);
        self.advance()
    }

    /// `node` will not answer: it cannot be reached, or refuses. What it told before still counts.
    pub fn on_node_failed(&mut self, node: NodeId) -> Vec<Effect> {
        if self.finished || !self.sources.on_failed(node) {
            return Vec::new();
        }
        sometimes!("a node fails during a listing");
        self.advance()
    }

    /// `node` takes longer than usual: others are asked besides, where there are some. Its answer stays welcome.
    pub fn on_node_slow(&mut self, node: NodeId) -> Vec<Effect> {
        if self.finished {
            return Vec::new();
        }
        sometimes!("a node is slow during a listing");
        self.sources.on_slow(node);
        self.advance()
    }

    /// What reading a doubtful key found: its record, `None` where nothing was ever written.
    pub fn on_resolved(&mut self, key: &ObjectKey, record: Option<Record>) -> Vec<Effect> {
        // Not asked for, or not needed any more since its common prefix is listed already.
        let Some(doubt) = self.doubts.get_mut(key) else { return Vec::new() };
        sometimes!(record.is_some(), "a listing settles a doubtful key by reading it");
        *doubt = Doubt::Resolved(record.and_then(live));
        if self.finished { Vec::new() } else { self.advance() }
    }

    /// Whether a page is what was asked for: else it cannot be trusted to be without gaps.
    fn is_sound(&self, entries: &[Entry], complete: bool, from: &Position) -> bool {
        let ascending = entries.windows(2).all(|pair| pair[0].key < pair[1].key);
        let asked_for = |key: &str| from.is_below(key) && key.starts_with(self.query.prefix());
        // An empty page that is not the last would be asked for again and again.
        let proceeds = complete || !entries.is_empty();
        ascending && proceeds && entries.iter().all(|entry| asked_for(entry.key.as_str()))
    }

    /// Keeps a replica's copy.
    fn note(&mut self, source: usize, entry: Entry) {
        let Entry { key, ballot, record } = entry;
        let found = match self.found.get_mut(&key) {
            Some(found) => found,
            None => {
                let name = ObjectName { bucket: self.query.bucket().clone(), key: key.clone() };
                let quorums = self.sources.quorums_of(name.partition());
                self.found.entry(key).or_insert(Found { quorums, copies: Vec::new() })
            }
        };
        let is_in = |quorum: usize| usize::from(self.sources.quorum(quorum).nodes.contains(&source));
        let replicas = is_in(found.quorums.replicas);
        let next = found.quorums.next.map_or(0, is_in);
        // A copy that was left behind when its partition moved away says nothing.
        if replicas + next == 0 {
            return;
        }
        match found.copies.iter_mut().find(|copies| copies.ballot == ballot) {
            Some(copies) => {
                copies.replicas += replicas;
                copies.next += next;
            }
            None => found.copies.push(Copies { ballot, record, replicas, next }),
        }
    }

    /// Decides what can be decided and asks for what is missing.
    fn advance(&mut self) -> Vec<Effect> {
        let frontier = self.sources.frontier().clone();
        let mut effects = Vec::new();
        loop {
            let Some(key) = self.next_key(&frontier) else {
                self.cursor = frontier.max(mem::replace(&mut self.cursor, Position::End));
                if self.cursor >= self.query.end() {
                    return self.finish(None);
                }
                if self.is_full() {
                    return self.finish(self.last());
                }
                break;
            };
            match self.judge(&key) {
                Verdict::Gone => self.pass(Position::after(key.as_str())),
                _ if self.is_full() => return self.finish(self.last()),
                Verdict::Live(version, object) => self.list(key, version, object),
                Verdict::Doubtful => {
                    self.resolve_ahead(&frontier, &mut effects);
                    break;
                }
            }
        }
        for (node, held) in self.sources.ask(&self.cursor) {
            let Position::At(from) = self.cursor.clone() else { unreachable!("finished at the end") };
            effects.push(Effect::AskPage { node, from, limit: self.page_limit(held) });
        }
        if self.doubts.is_empty()
            && let Some(partition) = self.sources.stuck_at(&self.cursor)
        {
            self.finished = true;
            sometimes!("a listing finds too few nodes that answer");
            return alloc::vec![Effect::Unavailable(partition)];
        }
        effects
    }

    /// The first undecided key below the frontier.
    fn next_key(&self, frontier: &Position) -> Option<ObjectKey> {
        let (key, _) = self.found.first_key_value()?;
        (!frontier.is_below(key.as_str())).then(|| key.clone())
    }

    /// Judges a key below the frontier.
    fn judge(&self, key: &ObjectKey) -> Verdict {
        let settled = |found: Option<(Version, Object)>| match found {
            Some((version, object)) => Verdict::Live(version, object),
            None => Verdict::Gone,
        };
        if let Some(Doubt::Resolved(found)) = self.doubts.get(key) {
            return settled(found.clone());
        }
        let found = &self.found[key];
        let majority = |quorum: usize| self.sources.quorum(quorum).majority;
        let Quorums { replicas, next } = found.quorums;
        let holders: usize = found.copies.iter().map(|copies| copies.replicas).sum();
        let absent = self.sources.told_about(replicas, key.as_str()) - holders;
        if absent >= majority(replicas) {
            sometimes!(holders > 0, "a listing leaves out a key that only a minority holds");
            // A write that is on a minority at most was not acknowledged before the call.
            return Verdict::Gone;
        }
        // A ballot on a majority (of the next replicas too) is chosen; and nothing newer was acknowledged before the call,
        // or one of these replicas, which were all read since, would have it.
        let is_chosen = |copies: &&Copies| {
            let by_next = next.is_none_or(|next| copies.next >= majority(next));
            copies.replicas >= majority(replicas) && by_next
        };
        match found.copies.iter().find(is_chosen) {
            Some(copies) => {
                sometimes!(next.is_some(), "a listing meets a moving key that the next replicas hold too");
                settled(live(copies.record.clone()))
            }
            None => {
                sometimes!("a listing meets a key whose replicas disagree");
                Verdict::Doubtful
            }
        }
    }

    /// Lists an object, or its common prefix.
    fn list(&mut self, key: ObjectKey, version: Version, object: Object) {
        match self.query.common_prefix(key.as_str()) {
            Some(common) => {
                let common = common.to_string();
                self.pass(Position::after_prefix(&common));
                self.listing.prefixes.push(common);
            }
            None => {
                self.pass(Position::after(key.as_str()));
                self.listing.objects.push((key, version, object));
            }
        }
    }

    /// Everything below `position` is decided.
    fn pass(&mut self, position: Position) {
        debug_assert!(position > self.cursor);
        while let Some(entry) = self.found.first_entry() {
            if position.is_below(entry.key().as_str()) {
                break;
            }
            self.doubts.remove(entry.key());
            entry.remove();
        }
        self.cursor = position;
    }

    /// The first undecided key is doubtful: has it read, and with it others that the page will probably need.
    fn resolve_ahead(&mut self, frontier: &Position, effects: &mut Vec<Effect>) {
        let mut room = self.query.limit() - self.len();
        let mut open = self.doubts.values().filter(|doubt| matches!(doubt, Doubt::Asked)).count();
        let mut rolled_into: Option<&str> = None;
        let mut asked = Vec::new();
        let mut too_many = None;
        for (key, found) in &self.found {
            if room == 0 || frontier.is_below(key.as_str()) {
                break;
            }
            if rolled_into.is_some_and(|common| key.as_str().starts_with(common)) {
                continue;
            }
            match self.judge(key) {
                Verdict::Gone => continue,
                Verdict::Doubtful if self.doubts.contains_key(key) => {}
                Verdict::Doubtful if open == RESOLVES_MAX => {
                    too_many = Some(found.quorums);
                    break;
                }
                Verdict::Doubtful => {
                    asked.push(key.clone());
                    open += 1;
                }
                Verdict::Live(..) => {}
            }
            // One key is enough for a common prefix, if it turns out to be live.
            rolled_into = self.query.common_prefix(key.as_str());
            room -= 1;
        }
        if let Some(quorums) = too_many {
            // So many doubts mean a replica that was away for a while: one page of another replica settles what
            // would take many reads.
            self.sources.count_on_all(quorums);
        }
        for key in asked {
            self.doubts.insert(key.clone(), Doubt::Asked);
            effects.push(Effect::Resolve(ObjectName { bucket: self.query.bucket().clone(), key }));
        }
    }

    /// Entries to ask a node for that holds so many partitions: its part of the page, and some.
    fn page_limit(&self, held: usize) -> usize {
        if self.query.rolls_up() {
            return ENTRIES_PER_PAGE_MAX;
        }
        // One more than the rest of the page, to see whether there is a next one.
        let wanted = self.query.limit() - self.len() + 1;
        let part = (wanted * held).div_ceil(Partition::COUNT.into());
        (part + part / 4 + ENTRIES_PER_PAGE_SPARE).min(ENTRIES_PER_PAGE_MAX)
    }

    /// Objects and common prefixes listed.
    fn len(&self) -> usize {
        self.listing.objects.len() + self.listing.prefixes.len()
    }

    fn is_full(&self) -> bool {
        self.len() == self.query.limit()
    }

    /// The last that was listed.
    fn last(&self) -> Option<String> {
        let object = self.listing.objects.last().map(|(key, ..)| key.as_str());
        let prefix = self.listing.prefixes.last().map(String::as_str);
        object.max(prefix).map(ToString::to_string)
    }

    fn finish(&mut self, next_after: Option<String>) -> Vec<Effect> {
        self.finished = true;
        self.listing.next_after = next_after;
        alloc::vec![Effect::Done(mem::take(&mut self.listing))]
    }
}

/// The object of a record, without its body; `None` for a tombstone.
fn live(record: Record) -> Option<(Version, Object)> {
    match record.state {
        State::Object(object) => Some((record.version, Object { body: None, ..object })),
        State::Tombstone { .. } => None,
    }
}
