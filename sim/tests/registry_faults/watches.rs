//! Watches that tell late, twice, or not at all.

use std::time::Duration;

use sim::registry::RegistryFault;
use sim::{World, scenario};

use crate::bed::{S, all_registered_within, bitten, serving, short_leases, survives};

/// A node leaves and comes back: registrations to tell of.
fn a_node_restarts(world: &mut World) {
    world.ask_to_stop("n2");
    while world.is_running("n2") {
        world.step();
    }
    world.restart("n2");
    world.run_for(S);
}

scenario!(events_come_seconds_late, short_leases(), |world| {
    survives(world, RegistryFault::LateEvents { late_ms: 1_500 }, 8 * S, |world| {
        world.registry().lock().begin(RegistryFault::RevokeOne);
    });
});

scenario!(watches_close_every_second, short_leases(), |world| {
    let serving = serving(world);
    for _ in 0..8 {
        world.registry().lock().begin(RegistryFault::CloseWatches);
        world.run_for(S / 2);
        world.registry().lock().begin(RegistryFault::RevokeOne);
        world.run_for(S / 2);
    }
    bitten(world, RegistryFault::CloseWatches);
    serving.well_within(world, 5 * S);
});

scenario!(watches_go_quiet_and_stay_open, short_leases(), |world| {
    // Longer than a follower waits for a sign of life, so that it opens watches that are quiet as well.
    survives(world, RegistryFault::QuietWatches, 10 * S, |world| {
        world.registry().lock().begin(RegistryFault::RevokeOne);
    });
});

scenario!(changes_are_told_again_after_each_reconnect, short_leases(), |world| {
    survives(world, RegistryFault::Duplicates { count: 3 }, 8 * S, |world| {
        world.registry().lock().begin(RegistryFault::RevokeOne);
        world.registry().lock().begin(RegistryFault::CloseWatches);
    });
});

scenario!(compaction_overtakes_late_watches, short_leases(), |world| {
    survives(world, RegistryFault::LateEvents { late_ms: 700 }, 8 * S, |world| {
        world.registry().lock().begin(RegistryFault::RevokeAll);
        world.run_for(S / 4);
        world.registry().lock().begin(RegistryFault::Compact);
    });
    bitten(world, RegistryFault::Compact);
});

/// What a watch never tells is found by listing again, 30 s later at the latest.
const RESYNC: Duration = Duration::from_secs(35);

scenario!(events_are_lost_in_silence, short_leases(), |world| {
    let serving = serving(world);
    let fault = RegistryFault::LoseEvents { percent: 100 };
    world.registry().lock().begin(fault);
    a_node_restarts(world);
    world.registry().lock().end(fault);
    bitten(world, fault);
    serving.well_within(world, RESYNC);
});

scenario!(compaction_swallows_events_in_silence, short_leases(), |world| {
    let serving = serving(world);
    let (late, loses) = (RegistryFault::LateEvents { late_ms: 3_000 }, RegistryFault::CompactionLoses);
    world.registry().lock().begin(late);
    world.registry().lock().begin(loses);
    a_node_restarts(world);
    world.registry().lock().begin(RegistryFault::Compact);
    world.run_for(S);
    world.registry().lock().end(late);
    world.registry().lock().end(loses);
    bitten(world, loses);
    all_registered_within(world, RESYNC);
    serving.well_within(world, S);
});
