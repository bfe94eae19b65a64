//! The nodes that a listing asks: which ones, how far each has told, and how far a majority has.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::position::Position;
use crate::ids::{NodeId, Partition};
use crate::placement::Layout;

/// What a listing may expect of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Not asked, could be.
    Spare,
    /// Asked, and counted on.
    Asked,
    /// Its answer is awaited and welcome, but nobody counts on it.
    Slow,
    /// Will not answer (any more). What it told stays true.
    Failed,
}

/// One node.
#[derive(Clone, Debug)]
struct Source {
    id: NodeId,
    standing: Standing,
    /// Where the page that it was asked for starts, until it comes.
    asked_from: Option<Position>,
    /// It has told everything from where it was first asked up to here. As it was first asked no later than at the
    /// merge's cursor, that is everything between cursor and here.
    told: Position,
    /// Preferred first.
    preference: usize,
    /// Quorums it is in, as indexes.
    quorums: Vec<usize>,
}

/// Nodes that partitions are on, or that they move to.
#[derive(Clone, Debug)]
pub(super) struct Quorum {
    /// Indexes of its nodes.
    pub(super) nodes: Vec<usize>,
    /// Of `nodes`.
    pub(super) majority: usize,
    /// Partitions, and one of them.
    partitions: usize,
    example: Partition,
}

/// The quorums of a partition, as indexes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quorums {
    /// Its replicas. What a majority of them lacks is not chosen.
    pub(super) replicas: usize,
    /// Its next replicas while it moves: what is chosen is on a majority of both, unless it was chosen before the move.
    pub(super) next: Option<usize>,
}

/// All nodes of the layout, seen by one listing.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    sources: Vec<Source>,
    by_id: BTreeMap<NodeId, usize>,
    quorums: Vec<Quorum>,
    of_partition: Vec<Quorums>,
}

impl Sources {
    /// `answering`: who can be asked, the preferred first (the listing node itself, then the nearest).
    pub(super) fn new(layout: &Layout, answering: &[NodeId], start: &Position) -> Self {
        let mut this = Self {
            sources: Vec::new(),
            by_id: BTreeMap::new(),
            quorums: Vec::new(),
            of_partition: Vec::new(),
        };
        // By the nodes in the layout's order: there are far fewer lists than partitions.
        let mut known = BTreeMap::<&[NodeId], usize>::new();
        for (partition, place) in Partition::all().zip(&layout.partitions) {
            let mut quorum = |list| {
                let at = *known.entry(list).or_insert_with(|| {
                    let mut nodes: Vec<usize> =
                        list.iter().map(|&id| this.source(id, answering, start)).collect();
                    nodes.sort_unstable();
                    this.quorum_made_of(nodes, partition)
                });
                this.quorums[at].partitions += 1;
                at
            };
            let (replicas, next) = (quorum(&place.replicas), place.next.as_deref().map(quorum));
            this.of_partition.push(Quorums { replicas, next });
        }
        this.count_on_majorities();
        this
    }

    /// The index of a quorum, which is made known if it is not. `example`: a partition of it.
    fn quorum_made_of(&mut self, nodes: Vec<usize>, example: Partition) -> usize {
        if let Some(at) = self.quorums.iter().position(|other| other.nodes == nodes) {
            return at;
        }
        for &node in &nodes {
            self.sources[node].quorums.push(self.quorums.len());
        }
        let majority = nodes.len() / 2 + 1;
        self.quorums.push(Quorum { nodes, majority, partitions: 0, example });
        self.quorums.len() - 1
    }

    /// The index of a node, which is made known if it is not.
    fn source(&mut self, id: NodeId, answering: &[NodeId], start: &Position) -> usize {
        *self.by_id.entry(id).or_insert_with(|| {
            let preference = answering.iter().position(|&other| other == id);
            self.sources.push(Source {
                id,
                standing: if preference.is_some() { Standing::Spare } else { Standing::Failed },
                asked_from: None,
                told: start.clone(),
                preference: preference.unwrap_or(usize::MAX),
                quorums: Vec::new(),
            });
            self.sources.len() - 1
        })
    }

    /// Counts on more nodes, as few as a greedy choice finds, until a majority of every quorum is counted
    /// on or has told everything, as far as there are spare nodes for it.
    fn count_on_majorities(&mut self) {
        let counted = |source: &Source| source.standing == Standing::Asked || source.told == Position::End;
        let mut missing: Vec<usize> = self
            .quorums
            .iter()
            .map(|quorum| {
                let have = quorum.nodes.iter().filter(|&&at| counted(&self.sources[at])).count();
                quorum.majority.saturating_sub(have)
            })
            .collect();
        // For each node, the partitions that lack a majority and that it would help.
        let mut gains = vec![0_usize; self.sources.len()];
        for (quorum, _) in self.quorums.iter().zip(&missing).filter(|(_, missing)| **missing > 0) {
            for &at in &quorum.nodes {
                gains[at] += quorum.partitions;
            }
        }
        loop {
            let spare = |at: &usize| self.sources[*at].standing == Standing::Spare && gains[*at] > 0;
            let better = |&at: &usize| (gains[at], usize::MAX - self.sources[at].preference);
            let Some(best) = (0..self.sources.len()).filter(spare).max_by_key(better) else { return };
            self.sources[best].standing = Standing::Asked;
            for &at in &self.sources[best].quorums {
                if missing[at] == 0 {
                    continue;
                }
                missing[at] -= 1;
                if missing[at] == 0 {
                    for &node in &self.quorums[at].nodes {
                        gains[node] -= self.quorums[at].partitions;
                    }
                }
            }
        }
    }

