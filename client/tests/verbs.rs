//! Every verb against servers without faults: what goes in comes out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod faulty;

use bytes::Bytes;
use faulty::FaultyCluster;
use futures_util::TryStreamExt as _;
use holdfast::{
    Client, Code, Condition, DeleteOptions, GetItem, GetOptions, ListOptions, Outcome, PutItem, PutOptions,
    Range,
};

fn start() -> (FaultyCluster, Client) {
    let cluster = FaultyCluster::start();
    let client = Client::connect(cluster.urls()).unwrap();
    (cluster, client)
}

#[tokio::test]
async fn a_put_is_read_back_whole_and_in_parts() {
    let (_cluster, client) = start();
    let options = PutOptions {
        content_type: "text/plain".into(),
        metadata: [("who".to_owned(), "我".to_owned())].into(),
        ..PutOptions::default()
    };
    let key = "a b/'\"%#?/文件.txt";
    let put = client.put("b", key, "hello", options).await.unwrap();
    assert_eq!(put.hash_hex(), blake3::hash(b"hello").to_hex().as_str());
    let got = client.get("b", key, GetOptions::default()).await.unwrap();
    assert_eq!((got.info.clone(), &got.body[..], got.offset), (put.clone(), &b"hello"[..], 0));
    for (range, offset, body) in
        [(Range::From(1), 1, "ello"), (Range::FromTo(1, 2), 1, "el"), (Range::Last(2), 3, "lo")]
    {
        let got =
            client.get("b", key, GetOptions { range: Some(range), ..GetOptions::default() }).await.unwrap();
        assert_eq!((got.offset, &got.body[..]), (offset, body.as_bytes()));
    }
    let known = GetOptions { if_none_match: Some(put.version), ..GetOptions::default() };
    assert!(client.get("b", key, known).await.unwrap().not_modified);
    let head = client.head("b", key).await.unwrap();
    assert_eq!((head.info, head.replicas.len()), (put, 3));
}

#[tokio::test]
async fn conditions_hold_or_say_what_is_there() {
    let (_cluster, client) = start();
    let absent = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
    let first = client.put("b", "k", "1", absent.clone()).await.unwrap();
    let error = client.put("b", "k", "2", absent).await.unwrap_err();
    assert_eq!(*error.code(), Code::ConditionFailed(Some(first.version)));
    let swap = PutOptions { condition: Condition::IfVersion(first.version), ..PutOptions::default() };
    client.put("b", "k", "3", swap.clone()).await.unwrap();
    assert!(matches!(client.put("b", "k", "4", swap).await.unwrap_err().code(), Code::ConditionFailed(_)));
    let never = client.get("b", "none", GetOptions::default()).await.unwrap_err();
    assert_eq!((never.is_not_found(), never.version()), (true, None));
    let deleted = client.delete("b", "k", DeleteOptions::default()).await.unwrap();
    assert!(deleted.found && deleted.version > Some(first.version));
    let nothing = client.delete("b", "k", DeleteOptions::default()).await.unwrap();
    assert!(!nothing.found && nothing.version == deleted.version);
    let gone = client.get("b", "k", GetOptions::default()).await.unwrap_err();
    assert_eq!((gone.is_not_found(), gone.version()), (true, deleted.version));
    let present = PutOptions { condition: Condition::IfPresent, ..PutOptions::default() };
    let refused = client.put("b", "k", "5", present).await.unwrap_err();
    assert_eq!((refused.code(), refused.version()), (&Code::ConditionFailed(None), deleted.version));
}

#[tokio::test]
async fn listing_goes_page_by_page() {
    let (_cluster, client) = start();
    for n in 0..25 {
        client.put("b", &format!("p/{n:02}"), "x", PutOptions::default()).await.unwrap();
    }
    client.put("b", "q", "x", PutOptions::default()).await.unwrap();
    let options = ListOptions { prefix: "p/".into(), page_size: 10, ..ListOptions::default() };
    let mut lister = client.list("b", options.clone()).unwrap();
    let mut sizes = Vec::new();
    while let Some(page) = lister.next_page().await.unwrap() {
        sizes.push(page.objects.len());
    }
    assert_eq!(sizes, [10, 10, 5]);
    let all: Vec<_> = client.list("b", options).unwrap().entries().try_collect().await.unwrap();
    let names: Vec<_> = all.iter().map(|entry| entry.name().to_owned()).collect();
    assert_eq!(names, (0..25).map(|n| format!("p/{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outcome_is_settled_for_good() {
    let (_cluster, client) = start();
    let op_id = client.fresh_op_id();
    let options = PutOptions { op_id: Some(op_id), ..PutOptions::default() };
    let info = client.put("b", "k", "x", options.clone()).await.unwrap();
    assert_eq!(client.outcome("b", "k", op_id).await.unwrap(), Outcome::Committed(info.version));
    // Repeating it is the same mutation.
    assert_eq!(client.put("b", "k", "x", options).await.unwrap().version, info.version);
    assert_eq!(client.outcome("b", "k", client.fresh_op_id()).await.unwrap(), Outcome::Fenced);
}

#[tokio::test]
async fn many_items_each_have_their_own_result() {
    let (_cluster, client) = start();
    client.put("b", "taken", "x", PutOptions::default()).await.unwrap();
    let item = |key: &str, condition| PutItem {
        bucket: "b".into(),
        key: key.into(),
        body: Bytes::from(key.to_owned()),
        options: PutOptions { condition, ..PutOptions::default() },
    };
    let mut items: Vec<_> = (0..500).map(|n| item(&format!("k{n}"), Condition::Always)).collect();
    items.push(item("taken", Condition::IfAbsent));
    items.push(item("", Condition::Always));
    let results = client.put_many(items).await;
    assert!(results[..500].iter().all(Result::is_ok));
    assert!(matches!(results[500].as_ref().unwrap_err().code(), Code::ConditionFailed(Some(_))));
    assert_eq!(*results[501].as_ref().unwrap_err().code(), Code::Invalid);
    let item = |key: &str| GetItem { bucket: "b".into(), key: key.into(), options: GetOptions::default() };
    let mut items: Vec<_> = (0..500).map(|n| item(&format!("k{n}"))).collect();
    items.push(item("missing"));
    let got = client.get_many(items).await;
    for (n, object) in got[..500].iter().enumerate() {
        assert_eq!(object.as_ref().unwrap().body, format!("k{n}"));
    }
    assert!(got[500].as_ref().unwrap_err().is_not_found());
}

#[tokio::test]
async fn refusals_come_back_typed() {
    let (_cluster, client) = start();
    let body = vec![0; (1 << 20) + 1];
    let error = client.put("b", "k", body, PutOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::TooLarge(1 << 20));
    let error = client.put("B!", "k", "x", PutOptions::default()).await.unwrap_err();
    assert_eq!(*error.code(), Code::Invalid);
    assert!(Client::connect(["nowhere"]).is_err());
    assert!(Client::connect(Vec::<String>::new()).is_err());
}
