//! How a world is: whether nodes see each other, whose disks are sound, who has ended.

use std::time::Duration;

use holdfast_core::ids::NodeId;
use holdfast_core::placement::Layout;

use super::{LAYOUT, WHOLE_WITHIN, World, partition_of, zone_of};

impl World {
    /// Lets time pass until every node sees every other node and all partitions whole.
    pub fn wait_whole(&mut self) {
        assert!(self.becomes_whole(WHOLE_WITHIN), "the cluster is not whole after {WHOLE_WITHIN:?}");
    }

    /// The same. Says whether it did, within `limit`.
    pub fn becomes_whole(&mut self, limit: Duration) -> bool {
        self.come_to_see(limit, self.nodes(), |counts| counts.whole == counts.total)
    }

    /// Lets time pass until every node with a sound disk sees a majority of every partition. Says whether it did, within
    /// `limit`.
    pub(crate) fn becomes_available(&mut self, limit: Duration) -> bool {
        self.come_to_see(limit, self.sound_nodes(), |counts| counts.unavailable == 0)
    }

    fn come_to_see(
        &mut self,
        limit: Duration,
        nodes: Vec<String>,
        is_well: fn(&holdfast::PartitionCounts) -> bool,
    ) -> bool {
        let client = self.clients.keys().next().expect("a world without clients sees nothing").clone();
        let deadline = self.now() + limit;
        let job = self.spawn(&client, move |client| async move {
            for node in nodes {
                loop {
                    let status = client.status_of(&node).await;
                    if status.is_ok_and(|status| status.partitions.total > 0 && is_well(&status.partitions)) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        while !job.is_done() && self.now() < deadline {
            self.drive(deadline);
        }
        self.note("the cluster is whole, or should be");
        job.is_done()
    }

    /// The groups of nodes of which majorities are needed for these keys, by name: who holds each, as the registry's layout
    /// says, and who was to hold it by any layout that some node may still know. `None`: there is no layout.
    pub fn voters(&self, keys: &[String]) -> Option<Vec<Vec<String>>> {
        let layout = self.layout()?;
        let name = |id: &NodeId| {
            let zone = &layout.nodes.get(id)?.zone;
            self.nodes.keys().find(|node| zone_of(node) == *zone).cloned()
        };
        let mut groups = Vec::new();
        for layout in self.layouts.iter().chain([&layout]) {
            for key in keys {
                let place = layout.partition(partition_of(key));
                let ids = [Some(&place.replicas), place.next.as_ref()].into_iter().flatten();
                groups.extend(ids.map(|ids| ids.iter().filter_map(name).collect::<Vec<_>>()));
            }
        }
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }

    /// The node that should lead a key, by the registry's layout.
    pub(crate) fn usual_leader(&self, key: &str) -> Option<String> {
        self.usual_leaders(key).into_iter().next()
    }

    /// And those that should when it is gone, in their order.
    pub(crate) fn usual_leaders(&self, key: &str) -> Vec<String> {
        self.usual_leaders_of([key.to_owned()]).pop().map_or(Vec::new(), |(_, leaders)| leaders)
    }

    /// The same of many keys.
    pub(crate) fn usual_leaders_of(
        &self,
        keys: impl IntoIterator<Item = String>,
    ) -> Vec<(String, Vec<String>)> {
        let Some(layout) = self.layout() else { return Vec::new() };
        let name = |id| {
            let zone = &layout.nodes.get(id)?.zone;
            self.nodes.keys().find(|node| zone_of(node) == *zone).cloned()
        };
        let with_leaders = |key: String| {
            let replicas = &layout.partition(partition_of(&key)).replicas;
            let leaders = replicas.iter().filter_map(name).collect();
            (key, leaders)
        };
        keys.into_iter().map(with_leaders).collect()
    }

    /// What the registry holds for a layout.
    pub(crate) fn layout(&self) -> Option<Layout> {
        node::registry::decode_layout(&self.registry.lock().value(LAYOUT)?).ok()
    }

    /// The nodes whose disks have kept all that they said they would.
    pub fn sound_nodes(&self) -> Vec<String> {
        let sound = self.nodes.values().filter(|place| !place.disk.has_destroyed());
        sound.map(|place| place.name.clone()).collect()
    }

    /// Whether a node's process has ended without being asked, and why. One with a disk that destroys may do so.
    pub fn ended_by_itself(&self) -> Option<String> {
        let sound = self.nodes.values().filter(|place| !place.disk.has_destroyed());
        sound.into_iter().find_map(|place| match &place.end.lock().ended {
            Some(Err(error)) => Some(format!("{} ended by itself: {error}", place.name)),
            _ => None,
        })
    }
}
