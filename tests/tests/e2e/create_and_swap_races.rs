//! Conditional writes are atomic from every node: one winner for each key, and counters that miss no step.

use std::sync::Arc;

use holdfast::{Client, Code, Condition, GetOptions, PutOptions};
use holdfast_tests::cluster::RegistryKind;
use tokio::task::JoinSet;

use crate::scale;
use crate::scene::{BUCKET, play, three_nodes};

const WRITERS: usize = 8;
/// Keys that are fought for at the same time.
const KEYS_AT_ONCE: usize = 8;
const COUNTERS: usize = 4;

/// One client for each writer, in turn through different nodes. Each knows one address; that it learns the others
/// does not matter here.
fn writers(urls: &[String]) -> Vec<Client> {
    (0..WRITERS)
        .map(|writer| Client::connect([urls[writer % urls.len()].clone()]).expect("the address is valid"))
        .collect()
}

#[test]
fn one_of_eight_creators_wins_each_key() {
    let cluster = three_nodes(RegistryKind::Embedded);
    let keys = scale::choose(1_000, 10_000);
    play(async {
        let writers = Arc::new(writers(&cluster.urls()));
        let mut groups = JoinSet::new();
        for group in 0..KEYS_AT_ONCE {
            let writers = Arc::clone(&writers);
            groups.spawn(async move {
                for number in (group..keys).step_by(KEYS_AT_ONCE) {
                    fight(&writers, &format!("create/{number}")).await;
                }
            });
        }
        while let Some(group) = groups.join_next().await {
            group.unwrap();
        }
        println!("{keys} keys, {WRITERS} writers each: one winner for every key");
    });
}

/// All writers create `key` at once: exactly one may, and its body is there afterwards, from every writer's view.
async fn fight(writers: &[Client], key: &str) {
    let mut attempts = JoinSet::new();
    for (writer, client) in writers.iter().enumerate() {
        let (client, key) = (client.clone(), key.to_owned());
        attempts.spawn(async move {
            let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
            (writer, client.put(BUCKET, &key, format!("writer {writer}"), options).await)
        });
    }
    let mut winners = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt.expect("no attempt panics") {
            (writer, Ok(info)) => winners.push((writer, info.version)),
            (_, Err(error)) => {
                assert!(matches!(error.code(), Code::ConditionFailed(Some(_))), "{key}: {error}");
            }
        }
    }
    let [(writer, version)] = winners[..] else { panic!("{key} has the winners {winners:?}") };
    let object = writers[(writer + 1) % writers.len()].get(BUCKET, key, GetOptions::default()).await;
    let object = object.unwrap_or_else(|error| panic!("{key}: {error}"));
    assert_eq!(object.body, format!("writer {writer}"), "{key}");
    assert_eq!(object.info.version, version, "{key}");
}

#[test]
fn counters_by_compare_and_swap_are_exact() {
    let cluster = three_nodes(RegistryKind::Embedded);
    let steps = scale::choose(50_u64, 500);
    play(async {
        let writers = writers(&cluster.urls());
        for counter in 0..COUNTERS {
            let key = format!("counter/{counter}");
            writers[0].put(BUCKET, &key, "0", PutOptions::default()).await.unwrap();
        }
        let mut all = JoinSet::new();
        for client in &writers {
            let client = client.clone();
            all.spawn(async move {
                let mut lost = 0;
                for step in 0..steps {
                    let key = format!("counter/{}", step % COUNTERS as u64);
                    lost += add_one(&client, &key).await;
                }
                lost
            });
        }
        let mut lost = 0;
        while let Some(result) = all.join_next().await {
            lost += result.unwrap();
        }
        let mut sum = 0;
        for counter in 0..COUNTERS {
            sum += value(&writers[0], &format!("counter/{counter}")).await.0;
        }
        println!("{WRITERS} writers, {steps} steps each: the sum is {sum}; {lost} swaps came too late");
        assert_eq!(sum, steps * WRITERS as u64);
    });
}

/// Adds one, however often others come first; how often they did.
async fn add_one(client: &Client, key: &str) -> u64 {
    let mut lost = 0;
    loop {
        let (number, version) = value(client, key).await;
        let options = PutOptions { condition: Condition::IfVersion(version), ..PutOptions::default() };
        match client.put(BUCKET, key, (number + 1).to_string(), options).await {
            Ok(_) => return lost,
            Err(error) if matches!(error.code(), Code::ConditionFailed(_)) => lost += 1,
            Err(error) => panic!("{key}: {error}"),
        }
    }
}

async fn value(client: &Client, key: &str) -> (u64, holdfast::Version) {
    let object =
        client.get(BUCKET, key, GetOptions::default()).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    let text = std::str::from_utf8(&object.body).expect("counters are text");
    (text.parse().expect("counters are numbers"), object.info.version)
}
