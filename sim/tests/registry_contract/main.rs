//! The fake registry keeps the contract that etcd and the embedded registry keep: the node's own suite, over the
//! simulated network.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../../../node/tests/registry_contract/faulty.rs"]
mod faulty;
#[path = "../../../node/tests/registry_contract/suite.rs"]
#[allow(unused_macros, reason = "it makes tests on real time; a promise that is missing below is dead code")]
mod suite;

use std::sync::Arc;
use std::time::Duration;

use sim::{WorldOptions, scenario};
use suite::Pair;

fn registry_only() -> WorldOptions {
    WorldOptions { nodes: 0, ..WorldOptions::default() }
}

scenario!(a_compaction_during_watches, registry_only(), |world| {
    world.run_for(Duration::from_millis(10));
    let state = world.registry();
    world.call("c0", |client| {
        let (one, two) = (Arc::new(client.registry()), Arc::new(client.registry()));
        suite::a_compaction_during_watches(Pair { one, two }, async move |last| {
            let mut state = state.lock();
            assert_eq!(state.revision(), last);
            state.compact();
        })
    });
});

/// Each promise is a scenario: two handles of one client.
macro_rules! on_the_fake_registry {
    ($($promise:ident)*) => {$(
        scenario!($promise, registry_only(), |world| {
            // Until it listens.
            world.run_for(Duration::from_millis(10));
            world.call("c0", |client| {
                let (one, two) = (Arc::new(client.registry()), Arc::new(client.registry()));
                suite::$promise(Pair { one, two })
            });
        });
    )*};
}

on_the_fake_registry! {
    a_swap_names_its_predecessor
    a_lease_takes_its_keys_with_it
    a_key_under_a_new_lease_outlives_the_old_one
    a_key_written_without_a_lease_outlives_its_old_one
    what_expired_while_nobody_watched_is_told_later
    a_watch_tells_everything_in_order
    a_watch_never_goes_quiet
    registered_nodes_are_seen_and_expire
    a_lost_registration_comes_back
    who_knows_a_layout_registers_where_there_is_one
    one_of_many_creators_wins
    no_increment_is_lost
    a_lost_answer_is_settled
    a_bad_layout_leaves_the_last_good_one_in_force
    a_lost_revocation_is_sent_again
    what_watches_miss_is_found
    a_hung_registry_is_noticed_and_nobody_removed
}
