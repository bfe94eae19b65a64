//! Any cluster, any lag, any order of answers, nodes that fail or hang: what is listed is what a model that knows
//! everything allows.
//!
//! Each key has a chosen record (or none) on a majority of its replicas; the others lag behind. Some keys have a newer
//! write on a minority, which may or may not come true, and which spreads while the listing runs.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::ids::{BucketName, NodeId, ObjectKey, ObjectName};
use holdfast_core::listing::{Effect, Entry, ListMerge, Listing, Query};
use holdfast_core::placement::Layout;
use holdfast_core::record::Record;
use holdfast_core::term::{Ballot, Version};
use proptest::prelude::*;

use super::{ballot, key, layout, record};

const OLD: u64 = 10;
const CHOSEN: u64 = 20;
const PENDING: u64 = 30;

/// How one key is written to its replicas.
#[derive(Clone, Debug)]
struct KeyPlan {
    /// `None`: nothing was ever chosen.
    chosen_live: Option<bool>,
    /// Replicas beyond the majority that have the chosen record too.
    extra_holders: usize,
    /// Whether those that lag have an older record, and whether that is an object.
    lagging: Option<bool>,
    /// A write under way: an object or a tombstone, on how many replicas (fewer than a majority), and whether a read
    /// completes it.
    pending: Option<(bool, usize, bool)>,
    /// Which replicas are which.
    turn: usize,
    pending_turn: usize,
    /// Which of the next replicas, where its partition moves, have what was chosen, and what is under way: by bits.
    copied: u8,
    pending_copied: u8,
}

#[derive(Clone, Debug)]
struct Case {
    nodes: usize,
    /// Start and number of replicas, as nodes in a ring.
    quorums: Vec<(usize, usize)>,
    /// Where each of them moves to, if it does.
    moves: Vec<Option<(usize, usize)>>,
    keys: BTreeMap<String, KeyPlan>,
    prefix: &'static str,
    delimiter: Option<&'static str>,
    limit: usize,
    /// Decides what happens next; runs out into "deliver the first".
    choices: Vec<u8>,
}

fn any_case() -> impl Strategy<Value = Case> {
    let part = prop_oneof![3 => "[ab]", 2 => Just("/".to_string()), 1 => Just("é".to_string())];
    let name = prop::collection::vec(part, 1..5).prop_map(|parts| parts.concat());
    let plan = (
        prop_oneof![1 => Just(None), 3 => Just(Some(true)), 1 => Just(Some(false))],
        0..5_usize,
        any::<Option<bool>>(),
        prop_oneof![2 => Just(None), 1 => any::<(bool, usize, bool)>().prop_map(Some)],
        any::<(usize, usize)>(),
        (prop_oneof![1 => Just(u8::MAX), 1 => any::<u8>()], any::<u8>()),
    )
        .prop_map(|(chosen_live, extra_holders, lagging, pending, turns, copied)| KeyPlan {
            chosen_live,
            extra_holders,
            lagging,
            pending,
            turn: turns.0,
            pending_turn: turns.1,
            copied: copied.0,
            pending_copied: copied.1,
        });
    (
        1..7_usize,
        prop::collection::vec(
            (
                (any::<usize>(), 1..6_usize),
                prop_oneof![2 => Just(None), 1 => (any::<usize>(), 1..6_usize).prop_map(Some)],
            ),
            1..6,
        ),
        prop::collection::btree_map(name, plan, 0..40),
        prop_oneof![2 => Just(""), 1 => Just("a"), 1 => Just("a/"), 1 => Just("é")],
        prop_oneof![1 => Just(None), 1 => Just(Some("/")), 1 => Just(Some("b")), 1 => Just(Some("a/"))],
        prop_oneof![3 => 1..8_usize, 1 => 8..40_usize],
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(nodes, quorums, keys, prefix, delimiter, limit, choices)| Case {
            nodes,
            moves: quorums.iter().map(|(_, to)| *to).collect(),
            quorums: quorums.into_iter().map(|(from, _)| from).collect(),
            keys,
            prefix,
            delimiter,
            limit,
            choices,
        })
}

/// The cluster, which knows what may be listed.
struct World {
    layout: Layout,
    held: BTreeMap<NodeId, BTreeMap<ObjectKey, (Ballot, Record)>>,
    /// What a read through the register protocol answers.
    resolved: BTreeMap<ObjectKey, Option<Record>>,
    /// The object versions that a listing may show; `None`: it may show none.
    allowed: BTreeMap<ObjectKey, BTreeSet<Option<Version>>>,
    /// Writes under way, which may reach more replicas.
    spreading: Vec<(ObjectKey, Record, Vec<NodeId>)>,
    failed: BTreeSet<NodeId>,
}

