//! How many replicas each zone and each node should hold: the part of planning that knows of capacity.
//!
//! A target is always attainable: for whatever this file answers there is an assignment that meets it exactly.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::layout::Member;
use super::rendezvous::Rank;
use crate::ids::{NodeId, Partition};

/// Partitions: the most replicas one node can hold.
const PARTITIONS: u32 = Partition::COUNT as u32;

/// What every node and zone should hold.
pub(super) struct Targets {
    /// All nodes, in the order of their ids.
    pub(super) nodes: Vec<NodeTarget>,
    /// All zones, in the order of their names.
    pub(super) zones: Vec<ZoneTarget>,
    /// Replicas of each partition that go to distinct zones on top of every zone's [`ZoneTarget::base`].
    pub(super) extra: usize,
}

/// What one node should hold.
pub(super) struct NodeTarget {
    pub(super) id: NodeId,
    /// Replicas, `<=` partitions.
    pub(super) slots: u32,
    pub(super) rank: Rank,
}

/// What one zone should hold: `base` replicas of every partition, and one more of `extras` partitions.
pub(super) struct ZoneTarget {
    /// Indexes into [`Targets::nodes`].
    pub(super) nodes: Vec<usize>,
    /// `<=` nodes of the zone.
    pub(super) base: usize,
    /// `<=` partitions; 0 unless `base < ` nodes of the zone.
    pub(super) extras: u32,
    pub(super) rank: Rank,
}

impl Targets {
    /// Shares by capacity, as near as zones and the rule "one node, one replica" let them be.
    pub(super) fn new(members: &BTreeMap<NodeId, Member>, replication: u8) -> Self {
        let replication = usize::from(replication);
        debug_assert!(members.len() >= replication && members.values().all(|member| member.capacity > 0));
        let mut by_zone = BTreeMap::<&str, Vec<usize>>::new();
        for (at, member) in members.values().enumerate() {
            by_zone.entry(&member.zone).or_default().push(at);
        }
        let capacities: Vec<f64> = members.values().map(|member| member.capacity as f64).collect();
        let mut nodes: Vec<NodeTarget> = members
            .keys()
            .map(|&id| NodeTarget { id, slots: 0, rank: Rank::new(b"node", &id.to_bytes()) })
            .collect();

        let bounds = ZoneBounds::new(by_zone.values().map(Vec::len).collect(), replication);
        let ranks: Vec<Rank> = by_zone.keys().map(|name| Rank::new(b"zone", name.as_bytes())).collect();
        let zone_slots = bounds.share(&by_zone, &capacities, &ranks, replication);
        let mut zones = Vec::new();
        for (at, ((members, rank), slots)) in by_zone.into_values().zip(ranks).zip(zone_slots).enumerate() {
            share_in_zone(&members, &capacities, slots, &mut nodes);
            let (base, _) = bounds.replicas(at);
            let extras = slots - base as u32 * PARTITIONS;
            zones.push(ZoneTarget { nodes: members, base, extras, rank });
        }
        Self { nodes, zones, extra: bounds.extra }
    }
}

/// How many replicas of one partition each zone holds: as even as the zones' sizes allow.
struct ZoneBounds {
    /// Nodes of each zone.
    sizes: Vec<usize>,
    /// Every zone holds this many of every partition, or all its nodes where it has fewer.
    level: usize,
    /// What is left then of each partition's replicas: one each in this many of the zones that have more nodes.
    extra: usize,
}

impl ZoneBounds {
    fn new(sizes: Vec<usize>, replication: usize) -> Self {
        let held = |level: usize| sizes.iter().map(|&size| size.min(level)).sum::<usize>();
        let level = (0..=replication).rev().find(|&level| held(level) <= replication);
        let level = level.expect("at level 0 the zones hold nothing");
        let extra = replication - held(level);
        Self { sizes, level, extra }
    }

    /// Least and most replicas of one partition in a zone.
    fn replicas(&self, zone: usize) -> (usize, usize) {
        let size = self.sizes[zone];
        let most = if self.extra > 0 { self.level + 1 } else { self.level };
        (size.min(self.level), size.min(most))
    }

