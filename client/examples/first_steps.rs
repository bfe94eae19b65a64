//! Put, get, compare-and-swap, list, delete.
//!
//! Start a node (`node serve`), then: `cargo run -p holdfast --example first_steps -- http://127.0.0.1:7070`

use futures_util::TryStreamExt as _;
use holdfast::{Client, Code, Condition, DeleteOptions, Error, GetOptions, ListOptions, PutOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7070".to_owned());
    let client = Client::connect([url])?;

    let first = client.put("examples", "greeting", "hello", PutOptions::default()).await?;
    println!("put  version {} blake3 {}", first.version, first.hash_hex());

    let got = client.get("examples", "greeting", GetOptions::default()).await?;
    println!("get  {} bytes: {}", got.info.size, String::from_utf8_lossy(&got.body));

    // Only if nobody changed it since `first`.
    let swap = PutOptions { condition: Condition::IfVersion(first.version), ..PutOptions::default() };
    let second = client.put("examples", "greeting", "hello, world", swap.clone()).await?;
    println!("swap version {}", second.version);

    // The same again fails: the version is another one now.
    match client.put("examples", "greeting", "too late", swap).await {
        Err(error) if matches!(error.code(), Code::ConditionFailed(_)) => println!("swap {error}"),
        other => println!("swap unexpectedly: {other:?}"),
    }

    let entries: Vec<_> = client.list("examples", ListOptions::default())?.entries().try_collect().await?;
    println!("list {:?}", entries.iter().map(|entry| entry.name()).collect::<Vec<_>>());

    let deleted = client.delete("examples", "greeting", DeleteOptions::default()).await?;
    println!("del  {}", deleted.found);
    Ok(())
}
