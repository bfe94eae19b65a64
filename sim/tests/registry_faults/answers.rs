//! Requests that are refused, slow, or made without an answer, and changes of leader that do all of it.

use sim::registry::RegistryFault;
use sim::{WorldOptions, scenario};

use crate::bed::{LAYOUT, S, all_registered_within, bitten, serving, short_leases, survives};

scenario!(most_answers_are_lost, short_leases(), |world| {
    survives(world, RegistryFault::LoseAnswers { percent: 70 }, 20 * S, |_| {});
});

scenario!(the_registry_takes_seconds_to_answer, WorldOptions::default(), |world| {
    survives(world, RegistryFault::Slow { most_ms: 3_000 }, 20 * S, |_| {});
});

scenario!(the_registry_refuses_nearly_everything, short_leases(), |world| {
    // Longer than any lease: they run out, and nobody can register again.
    survives(world, RegistryFault::Refuse { percent: 90 }, 12 * S, |world| {
        world.registry().lock().begin(RegistryFault::RevokeOne);
    });
});

scenario!(one_leader_follows_the_other, short_leases(), |world| {
    let serving = serving(world);
    let change = RegistryFault::LeaderChange { away_ms: 900 };
    for _ in 0..10 {
        world.registry().lock().begin(change);
        world.run_for(2 * S);
    }
    bitten(world, change);
    serving.well_within(world, 5 * S);
});

scenario!(the_first_layout_is_made_once_though_answers_are_lost, short_leases(), |world| {
    let (lost, slow) = (RegistryFault::LoseAnswers { percent: 60 }, RegistryFault::Slow { most_ms: 400 });
    world.registry().lock().begin(lost);
    world.registry().lock().begin(slow);
    let began = world.now();
    while world.registry().lock().value(LAYOUT).is_none() {
        assert!(world.now() < began + 60 * S, "no layout");
        world.step();
    }
    let first = world.registry().lock().value(LAYOUT);
    world.run_for(20 * S);
    world.registry().lock().heal();
    bitten(world, lost);
    bitten(world, slow);
    world.wait_whole();
    all_registered_within(world, 5 * S);
    assert_eq!(world.registry().lock().value(LAYOUT), first);
});
