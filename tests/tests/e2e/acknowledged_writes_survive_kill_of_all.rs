//! An acknowledged write is on disk: all nodes killed at once under load, started again, and every one is there.

use std::time::Duration;

use holdfast_tests::cluster::RegistryKind;

use crate::load::Load;
use crate::scale;
use crate::scene::{client_of, play, three_nodes};

const WORKERS: usize = 16;

#[test]
fn every_acknowledged_write_is_there_after_kill_of_all() {
    let rounds = scale::rounds(3, 20);
    let mut cluster = three_nodes(RegistryKind::Embedded);
    play(async {
        let mut all = Vec::new();
        for round in 1..=rounds {
            let client = client_of(&cluster);
            let load = Load::start(&client, WORKERS, &format!("round-{round}"));
            // Not always at the same place of a commit or checkpoint.
            tokio::time::sleep(Duration::from_millis(700 + u64::from(round) * 137 % 900)).await;
            for node in &mut cluster.nodes {
                node.kill().unwrap();
            }
            // What is under way fails now, and may: it was not acknowledged. The workers must not wait it out.
            let finished = tokio::spawn(load.finish());
            for node in &mut cluster.nodes {
                node.restart().unwrap();
            }
            let begun = std::time::Instant::now();
            tokio::task::block_in_place(|| cluster.wait_ready()).unwrap_or_else(|error| panic!("{error}"));
            let ready = begun.elapsed();
            let seen = finished.await.unwrap();
            assert!(seen.wrong.is_empty(), "wrong reads: {:?}", seen.wrong);
            seen.assert_kept(&client).await;
            println!(
                "round {round}: {} operations before the kill, all acknowledged writes there; ready again in {} ms",
                seen.succeeded,
                ready.as_millis()
            );
            all.push(seen);
        }
        let client = client_of(&cluster);
        for seen in &all {
            seen.assert_kept(&client).await;
        }
    });
}