impl World {
    fn new(case: &Case) -> Self {
        let ring = |&(start, count): &(usize, usize)| -> Vec<NodeId> {
            let node = |step| NodeId(((start % case.nodes + step) % case.nodes) as u128 + 1);
            (0..count.min(case.nodes)).map(node).collect()
        };
        let mut layout = layout(&case.quorums.iter().map(ring).collect::<Vec<_>>());
        for (place, to) in layout.partitions.iter_mut().zip(case.moves.iter().cycle()) {
            place.next = to.as_ref().map(ring);
        }
        let mut world = Self {
            layout,
            held: (1..=case.nodes as u128).map(|id| (NodeId(id), BTreeMap::new())).collect(),
            resolved: BTreeMap::new(),
            allowed: BTreeMap::new(),
            spreading: Vec::new(),
            failed: BTreeSet::new(),
        };
        for (text, plan) in &case.keys {
            world.write(key(text), plan);
        }
        world
    }

    fn write(&mut self, key: ObjectKey, plan: &KeyPlan) {
        let name = ObjectName { bucket: bucket(), key: key.clone() };
        let place = self.layout.partition(name.partition());
        let mut replicas = place.replicas.clone();
        let next: Vec<NodeId> =
            place.next.iter().flatten().filter(|node| !replicas.contains(node)).copied().collect();
        let some_of_next = |bits: u8| {
            next.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, node)| node)
        };
        let majority = replicas.len() / 2 + 1;
        let turn = plan.turn % replicas.len();
        replicas.rotate_left(turn);
        let mut hold = |node: &NodeId, seq: u64, live: bool| {
            self.held.get_mut(node).unwrap().insert(key.clone(), (ballot(seq), record(seq, live)));
        };
        if let Some(live) = plan.chosen_live {
            for (at, node) in replicas.iter().enumerate() {
                if at < majority + plan.extra_holders {
                    hold(node, CHOSEN, live);
                } else if let Some(live) = plan.lagging {
                    hold(node, OLD, live);
                }
            }
            some_of_next(plan.copied).for_each(|node| hold(node, CHOSEN, live));
        }
        let chosen = plan.chosen_live.map(|live| record(CHOSEN, live));
        let version = |record: &Option<Record>| record.as_ref().and_then(Record::object_version);
        let mut allowed = BTreeSet::from([version(&chosen)]);
        let mut resolved = chosen;
        if let Some((live, count, completes)) = plan.pending {
            let turn = plan.pending_turn % replicas.len();
            replicas.rotate_left(turn);
            let (holders, others) = replicas.split_at(count % majority);
            for node in holders.iter().chain(some_of_next(plan.pending_copied)) {
                hold(node, PENDING, live);
            }
            allowed.insert(version(&Some(record(PENDING, live))));
            if completes {
                resolved = Some(record(PENDING, live));
            }
            self.spreading.push((key.clone(), record(PENDING, live), others.to_vec()));
        }
        self.allowed.insert(key.clone(), allowed);
        self.resolved.insert(key, resolved);
    }

    /// What `node` answers: at most `limit` heads.
    fn page(&self, node: NodeId, prefix: &str, from: &[u8], limit: usize) -> (Vec<Entry>, bool) {
        let wanted = |key: &ObjectKey| key.as_str().starts_with(prefix) && key.as_str().as_bytes() >= from;
        let mut entries: Vec<Entry> = self.held[&node]
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, (ballot, record))| Entry {
                key: key.clone(),
                ballot: *ballot,
                record: record.clone(),
            })
            .collect();
        let complete = entries.len() <= limit;
        entries.truncate(limit);
        (entries, complete)
    }

    /// A write under way reaches one more replica.
    fn spread(&mut self, choice: usize) {
        if self.spreading.is_empty() {
            return;
        }
        let at = choice % self.spreading.len();
        let (key, record, others) = &mut self.spreading[at];
        if let Some(node) = others.pop() {
            self.held.get_mut(&node).unwrap().insert(key.clone(), (ballot(PENDING), record.clone()));
        }
    }

    fn lacks_a_majority(&self) -> bool {
        let lacks = |nodes: &Vec<NodeId>| {
            nodes.iter().filter(|node| !self.failed.contains(node)).count() * 2 <= nodes.len()
        };
        let mut places = self.layout.partitions.iter();
        places.any(|place| lacks(&place.replicas) || place.next.as_ref().is_some_and(lacks))
    }
}

fn bucket() -> BucketName {
    BucketName::new("photos").unwrap()
}

