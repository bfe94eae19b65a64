//! Who leads each partition: every node its holdings divided by the replication factor, rounded up or down.
//!
//! By holdings and not by capacity: a leader's work is messages, and a large disk does not make a node fast.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use crate::ids::Partition;

/// The leader of each partition.
pub(super) struct Leaders<'a> {
    /// For each partition the nodes that hold it.
    holders: &'a [Vec<usize>],
    /// For each partition one of its holders.
    leader: Vec<usize>,
    /// Partitions each node leads: counts `leader`.
    led: Vec<usize>,
}

impl<'a> Leaders<'a> {
    /// Chooses among each partition's `holders`, all of which have the same number; `nodes` is how many there are.
    ///
    /// An even choice always exists: if every holder of a partition led `1 / replication` of it, every node would lead
    /// exactly its share, and flows with whole bounds have whole solutions. So every `shift` below finds its way.
    pub(super) fn spread(holders: &'a [Vec<usize>], nodes: usize) -> Self {
        let replication = holders[0].len();
        debug_assert!(holders.iter().all(|of| of.len() == replication));
        let mut held = vec![0_usize; nodes];
        for &node in holders.iter().flatten() {
            held[node] += 1;
        }
        let mut leaders = Self { holders, leader: Vec::new(), led: vec![0; nodes] };
        for of in holders {
            leaders.lead_next(of, &held);
        }
        let least = |node: usize| held[node] / replication;
        let most = |node: usize| held[node].div_ceil(replication);
        for node in 0..nodes {
            while leaders.led[node] > most(node) {
                leaders.shift(&[node], |to, led| led[to] < most(to));
            }
        }
        for node in 0..nodes {
            while leaders.led[node] < least(node) {
                let rich: Vec<usize> = (0..nodes).filter(|&at| leaders.led[at] > least(at)).collect();
                leaders.shift(&rich, |to, _| to == node);
            }
        }
        leaders
    }

    /// Who leads `partition`.
    pub(super) fn of(&self, partition: Partition) -> usize {
        self.leader[partition.index()]
    }

    /// Gives the next partition to the holder that has used the least of its share: nearly even already.
    fn lead_next(&mut self, holders: &[usize], held: &[usize]) {
        // led / held, by cross-multiplying.
        let used_less = |a: usize, b: usize| self.led[b] * held[a] < self.led[a] * held[b];
        let leader = holders.iter().copied().reduce(|a, b| if used_less(a, b) { b } else { a });
        let leader = leader.expect("a partition has at least one holder");
        self.leader.push(leader);
        self.led[leader] += 1;
    }

    /// Moves one leadership from one of the nodes `from` to the nearest node that `may_take` it: directly, or by a chain
    /// of partitions in which each node on the way gives one and takes one.
    fn shift(&mut self, from: &[usize], may_take: impl Fn(usize, &[usize]) -> bool) {
        let mut reached_by: Vec<Option<usize>> = vec![None; self.led.len()];
        let mut seen = vec![false; self.led.len()];
        let mut queue: VecDeque<usize> = from.iter().copied().collect();
        for &node in from {
            seen[node] = true;
        }
        while let Some(node) = queue.pop_front() {
            for (partition, holders) in self.holders.iter().enumerate() {
                if self.leader[partition] != node {
                    continue;
                }
                for &holder in holders {
                    if seen[holder] {
                        continue;
                    }
                    seen[holder] = true;
                    reached_by[holder] = Some(partition);
                    if may_take(holder, &self.led) {
                        return self.hand_over(holder, &reached_by);
                    }
                    queue.push_back(holder);
                }
            }
        }
        unreachable!("a fractional solution exists, so a whole one does")
    }

    /// Walks the chain back from its end, changing the leader of each partition on it.
    fn hand_over(&mut self, end: usize, reached_by: &[Option<usize>]) {
        let mut to = end;
        self.led[end] += 1;
        while let Some(partition) = reached_by[to] {
            // The leader so far gave this one away, and took the one before it in the chain.
            to = mem::replace(&mut self.leader[partition], to);
        }
        self.led[to] -= 1;
    }
}
