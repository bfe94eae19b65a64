//! A graceful stop: nothing new comes in, what is in flight is finished, but not for ever.

use std::time::Duration;

use http_body_util::Full;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, PATIENCE, request};
use crate::memory::SLOW_KEY;

#[tokio::test]
async fn requests_in_flight_are_finished() {
    let bed = Bed::start().await;
    let idle = TcpStream::connect(&bed.address).await.unwrap();
    let slow = request("GET", &format!("/o/b/{SLOW_KEY}")).body(Full::default()).unwrap();
    let (answer, ()) = tokio::join!(bed.http(slow), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bed.stop.cancel();
    });
    assert_eq!(answer.status(), 404);
    drop(idle);
    timeout(PATIENCE, bed.served).await.expect("it stops").unwrap();
    assert!(TcpStream::connect(&bed.address).await.is_err());
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_it_up() {
    let bed = Bed::with_grace(Duration::from_millis(200)).await;
    let mut half = TcpStream::connect(&bed.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"PUT /o/b/k HTTP/1.1\r\ncontent-length: 9\r\n\r\n12")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    bed.stop.cancel();
    timeout(PATIENCE, bed.served).await.expect("it stops").unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, half.read_to_end(&mut rest)).await.expect("it was closed");
}
