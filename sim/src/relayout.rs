//! Layouts that may follow one another: what an operator, or a planner, could write into the registry at any moment.
//!
//! Nodes do not copy records to new replicas yet, so no layout here ends a move: a partition's replicas change their order
//! (another node should lead it), a move begins (majorities of the replicas and of the next ones are needed), or a move is
//! given up. Each has a higher config, so that requests, promises and proposals of the old one are overtaken on their way.

use holdfast_core::ids::Partition;
use holdfast_core::placement::{Layout, PartitionLayout};

use crate::random::Random;

/// Of the other partitions, one in so many changes.
const OTHERS_ONE_IN: u64 = 16;

/// A layout to follow `layout`: about two thirds of `hot` change, and some of the other partitions.
pub fn next_layout(layout: &Layout, hot: &[Partition], random: &mut Random) -> Layout {
    let mut next = layout.clone();
    next.version += 1;
    let nodes: Vec<_> = layout.nodes.keys().copied().collect();
    for (partition, place) in Partition::all().zip(&mut next.partitions) {
        if !hot.contains(&partition) && !random.one_in(OTHERS_ONE_IN) {
            continue;
        }
        let PartitionLayout { config, replicas, next } = place;
        match random.below(6) {
            0 | 1 => continue,
            2 | 3 => replicas.rotate_left(1),
            4 if next.is_none() => {
                let from = random.index(nodes.len());
                let nodes = nodes.iter().cycle().skip(from);
                *next = Some(nodes.take(replicas.len()).copied().collect());
            }
            _ => *next = None,
        }
        config.0 += 1;
    }
    next
}

#[cfg(test)]
mod tests {
    use holdfast_core::ids::NodeId;
    use holdfast_core::placement::{Member, first_layout};
    use node::registry::{check_layout, check_successor};

    use super::*;

    #[test]
    fn each_layout_follows_the_one_before_and_their_majorities_meet() {
        let members =
            (1..=5).map(|node| (NodeId(node), Member { zone: String::new(), capacity: 1 })).collect();
        let mut layout = first_layout(&members, 3).unwrap();
        let mut random = Random::new(1, "layouts");
        let (mut moving, mut reordered) = (0, 0);
        let hot: Vec<_> = Partition::all().take(100).collect();
        for _ in 0..50 {
            let next = next_layout(&layout, &hot, &mut random);
            check_layout(&next).unwrap();
            check_successor(&layout, &next).unwrap();
            for (old, new) in layout.partitions.iter().zip(&next.partitions) {
                let sorted = |place: &PartitionLayout| {
                    let mut replicas = place.replicas.clone();
                    replicas.sort_unstable();
                    replicas
                };
                assert_eq!(
                    sorted(old),
                    sorted(new),
                    "both majorities are of these, whatever else they are of"
                );
                assert!(old == new || new.config.0 == old.config.0 + 1);
                moving += usize::from(new.next.is_some());
                reordered += usize::from(old.replicas != new.replicas);
            }
            layout = next;
        }
        assert!(moving > 1000 && reordered > 1000);
    }
}
