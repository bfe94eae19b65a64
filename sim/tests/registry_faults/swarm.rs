//! Random faults of the registry, one after the other and together.

use std::time::Duration;

use sim::registry::RegistryFault;
use sim::trace::Trace;
use sim::{World, isolate};

use crate::bed::{serving, short_leases};

/// Seeds of one `cargo test`.
const SEEDS: u64 = 16;
/// So many of them run twice, and their traces are compared.
const COMPARED: u64 = 2;
const FAULTS: u64 = 12;
/// A listing must have gone over whatever watches lost.
const WELL_WITHIN: Duration = Duration::from_secs(35);

#[test]
fn random_faults_of_the_registry() {
    let test = concat!(module_path!(), "::random_faults_of_the_registry");
    isolate::sweep(test, 0..SEEDS, COMPARED, seed);
}

fn seed(seed: u64, trace: Trace) {
    let mut random = sim::Random::new(seed, "registry faults");
    let mut world = World::new(seed, &short_leases(), trace);
    let serving = serving(&mut world);
    let mut lasting = Vec::new();
    for number in 0..FAULTS {
        let mut own = random.fork(&format!("fault {number}"));
        let fault = RegistryFault::of_kind(own.below(RegistryFault::KINDS), &mut own);
        world.registry().lock().begin(fault);
        if fault.lasts() {
            lasting.push((world.now() + own.log_ms(100, 8_000), fault));
        }
        world.run_for(random.log_ms(2, 4_000));
        let now = world.now();
        lasting.retain(|(end, fault)| {
            let over = *end <= now;
            if over {
                world.registry().lock().end(*fault);
            }
            !over
        });
    }
    for (_, fault) in lasting {
        world.registry().lock().end(fault);
    }
    world.registry().lock().heal();
    let fired = world.registry().lock().fired();
    world.note(&format!("fired: {fired:?}"));
    serving.well_within(&mut world, WELL_WITHIN);
    world.finish();
}
