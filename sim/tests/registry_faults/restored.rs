//! A registry that was emptied, or restored from an older backup, while nodes run: they have what it lost.

use std::sync::Arc;

use holdfast_core::placement::Layout;
use node::registry::{LayoutWrite, Registry, RegistryTiming, decode_layout};
use sim::registry::RegistryFault;
use sim::{World, WorldOptions, scenario};

use crate::bed::{LAYOUT, S, Serving, all_registered_within, bitten, serving, short_leases};

fn layout_of(world: &World) -> Option<Layout> {
    world.registry().lock().value(LAYOUT).map(|json| decode_layout(&json).unwrap())
}

/// Waits until the registry holds this version of the layout.
fn held_within(world: &mut World, version: u64, time: std::time::Duration) {
    let deadline = world.now() + time;
    while layout_of(world).map(|layout| layout.version) != Some(version) {
        assert!(world.now() < deadline, "layout {version} is not in the registry");
        world.step();
    }
}

/// The same placement under the next version.
fn next_version(world: &mut World) {
    let nodes = world.nodes();
    world.call("c0", |client| async move {
        let registry = Arc::new(client.registry());
        let registry = Registry::start(registry, "sim", RegistryTiming::default()).unwrap();
        let (layout, revision) = registry.layout().await.unwrap().unwrap();
        let next = Layout { version: layout.version + 1, ..Layout::clone(&layout) };
        let written = registry.replace_layout(revision, &next).await.unwrap();
        assert!(matches!(written, LayoutWrite::Done(_)), "{written:?}");
        for node in nodes {
            while client.status_of(&node).await.unwrap().layout_version != next.version {
                tokio::time::sleep(S / 20).await;
            }
        }
    });
}

fn works_at(world: &mut World, serving: Serving, version: u64) {
    all_registered_within(world, 5 * S);
    let nodes = world.nodes();
    world.call("c0", move |client| async move {
        for node in nodes {
            assert_eq!(client.status_of(&node).await.unwrap().layout_version, version);
        }
    });
    serving.well_within(world, S);
}

scenario!(an_emptied_registry_gets_the_layout_back, WorldOptions::default(), |world| {
    let serving = serving(world);
    world.registry().lock().begin(RegistryFault::Wipe);
    assert_eq!(layout_of(world), None);
    bitten(world, RegistryFault::Wipe);
    works_at(world, serving, 1);
});

scenario!(an_older_backup_gets_the_newer_layout_back, short_leases(), |world| {
    world.wait_whole();
    all_registered_within(world, 5 * S);
    world.registry().lock().begin(RegistryFault::Restore);
    next_version(world);
    let serving = serving(world);
    world.registry().lock().end(RegistryFault::Restore);
    bitten(world, RegistryFault::Restore);
    assert_eq!(layout_of(world).unwrap().version, 1);
    held_within(world, 2, 3 * S);
    works_at(world, serving, 2);
});

scenario!(nodes_that_start_next_to_an_older_backup_keep_the_newer_layout, short_leases(), |world| {
    world.wait_whole();
    all_registered_within(world, 5 * S);
    world.registry().lock().begin(RegistryFault::Restore);
    next_version(world);
    for node in world.nodes() {
        world.kill(&node);
    }
    world.registry().lock().end(RegistryFault::Restore);
    for node in world.nodes() {
        world.restart(&node);
    }
    held_within(world, 2, 5 * S);
    let serving = serving(world);
    works_at(world, serving, 2);
});

fn four_nodes() -> WorldOptions {
    WorldOptions { nodes: 4, ..short_leases() }
}

// A node with an empty disk knows no layout and makes one where there is none. In an emptied registry that would be a
// second first layout, under the same configs, whose majorities need not meet those of the first.
scenario!(a_new_node_makes_no_other_layout_in_an_emptied_registry, four_nodes(), |world| {
    let serving = serving(world);
    world.kill("n3");
    let disk = world.disk("n3").attach();
    for file in world.disk("n3").contents().keys() {
        disk.remove(file).unwrap();
    }
    // What the others see of it is late, so that the new one is first wherever it can be.
    world.registry().lock().begin(RegistryFault::LateEvents { late_ms: 1_000 });
    world.registry().lock().begin(RegistryFault::Wipe);
    world.restart("n3");
    let (deadline, wanted) = (world.now() + 10 * S, serving.layout().to_owned());
    while world.now() < deadline {
        let held = world.registry().lock().value(LAYOUT);
        assert!(held.is_none_or(|held| held == wanted), "another first layout was made");
        world.step();
    }
    world.registry().lock().heal();
    serving.well_within(world, 5 * S);
});
