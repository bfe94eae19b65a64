//! Leases that end too early, and keepalives that are acknowledged for nothing.

use sim::registry::RegistryFault;
use sim::{WorldOptions, scenario};

use crate::bed::{NODES, S, bitten, serving, short_leases, survives};

scenario!(an_old_leader_acknowledges_keepalives_of_leases_that_run_out, short_leases(), |world| {
    survives(world, RegistryFault::OldLeader, 12 * S, |_| {});
});

scenario!(one_lease_after_the_other_is_revoked_early, WorldOptions::default(), |world| {
    let serving = serving(world);
    for _ in 0..8 {
        world.registry().lock().begin(RegistryFault::RevokeOne);
        world.run_for(S);
    }
    bitten(world, RegistryFault::RevokeOne);
    serving.well_within(world, 5 * S);
});

scenario!(every_lease_is_revoked_again_and_again, WorldOptions::default(), |world| {
    let serving = serving(world);
    for _ in 0..6 {
        world.registry().lock().begin(RegistryFault::RevokeAll);
        assert_eq!(world.registry().lock().keys(NODES).len(), 0);
        world.run_for(2 * S);
    }
    bitten(world, RegistryFault::RevokeAll);
    serving.well_within(world, 5 * S);
});