    /// Replicas of all partitions for each zone, by capacity within the bounds.
    fn share(
        &self,
        by_zone: &BTreeMap<&str, Vec<usize>>,
        capacities: &[f64],
        ranks: &[Rank],
        replication: usize,
    ) -> Vec<u32> {
        let total = replication as u32 * PARTITIONS;
        let of_zone = |zone: usize, members: &[usize], per_byte: f64| -> f64 {
            let (least, most) = self.replicas(zone);
            let wanted: f64 = members.iter().map(|&node| on_node(capacities[node], per_byte)).sum();
            wanted.clamp((least as u32 * PARTITIONS).into(), (most as u32 * PARTITIONS).into())
        };
        let shares = |per_byte: f64| -> Vec<f64> {
            by_zone.values().enumerate().map(|(zone, members)| of_zone(zone, members, per_byte)).collect()
        };
        let shares = shares(largest_rate(total, |rate| shares(rate).iter().sum()));
        let limit = |zone: usize| self.replicas(zone).1 as u32 * PARTITIONS;
        round(&shares, total, limit, |zone| tie(&ranks[zone]))
    }
}

/// Divides a zone's replicas among its nodes.
fn share_in_zone(members: &[usize], capacities: &[f64], slots: u32, nodes: &mut [NodeTarget]) {
    let shares = |per_byte: f64| -> Vec<f64> {
        members.iter().map(|&node| on_node(capacities[node], per_byte)).collect()
    };
    let shares = shares(largest_rate(slots, |rate| shares(rate).iter().sum()));
    let rounded = round(&shares, slots, |_| PARTITIONS, |at| tie(&nodes[members[at]].rank));
    for (&node, slots) in members.iter().zip(rounded) {
        nodes[node].slots = slots;
    }
}

/// A node's share at a rate: in proportion to its capacity, until it holds every partition.
fn on_node(capacity: f64, per_byte: f64) -> f64 {
    (capacity * per_byte).min(PARTITIONS.into())
}

/// The largest rate (replicas per byte of capacity) at which the shares, which rise with it, do not exceed `total`.
///
/// Only IEEE additions, multiplications and comparisons, in a fixed order: the same on every machine.
fn largest_rate(total: u32, shares: impl Fn(f64) -> f64) -> f64 {
    // At the highest rate a node of one byte holds every partition.
    let (mut low, mut high) = (0.0, f64::from(PARTITIONS));
    if shares(high) <= total.into() {
        return high;
    }
    // Rates go down to 2^-64 (capacities are u64) and have 53 digits; from 2^10 that is 127 halvings.
    for _ in 0..128 {
        let middle = (low + high) / 2.0;
        if shares(middle) <= total.into() {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Whole numbers that sum to `total`: each share rounded down or up, the largest fractions up. So nobody is off by one
/// or more, which methods that divide step by step do not promise.
fn round(shares: &[f64], total: u32, limit: impl Fn(usize) -> u32, tie: impl Fn(usize) -> u32) -> Vec<u32> {
    // Shares are not negative and at most 7 * 1024: the cast only drops the fraction.
    let mut rounded: Vec<u32> = shares.iter().map(|&share| share as u32).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let fraction = |at: usize| shares[at] - f64::from(shares[at] as u32);
    order.sort_by(|&a, &b| {
        fraction(b).total_cmp(&fraction(a)).then_with(|| tie(a).cmp(&tie(b))).then_with(|| a.cmp(&b))
    });
    let mut missing = total - rounded.iter().sum::<u32>();
    // More than one round only where float rounding lost a whole unit.
    while missing > 0 {
        let before = missing;
        for &at in &order {
            if missing > 0 && rounded[at] < limit(at) {
                rounded[at] += 1;
                missing -= 1;
            }
        }
        assert!(missing < before, "the limits sum to at least the total");
    }
    rounded
}

/// Ties between equal fractions are broken by the hash, not by the order of names.
fn tie(rank: &Rank) -> u32 {
    rank.cost(Partition::all().next().expect("there are partitions"))
}