    /// Counts on every replica, present or next, that can be asked.
    pub(super) fn count_on_all(&mut self, quorums: Quorums) {
        for quorum in quorums.iter() {
            for &at in &self.quorums[quorum].nodes {
                let standing = &mut self.sources[at].standing;
                if *standing == Standing::Spare {
                    *standing = Standing::Asked;
                }
            }
        }
    }

    /// Up to where a majority of every quorum has told everything; of next replicas too, which refuse to tell once the layout
    /// has changed: what was written under a layout without the old ones cannot be missed.
    pub(super) fn frontier(&self) -> &Position {
        let told = |at: usize| &self.sources[at].told;
        self.quorums.iter().map(|quorum| reached(quorum, told)).min().unwrap_or(&Position::End)
    }

    /// A partition for which no majority will ever tell more than `cursor`, if there is one.
    pub(super) fn stuck_at(&self, cursor: &Position) -> Option<Partition> {
        let may_tell = |at: usize| match self.sources[at].standing {
            Standing::Failed => &self.sources[at].told,
            _ => &Position::End,
        };
        let stuck = self.quorums.iter().find(|quorum| reached(quorum, may_tell) <= cursor);
        stuck.map(|quorum| quorum.example)
    }

    /// The nodes that should be asked for their next page, which starts at `cursor`; they count as asked from now on.
    pub(super) fn ask(&mut self, cursor: &Position) -> Vec<(NodeId, usize)> {
        let mut asks = Vec::new();
        for source in &mut self.sources {
            if source.standing == Standing::Asked && source.asked_from.is_none() && source.told <= *cursor {
                source.asked_from = Some(cursor.clone());
                let held: usize = source.quorums.iter().map(|&at| self.quorums[at].partitions).sum();
                // Moving partitions that it keeps were counted twice.
                asks.push((source.id, held.min(Partition::COUNT.into())));
            }
        }
        asks.sort_unstable();
        asks
    }

    /// A page came: its node, and where it starts. `None`: nobody waits for it.
    pub(super) fn on_page(&mut self, node: NodeId) -> Option<(usize, Position)> {
        let at = *self.by_id.get(&node)?;
        let source = &mut self.sources[at];
        let from = source.asked_from.take()?;
        if source.standing == Standing::Slow {
            source.standing = Standing::Asked;
        }
        Some((at, from))
    }

    /// The node has told everything up to `position`.
    pub(super) fn told(&mut self, at: usize, position: Position) {
        self.sources[at].told = position;
    }

    /// The node will not answer any more: others take its place where there are some. False: it was given up before.
    pub(super) fn on_failed(&mut self, node: NodeId) -> bool {
        let Some(source) = self.by_id.get(&node).map(|&at| &mut self.sources[at]) else { return false };
        if source.standing == Standing::Failed {
            return false;
        }
        source.standing = Standing::Failed;
        source.asked_from = None;
        self.count_on_majorities();
        true
    }

    /// The node takes long: others are asked too, where there are some.
    pub(super) fn on_slow(&mut self, node: NodeId) {
        let Some(source) = self.by_id.get(&node).map(|&at| &mut self.sources[at]) else { return };
        if source.standing == Standing::Asked && source.asked_from.is_some() {
            source.standing = Standing::Slow;
            self.count_on_majorities();
        }
    }

    /// The quorums of a partition.
    pub(super) fn quorums_of(&self, partition: Partition) -> Quorums {
        self.of_partition[partition.index()]
    }

    /// The quorum with this index.
    pub(super) fn quorum(&self, at: usize) -> &Quorum {
        &self.quorums[at]
    }

    /// How many of a quorum's nodes have told about `key`.
    pub(super) fn told_about(&self, quorum: usize, key: &str) -> usize {
        let nodes = &self.quorums[quorum].nodes;
        nodes.iter().filter(|&&at| !self.sources[at].told.is_below(key)).count()
    }
}

impl Quorums {
    /// The one or two.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        [Some(self.replicas), self.next].into_iter().flatten()
    }
}

/// The furthest position that a majority of a quorum is at or beyond.
fn reached<'a>(quorum: &Quorum, at: impl Fn(usize) -> &'a Position) -> &'a Position {
    let mut positions: Vec<&Position> = quorum.nodes.iter().map(|&node| at(node)).collect();
    positions.sort_unstable();
    positions[positions.len() - quorum.majority]
}
