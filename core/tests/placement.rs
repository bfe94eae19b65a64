//! The first layout keeps its promises for any set of nodes: see `first_layout`.

#![allow(clippy::unwrap_used, reason = "a test stops where its own set-up is wrong")]

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::ids::{NodeId, Partition};
use holdfast_core::placement::{Layout, Member, PlanError, REPLICATION_MAX, first_layout};
use holdfast_core::term::ConfigVersion;
use proptest::prelude::*;

const PARTITIONS: f64 = Partition::COUNT as f64;

type Nodes = BTreeMap<NodeId, Member>;

fn member(zone: &impl ToString, capacity: u64) -> Member {
    Member { zone: zone.to_string(), capacity }
}

/// Nodes 1.. with the zones and capacities given.
fn nodes<Z: ToString>(members: impl IntoIterator<Item = (Z, u64)>) -> Nodes {
    (1..).map(NodeId).zip(members.into_iter().map(|(zone, capacity)| member(&zone, capacity))).collect()
}

/// Replicas each node holds, nodes without any included.
fn slots(layout: &Layout) -> BTreeMap<NodeId, usize> {
    let mut slots: BTreeMap<NodeId, usize> = layout.nodes.keys().map(|&id| (id, 0)).collect();
    for node in layout.partitions.iter().flat_map(|partition| &partition.replicas) {
        *slots.get_mut(node).unwrap() += 1;
    }
    slots
}

fn led(layout: &Layout) -> BTreeMap<NodeId, usize> {
    let mut led: BTreeMap<NodeId, usize> = layout.nodes.keys().map(|&id| (id, 0)).collect();
    for partition in &layout.partitions {
        *led.get_mut(&partition.replicas[0]).unwrap() += 1;
    }
    led
}

