//! Which partitions each node holds, given how many.
//!
//! Partitions are served one after the other; each draws its zones and then nodes in them by rendezvous hashing,
//! weighted with what each still has to hold. A candidate that has to hold all partitions that are left is drawn first:
//! that one rule makes every target come out exactly, with no search. Drawing scatters a node's partitions over many
//! others, so that when it is lost, many help to replace it.

use alloc::vec::Vec;

use super::rendezvous::Rank;
use super::targets::Targets;
use crate::ids::Partition;

/// For each partition the nodes that hold it, as indexes into [`Targets::nodes`].
pub(super) fn assign(targets: &Targets) -> Vec<Vec<usize>> {
    let mut zone_quotas: Vec<u32> = targets.zones.iter().map(|zone| zone.extras).collect();
    let mut node_quotas: Vec<u32> = targets.nodes.iter().map(|node| node.slots).collect();
    let all_zones: Vec<usize> = (0..targets.zones.len()).collect();
    let holders = Partition::all()
        .map(|partition| {
            let zone_rank = |zone: usize| &targets.zones[zone].rank;
            let extra = draw(partition, targets.extra, &all_zones, &mut zone_quotas, zone_rank);
            let mut holders = Vec::new();
            for (at, zone) in targets.zones.iter().enumerate() {
                let wanted = zone.base + usize::from(extra.contains(&at));
                let node_rank = |node: usize| &targets.nodes[node].rank;
                holders.extend(draw(partition, wanted, &zone.nodes, &mut node_quotas, node_rank));
            }
            holders
        })
        .collect();
    assert!(zone_quotas.iter().chain(&node_quotas).all(|&left| left == 0), "targets are met exactly");
    holders
}

/// Draws `wanted` distinct of `candidates` and takes one from the quota of each.
///
/// Invariant, which holds before the first partition and which every draw keeps: no quota is larger than the number of
/// partitions that are left, and together the quotas are what these will draw. (In a zone, partitions draw `base` or
/// `base + 1` nodes. As the two differ by no more than one, nothing else is needed for the rest to work out.)
fn draw<'a>(
    partition: Partition,
    wanted: usize,
    candidates: &[usize],
    quotas: &mut [u32],
    rank: impl Fn(usize) -> &'a Rank,
) -> Vec<usize> {
    if wanted == 0 {
        return Vec::new();
    }
    let left = u32::from(Partition::COUNT - partition.number());
    let mut open: Vec<usize> = candidates.iter().copied().filter(|&at| quotas[at] > 0).collect();
    debug_assert!(open.len() >= wanted && open.iter().all(|&at| quotas[at] <= left));
    let cost = |at: usize| u64::from(rank(at).cost(partition));
    if open.len() > wanted {
        open.select_nth_unstable_by(wanted, |&a, &b| {
            let (quota_a, quota_b) = (quotas[a], quotas[b]);
            let forced = (quota_b == left).cmp(&(quota_a == left));
            // cost / quota, by cross-multiplying: costs have 31 bits, quotas 11.
            let by_rank = || (cost(a) * u64::from(quota_b)).cmp(&(cost(b) * u64::from(quota_a)));
            forced.then_with(by_rank).then_with(|| a.cmp(&b))
        });
        open.truncate(wanted);
    }
    for &at in &open {
        quotas[at] -= 1;
    }
    open
}
