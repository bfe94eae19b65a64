//! Any node serves any key, whoever wrote it and wherever.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use holdfast::{Code, Condition, GetOptions, ListOptions, PutOptions};
use sim::client::BUCKET;
use sim::{WorldOptions, scenario};

scenario!(puts_and_lookups_through_all_three_nodes, WorldOptions::default(), |world| {
    world.wait_whole();
    let nodes = world.nodes();
    world.call("c0", move |client| async move {
        for (at, writer) in nodes.iter().enumerate() {
            for number in 0..4 {
                let key = format!("{writer}/{number}");
                let through = client.only(writer);
                let put = through.put(BUCKET, &key, key.clone(), PutOptions::default()).await.unwrap();
                for reader in &nodes {
                    let got = client.only(reader).get(BUCKET, &key, GetOptions::default()).await.unwrap();
                    assert_eq!((got.info.version, &got.body[..]), (put.version, key.as_bytes()));
                }
                let other = client.only(&nodes[(at + 1) % nodes.len()]);
                let options = PutOptions { condition: Condition::IfAbsent, ..PutOptions::default() };
                let refused = other.put(BUCKET, &key, "no", options).await.unwrap_err();
                assert_eq!(*refused.code(), Code::ConditionFailed(Some(put.version)));
            }
        }
        for reader in &nodes {
            let mut lister = client.only(reader).list(BUCKET, ListOptions::default()).unwrap();
            let page = lister.next_page().await.unwrap().unwrap();
            assert_eq!(page.objects.len(), 12);
        }
    });
});

scenario!(what_was_written_is_read_until_it_is_deleted, WorldOptions::default(), |world| {
    world.wait_whole();
    world.call("c0", |client| async move {
        let first = client.put("key", Condition::IfAbsent, 10).await.unwrap();
        assert_eq!(client.get("key").await.unwrap().unwrap().0, first);
        let second = client.put("key", Condition::IfVersion(first), 3000).await.unwrap();
        assert!(second > first);
        assert_eq!(client.head("key").await.unwrap(), Some(second));
        assert!(client.put("key", Condition::IfVersion(first), 0).await.is_err());
        assert_eq!(client.list("k", &["key".to_owned()]).await.unwrap().len(), 1);
        assert!(client.delete("key", Condition::Always).await.unwrap());
        assert!(!client.delete("key", Condition::Always).await.unwrap());
        assert_eq!(client.get("key").await.unwrap(), None);
    });
});
