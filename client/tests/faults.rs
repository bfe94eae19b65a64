//! Nodes that die, hang, lose answers or damage bytes: what the client makes of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod faulty;

use std::time::{Duration, Instant};

use faulty::{Fault, FaultyCluster};
use holdfast::{Client, ClientOptions, Code, Condition, DeleteOptions, GetOptions, Outcome, PutOptions};

fn client(cluster: &FaultyCluster, timeout: Duration) -> Client {
    let options = ClientOptions { timeout, ..ClientOptions::new(cluster.urls()) };
    Client::new(options).unwrap()
}

/// Puts and gets from 16 tasks while `fault` strikes; the longest call.
async fn load(client: &Client, strike: impl FnOnce()) -> Duration {
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                let (begin, mut longest) = (Instant::now(), Duration::ZERO);
                for n in 0.. {
                    if begin.elapsed() > Duration::from_millis(1500) {
                        return longest;
                    }
                    let key = format!("{task}/{}", n % 50);
                    let call = Instant::now();
                    client.put("b", &key, key.clone(), PutOptions::default()).await.unwrap();
                    longest = longest.max(call.elapsed());
                    let call = Instant::now();
                    assert_eq!(client.get("b", &key, GetOptions::default()).await.unwrap().body, key);
                    longest = longest.max(call.elapsed());
                }
                longest
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    strike();
    let mut longest = Duration::ZERO;
    for task in tasks {
        longest = longest.max(task.await.unwrap());
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_fails_nothing_and_costs_little() {
    let mut cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_secs(10));
    let longest = load(&client, || cluster.kill(1)).await;
    assert!(longest < Duration::from_millis(300), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_fails_nothing_and_costs_a_hedge() {
    let cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_secs(10));
    let longest = load(&client, || cluster.set(1, Fault::Hangs)).await;
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_turns_all_away_fails_nothing() {
    let cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_secs(10));
    let longest = load(&client, || cluster.set(1, Fault::Unavailable)).await;
    assert!(longest < Duration::from_millis(300), "{longest:?}");
}

#[tokio::test]
async fn one_address_is_enough_to_outlive_its_node() {
    let mut cluster = FaultyCluster::start();
    let client = Client::connect([cluster.urls()[0].clone()]).unwrap();
    client.put("b", "k", "x", PutOptions::default()).await.unwrap();
    // The topology comes beside the first call; the next ones are spread by it.
    let begin = Instant::now();
    while cluster.requests(1) + cluster.requests(2) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "the topology was never learnt");
        client.get("b", "k", GetOptions::default()).await.unwrap();
    }
    cluster.kill(0);
    for n in 0..20 {
        client.put("b", &format!("k{n}"), "x", PutOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_answer_never_applies_twice() {
    let cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_secs(10));
    client.put("b", "warm", "x", PutOptions::default()).await.unwrap();
    cluster.set(0, Fault::LosesAnswers);
    let before = cluster.truth.lock().unwrap().applied;
    for n in 0..10 {
        let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
        client.put("b", &format!("k{n}"), "x", options).await.unwrap();
        assert!(client.delete("b", &format!("k{n}"), DeleteOptions::default()).await.unwrap().found);
    }
    assert_eq!(cluster.truth.lock().unwrap().applied - before, 20);
}

#[tokio::test]
async fn an_unknown_outcome_names_its_operation_and_can_be_settled() {
    let cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_millis(400));
    cluster.set_all(Fault::LosesAnswers);
    let error = client.put("b", "did", "x", PutOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::OutcomeUnknown);
    let did = error.op_id().unwrap();
    assert!(error.to_string().contains(&did.to_string()), "{error}");
    cluster.set_all(Fault::Hangs);
    let error = client.put("b", "did-not", "x", PutOptions::default()).await.unwrap_err();
    let did_not = error.op_id().unwrap();
    assert_eq!(*error.code(), Code::OutcomeUnknown);
    let error = client.get("b", "did", GetOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::Timeout);
    cluster.set_all(Fault::None);
    assert!(matches!(client.outcome("b", "did", did).await.unwrap(), Outcome::Committed(_)));
    assert_eq!(client.outcome("b", "did-not", did_not).await.unwrap(), Outcome::Fenced);
    // And stays settled.
    let options = PutOptions { op_id: Some(did_not), ..PutOptions::default() };
    let error = client.put("b", "did-not", "x", options).await.unwrap_err();
    assert_eq!(*error.code(), Code::Fenced);
}

#[tokio::test]
async fn nobody_there_did_not_happen() {
    let mut cluster = FaultyCluster::start();
    (0..3).for_each(|node| cluster.kill(node));
    let client = client(&cluster, Duration::from_millis(300));
    let error = client.put("b", "k", "x", PutOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::Unavailable, "{error}");
    let error = client.get("b", "k", GetOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn a_damaged_body_comes_from_another_node_or_not_at_all() {
    let cluster = FaultyCluster::start();
    let client = client(&cluster, Duration::from_secs(10));
    client.put("b", "k", "hello", PutOptions::default()).await.unwrap();
    cluster.set(0, Fault::DamagesBodies);
    cluster.set(1, Fault::DamagesBodies);
    for _ in 0..10 {
        assert_eq!(client.get("b", "k", GetOptions::default()).await.unwrap().body, "hello");
    }
    cluster.set(2, Fault::DamagesBodies);
    let error = client.get("b", "k", GetOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::Integrity);
}