/// Runs one page; `None`: unavailable.
fn run_page(case: &Case, world: &mut World, after: Option<&str>, choices: &mut Choices) -> Option<Listing> {
    let query = Query::new(bucket(), case.prefix, case.delimiter, after, case.limit).unwrap();
    let answering: Vec<NodeId> =
        world.held.keys().copied().filter(|node| !world.failed.contains(node)).collect();
    let (mut merge, mut effects) = ListMerge::begin(query, &world.layout, &answering);
    let mut outstanding: Vec<Effect> = Vec::new();
    for _ in 0..10_000 {
        for effect in effects.drain(..) {
            match effect {
                Effect::Done(listing) => return Some(listing),
                Effect::Unavailable(_) => return None,
                _ => outstanding.push(effect),
            }
        }
        assert!(!outstanding.is_empty(), "the merge waits for nothing");
        let choice = choices.next();
        match choice % 16 {
            15 => world.spread(choice / 16),
            14 => effects = merge.on_node_slow(answering[choice / 16 % answering.len()]),
            13 if choices.next().is_multiple_of(4) => {
                let node = answering[choice / 16 % answering.len()];
                world.failed.insert(node);
                outstanding
                    .retain(|effect| !matches!(effect, Effect::AskPage { node: of, .. } if *of == node));
                effects = merge.on_node_failed(node);
            }
            _ => {
                let at = choice / 16 % outstanding.len();
                effects = match outstanding.remove(at) {
                    Effect::AskPage { node, from, limit } => {
                        let limit = limit.min(1 + choices.next() % 4);
                        let (entries, complete) = world.page(node, case.prefix, &from, limit);
                        merge.on_page(node, entries, complete)
                    }
                    Effect::Resolve(name) => merge.on_resolved(&name.key, world.resolved[&name.key].clone()),
                    other => unreachable!("{other:?}"),
                };
            }
        }
    }
    panic!("the listing does not end");
}

struct Choices(std::vec::IntoIter<u8>);

impl Choices {
    fn next(&mut self) -> usize {
        self.0.next().unwrap_or(0).into()
    }
}

/// The common prefix by its definition, found by trying.
fn common_prefix(case: &Case, key: &str) -> Option<String> {
    let delimiter = case.delimiter?;
    let ends = key.char_indices().map(|(at, char)| at + char.len_utf8());
    let mut prefixes = ends.map(|end| &key[..end]);
    let rolled = |text: &&str| text.len() >= case.prefix.len() + delimiter.len() && text.ends_with(delimiter);
    prefixes.find(rolled).map(ToString::to_string)
}

fn check(case: &Case, world: &World, pages: &[Listing]) -> Result<(), TestCaseError> {
    let mut objects = BTreeMap::new();
    let mut prefixes = BTreeSet::new();
    let mut told_before: Option<String> = None;
    for page in pages {
        let mut names: Vec<String> = page.objects.iter().map(|(key, ..)| key.to_string()).collect();
        names.extend(page.prefixes.iter().cloned());
        prop_assert!(names.len() <= case.limit);
        prop_assert!(page.prefixes.is_sorted() && page.objects.is_sorted_by_key(|(key, ..)| key));
        prop_assert!(told_before.as_ref() < names.iter().min() || names.is_empty(), "pages overlap");
        told_before = names.into_iter().max().max(told_before);
        objects.extend(page.objects.iter().map(|(key, version, _)| (key.clone(), *version)));
        prefixes.extend(page.prefixes.iter().cloned());
    }
    prop_assert_eq!(objects.len(), pages.iter().map(|page| page.objects.len()).sum::<usize>());
    prop_assert_eq!(prefixes.len(), pages.iter().map(|page| page.prefixes.len()).sum::<usize>());

    let mut prefixes_that_may_be = BTreeSet::new();
    for (key, allowed) in &world.allowed {
        let shown = objects.remove(key);
        if !key.as_str().starts_with(case.prefix) {
            prop_assert_eq!(shown, None);
            continue;
        }
        match common_prefix(case, key.as_str()) {
            Some(common) => {
                prop_assert_eq!(shown, None, "{} is rolled up", key);
                prop_assert!(
                    allowed.contains(&None) || prefixes.contains(&common),
                    "{key} is under {common}"
                );
                if allowed.iter().any(Option::is_some) {
                    prefixes_that_may_be.insert(common);
                }
            }
            None => prop_assert!(allowed.contains(&shown), "{key} is shown as {shown:?} of {allowed:?}"),
        }
    }
    prop_assert!(objects.is_empty(), "keys that never were: {objects:?}");
    prop_assert!(prefixes.is_subset(&prefixes_that_may_be), "{prefixes:?} of {prefixes_that_may_be:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_acknowledged_key_is_listed_once_and_nothing_else(case in any_case()) {
        let mut world = World::new(&case);
        let mut choices = Choices(case.choices.clone().into_iter());
        let mut pages = Vec::<Listing>::new();
        loop {
            prop_assert!(pages.len() <= case.keys.len() + 1, "pages without end");
            let after = pages.last().and_then(|page| page.next_after.clone());
            match run_page(&case, &mut world, after.as_deref(), &mut choices) {
                Some(page) => pages.push(page),
                None => {
                    prop_assert!(world.lacks_a_majority(), "unavailable without a reason");
                    return Ok(());
                }
            }
            if pages.last().unwrap().next_after.is_none() {
                break;
            }
        }
        check(&case, &world, &pages)?;
    }
}