/// Any members: few or many zones, capacities from equal to extreme.
fn any_nodes(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Nodes> {
    let capacity =
        prop_oneof![Just(1_000_u64), 500..2_000_u64, 1..u64::MAX, Just(1), Just(u64::MAX), 1..100_u64];
    let zone = prop_oneof![0..3_u8, 0..30_u8, Just(0)];
    prop::collection::btree_map(any::<u128>().prop_map(NodeId), (zone, capacity), count).prop_map(|nodes| {
        nodes.into_iter().map(|(id, (zone, capacity))| (id, member(&zone, capacity))).collect()
    })
}

fn any_case() -> impl Strategy<Value = (Nodes, u8)> {
    (1..=REPLICATION_MAX)
        .prop_flat_map(|replication| (any_nodes(usize::from(replication)..=40), Just(replication)))
}

/// Checks all that must hold whatever the capacities are.
fn check_shape(layout: &Layout, nodes: &Nodes, replication: u8) -> Result<(), TestCaseError> {
    prop_assert_eq!(layout.version, 1);
    prop_assert_eq!(layout.replication, replication);
    prop_assert_eq!(&layout.nodes, nodes);
    prop_assert_eq!(layout.partitions.len(), usize::from(Partition::COUNT));
    let mut sizes = BTreeMap::<&str, usize>::new();
    for member in nodes.values() {
        *sizes.entry(&member.zone).or_default() += 1;
    }
    for partition in &layout.partitions {
        prop_assert_eq!(partition.config, ConfigVersion(1));
        prop_assert!(partition.next.is_none());
        prop_assert_eq!(partition.replicas.len(), usize::from(replication));
        let distinct: BTreeSet<_> = partition.replicas.iter().collect();
        prop_assert_eq!(distinct.len(), partition.replicas.len(), "a node twice");
        let mut in_zone = BTreeMap::<&str, usize>::new();
        for node in &partition.replicas {
            *in_zone.entry(&nodes[node].zone).or_default() += 1;
        }
        // As even as the zones' sizes allow: no zone has two more than one that still has a free node.
        for (zone, size) in &sizes {
            let here = in_zone.get(zone).copied().unwrap_or(0);
            let most = in_zone.values().copied().max().unwrap();
            prop_assert!(
                here == *size || most <= here + 1,
                "zone {zone} has {here} where another has {most}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replicas_are_distinct_and_even_over_zones((nodes, replication) in any_case()) {
        let layout = first_layout(&nodes, replication).unwrap();
        check_shape(&layout, &nodes, replication)?;
    }

    #[test]
    fn every_node_leads_its_holdings_divided_by_the_replication((nodes, replication) in any_case()) {
        let layout = first_layout(&nodes, replication).unwrap();
        let led = led(&layout);
        for (node, slots) in slots(&layout) {
            let (least, most) = (slots / usize::from(replication), slots.div_ceil(replication.into()));
            prop_assert!((least..=most).contains(&led[&node]), "{node} holds {slots} and leads {}", led[&node]);
        }
    }

    /// The order in which nodes were found cannot matter (the argument is sorted); nor may the unit of capacity.
    #[test]
    fn a_layout_depends_on_nothing_but_names_zones_and_proportions(
        (mut nodes, replication) in any_case(), seed: u64, doublings in 0..8_u32,
    ) {
        for member in nodes.values_mut() {
            member.capacity = (member.capacity >> 8).max(1);
        }
        let mut found: Vec<_> = nodes.clone().into_iter().collect();
        found.sort_by_key(|(id, _)| (id.0 as u64).wrapping_mul(seed | 1).rotate_left(17));
        for (_, member) in &mut found {
            member.capacity <<= doublings;
        }
        let again = first_layout(&found.into_iter().collect(), replication).unwrap();
        prop_assert_eq!(first_layout(&nodes, replication).unwrap().partitions, again.partitions);
    }

    /// With no zone in the way, the share of every node that is attainable is met within one replica: and that is
    /// 5 % or better from 20 replicas on.
    #[test]
    fn load_follows_capacity_where_zones_leave_room(
        capacities in prop::collection::vec(500..2_000_u64, 7..60), replication in 1..=3_u8,
    ) {
        let nodes = nodes(capacities.iter().enumerate().map(|(zone, &capacity)| (zone, capacity)));
        let layout = first_layout(&nodes, replication).unwrap();
        let sum: u64 = capacities.iter().sum();
        let total = PARTITIONS * f64::from(replication);
        let shares: Vec<f64> = capacities.iter().map(|&c| total * c as f64 / sum as f64).collect();
        prop_assume!(shares.iter().all(|&share| share <= PARTITIONS));
        for (share, (node, slots)) in shares.iter().zip(slots(&layout)) {
            prop_assert!((slots as f64 - share).abs() < 1.0, "{node} holds {slots}, its share is {share}");
        }
    }

    /// Whatever stands in the way: a node with more capacity than another in its zone never holds less (but for the
    /// rounding), and what a node could not take goes to the others in proportion.
    #[test]
    fn within_a_zone_load_is_in_proportion_until_a_node_holds_everything((nodes, replication) in any_case()) {
        let layout = first_layout(&nodes, replication).unwrap();
        let slots = slots(&layout);
        for (a, member_a) in &nodes {
            for (b, member_b) in nodes.iter().filter(|(_, other)| other.zone == member_a.zone) {
                if slots[b] == usize::from(Partition::COUNT) {
                    continue;
                }
                // slots <= rate * capacity + 1 and slots > rate * capacity - 1, with one rate for both.
                let per_byte_most = (slots[b] + 1) as f64 / member_b.capacity as f64;
                let most = (per_byte_most * member_a.capacity as f64).min(PARTITIONS) + 1.0;
                prop_assert!(slots[a] as f64 <= most * (1.0 + 1e-9), "{a} holds {} of {most}", slots[a]);
            }
        }
    }
}

#[test]
fn three_equal_nodes_hold_everything_and_share_leadership() {
    let layout = first_layout(&nodes([("a", 100), ("b", 100), ("c", 100)]), 3).unwrap();
    assert!(slots(&layout).values().all(|&slots| slots == 1024));
    assert_eq!(led(&layout).into_values().collect::<BTreeSet<_>>(), BTreeSet::from([341, 342]));
}

#[test]
fn what_a_node_led_falls_to_the_others_evenly() {
    let layout = first_layout(&nodes([("a", 100), ("b", 100), ("c", 100)]), 3).unwrap();
    let mut heirs = BTreeMap::<(NodeId, NodeId), usize>::new();
    for partition in &layout.partitions {
        *heirs.entry((partition.replicas[0], partition.replicas[1])).or_default() += 1;
    }
    assert_eq!(heirs.len(), 6);
    assert!(heirs.values().all(|&count| (130..=211).contains(&count)), "{heirs:?}");
}

#[test]
fn a_lost_node_is_rebuilt_from_many() {
    let layout = first_layout(&nodes((0..30).map(|at| (at % 3, 100))), 3).unwrap();
    let lost = NodeId(1);
    let mut partners = BTreeSet::<NodeId>::new();
    for partition in layout.partitions.iter().filter(|partition| partition.replicas.contains(&lost)) {
        partners.extend(partition.replicas.iter().copied().filter(|&node| node != lost));
    }
    assert_eq!(partners.len(), 20, "every node of the other two zones shares partitions with it");
}

#[test]
fn a_node_twice_the_size_holds_twice_as_much() {
    let layout = first_layout(&nodes([("a", 1), ("b", 2), ("c", 1), ("d", 2), ("e", 2)]), 2).unwrap();
    let held: Vec<usize> = slots(&layout).into_values().collect();
    assert_eq!(held, [256, 512, 256, 512, 512]);
}

#[test]
fn a_zone_too_small_for_its_share_takes_all_it_can_and_the_rest_is_shared() {
    // Three zones, three replicas: each holds one of everything, however small.
    let mut members = vec![("small", 1)];
    members.extend([("b", 100); 4]);
    members.extend([("c", 300); 4]);
    let held: Vec<usize> = slots(&first_layout(&nodes(members), 3).unwrap()).into_values().collect();
    assert_eq!(held, [1024, 256, 256, 256, 256, 256, 256, 256, 256]);
}

#[test]
fn a_node_too_big_for_its_share_holds_one_of_everything() {
    let held: Vec<usize> =
        slots(&first_layout(&nodes([("a", 1_000), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]), 3).unwrap())
            .into_values()
            .collect();
    assert_eq!(held, [1024, 512, 512, 512, 512]);
}

#[test]
fn fewer_zones_than_replicas_are_used_as_evenly_as_they_can() {
    let layout =
        first_layout(&nodes([("a", 1), ("a", 1), ("a", 1), ("b", 1), ("b", 1), ("b", 1)]), 3).unwrap();
    assert!(slots(&layout).values().all(|&slots| slots == 512));
    // One node in b: it holds everything, and a gives two of its three.
    let layout = first_layout(&nodes([("a", 3), ("a", 3), ("a", 3), ("b", 1)]), 3).unwrap();
    let held: Vec<usize> = slots(&layout).into_values().collect();
    assert_eq!(held.iter().sum::<usize>(), 3 * 1024);
    assert_eq!(held[3], 1024);
    assert!(held[..3].iter().all(|held| (682..=683).contains(held)), "{held:?}");
}

#[test]
fn a_layout_stays_the_same_between_releases() {
    let layout = first_layout(&nodes((0..9).map(|at| (at % 3, 100 + at))), 3).unwrap();
    let mut hasher = blake3::Hasher::new();
    for node in layout.partitions.iter().flat_map(|partition| &partition.replicas) {
        hasher.update(&node.to_bytes());
    }
    assert_eq!(
        hasher.finalize().to_hex()[..16],
        *"9cec18e8a3901386",
        "planners of different releases may run side by side: they must agree"
    );
}

#[test]
fn a_thousand_nodes_are_planned_and_balanced() {
    let nodes = nodes((0..1000_u64).map(|at| (at % 7, 1_000 + at % 5)));
    let layout = first_layout(&nodes, 3).unwrap();
    check_shape(&layout, &nodes, 3).unwrap();
    assert!(slots(&layout).values().all(|slots| (2..=5).contains(slots)));
}

#[test]
fn too_few_nodes_are_refused_with_the_number_needed() {
    let error = first_layout(&nodes([("a", 1), ("b", 1)]), 3).unwrap_err();
    assert_eq!(error, PlanError::TooFewNodes { needed: 3, have: 2 });
    assert_eq!(
        error.to_string(),
        "3 replicas need 3 nodes and there are 2: start 1 more, or choose a replication factor of at most 2"
    );
    assert_eq!(first_layout(&Nodes::new(), 1), Err(PlanError::TooFewNodes { needed: 1, have: 0 }));
}

#[test]
fn a_replication_factor_out_of_range_is_refused() {
    let nodes = nodes([("a", 1); 9]);
    for asked in [0, 8, 255] {
        let error = first_layout(&nodes, asked).unwrap_err();
        assert_eq!(error, PlanError::Replication { asked });
        assert_eq!(error.to_string(), format!("the replication factor is {asked}: choose 1 to 7"));
    }
}

#[test]
fn a_node_without_capacity_is_refused() {
    let error = first_layout(&nodes([("a", 1), ("b", 0)]), 1).unwrap_err();
    assert_eq!(error, PlanError::NoCapacity { node: NodeId(2) });
}
