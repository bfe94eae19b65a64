//! What a program sees of a network: the same in both modes of the simulator, and on the machine's own loopback where that
//! can be made there.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdfast::Condition;
use node::env::{BoxIo, Net, real::RealNet};
use sim::client::SimClient;
use sim::{LinkOptions, Mode, World, WorldOptions, scenario};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

const S: Duration = Duration::from_secs(1);

fn options(mode: Mode) -> WorldOptions {
    WorldOptions { mode, ..WorldOptions::default() }
}

/// Each case in both modes.
macro_rules! in_both_modes {
    ($($case:ident)*) => {$(
        mod $case {
            use super::*;

            scenario!(direct, options(Mode::Direct), |world| { super::$case(world) });
            scenario!(wire, options(Mode::Wire), |world| { super::$case(world) });
        }
    )*};
}

in_both_modes! {
    connecting_into_a_cut_hangs_and_then_times_out
    connecting_to_nobody_is_refused
    a_cut_loses_no_call_when_it_is_short
    packet_loss_loses_no_call
    a_killed_peer_is_seen_at_once
    a_peer_without_power_says_nothing
    a_restarted_machine_resets_what_it_does_not_know
    a_reset_on_the_way_is_seen_at_once_and_new_connections_are_good
    what_is_sent_one_way_only_is_not_answered
    a_reader_that_stops_stops_the_writer
}

fn connecting_into_a_cut_hangs_and_then_times_out(world: &mut World) {
    world.cut("c0", "n0");
    let (took, error) = world.call("c0", |client| async move {
        let began = Instant::now();
        let error = client.net().connect("n0:7070".to_owned()).await.err().unwrap();
        (began.elapsed(), error)
    });
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(took > 60 * S && took < 600 * S, "{took:?}");
    world.heal("c0", "n0");
}

fn connecting_to_nobody_is_refused(world: &mut World) {
    world.run_for(S);
    world.kill("n0");
    world.call("c0", |client| refused(client.net(), "n0:7070".to_owned()));
}

async fn refused(net: Arc<dyn Net>, address: String) {
    let began = Instant::now();
    let error = net.connect(address).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(began.elapsed() < S);
}

async fn puts(client: SimClient, count: usize) {
    for number in 0..count {
        client.put(&format!("key-{number}"), Condition::Always, 20_000).await.unwrap();
        client.get(&format!("key-{number}")).await.unwrap();
    }
}

fn a_cut_loses_no_call_when_it_is_short(world: &mut World) {
    world.wait_whole();
    for node in world.nodes() {
        world.cut("c0", &node);
    }
    let job = world.spawn("c0", |client| puts(client, 3));
    world.run_for(S / 2);
    assert!(!job.is_done());
    for node in world.nodes() {
        world.heal("c0", &node);
    }
    world.wait(job);
}

fn packet_loss_loses_no_call(world: &mut World) {
    world.wait_whole();
    world.lose_everywhere(50);
    world.call("c0", |client| puts(client, 40));
    assert!(world.fired().contains_key("loss"));
    world.lose_everywhere(0);
}

async fn open(client: &SimClient) -> BoxIo {
    client.net().connect("n0:7070".to_owned()).await.unwrap()
}

/// The connection's end, and how long it took to be seen.
async fn end_of(mut io: BoxIo) -> (Duration, io::Result<usize>) {
    let began = Instant::now();
    let mut buffer = [0; 64];
    loop {
        match io.read(&mut buffer).await {
            Ok(read) if read > 0 => {}
            end => return (began.elapsed(), end),
        }
    }
}

fn a_killed_peer_is_seen_at_once(world: &mut World) {
    world.run_for(S);
    let job = world.spawn("c0", |client| async move { end_of(open(&client).await).await });
    world.run_for(S);
    world.kill("n0");
    let (took, end) = world.wait(job);
    assert!(took < S + S / 10, "it took {took:?}");
    assert!(!matches!(end, Ok(1..)), "{end:?}");
}

fn a_peer_without_power_says_nothing(world: &mut World) {
    world.run_for(S);
    let job = world.spawn("c0", |client| async move {
        let io = open(&client).await;
        timeout(8 * S, end_of(io)).await.is_err()
    });
    world.run_for(S);
    world.power_loss("n0");
    assert!(world.wait(job), "somebody told that the power was lost");
}

fn a_restarted_machine_resets_what_it_does_not_know(world: &mut World) {
    world.run_for(S);
    let job = world.spawn("c0", |client| async move {
        let mut io = open(&client).await;
        sleep(3 * S).await;
        // The first write finds a kernel that does not know the connection; the next ones an error.
        let mut error = None;
        for _ in 0..20 {
            if let Err(failed) = io.write_all(b"PRI * HTTP/2.0").await {
                error = Some(failed.kind());
                break;
            }
            sleep(S / 10).await;
        }
        error
    });
    world.run_for(S);
    world.power_loss("n0");
    world.run_for(S);
    world.restart("n0");
    let error = world.wait(job).expect("writing to a connection that nobody knows goes on");
    assert!(matches!(error, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error:?}");
}

fn a_reset_on_the_way_is_seen_at_once_and_new_connections_are_good(world: &mut World) {
    world.wait_whole();
    let opened = world.call("c0", |client| async move { open(&client).await });
    world.reset_connections("c0", 1000);
    let (took, end) = world.call("c0", |_| async move {
        let mut io = opened;
        io.write_all(b"PRI * HTTP/2.0").await.unwrap();
        end_of(io).await
    });
    assert!(took < S / 10, "it took {took:?}");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(world.fired().contains_key("reset"));
    world.reset_connections("c0", 0);
    world.call("c0", |client| puts(client, 3));
}

fn what_is_sent_one_way_only_is_not_answered(world: &mut World) {
    world.wait_whole();
    world.cut_one_way("n0", "c0");
    let job =
        world.spawn("c0", |client| async move { client.net().connect("n0:7070".to_owned()).await.is_ok() });
    world.run_for(2 * S);
    assert!(!job.is_done(), "an answer came through a cut");
    world.heal_one_way("n0", "c0");
    assert!(world.wait(job));
}

fn a_reader_that_stops_stops_the_writer(world: &mut World) {
    world.run_for(S);
    // A frozen process reads nothing, its kernel takes what there is room for.
    let job = world.spawn("c0", |client| async move {
        let io = open(&client).await;
        sleep(S).await;
        written_before_it_blocks(io).await
    });
    world.run_for(S / 2);
    world.freeze("n0");
    let written = world.wait(job);
    world.thaw("n0");
    assert!((1..8 << 20).contains(&written), "{written} bytes went into a connection that nobody reads");
}

async fn written_before_it_blocks(mut io: BoxIo) -> usize {
    let mut written = 0;
    let part = [0; 16 << 10];
    while let Ok(Ok(bytes)) = timeout(S / 2, io.write(&part)).await {
        written += bytes;
        if written > 64 << 20 {
            break;
        }
    }
    written
}

/// On the machine's own loopback.
mod on_real_sockets {
    use super::*;

    async fn pair() -> (BoxIo, BoxIo) {
        let mut listener = RealNet.listen("127.0.0.1:0".to_owned()).await.unwrap();
        let address = listener.local_address().unwrap();
        let (here, there) = tokio::join!(RealNet.connect(address), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn connecting_to_nobody_is_refused() {
        let listener = RealNet.listen("127.0.0.1:0".to_owned()).await.unwrap();
        let address = listener.local_address().unwrap();
        drop(listener);
        refused(Arc::new(RealNet), address).await;
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_seen_at_once() {
        let (here, there) = pair().await;
        drop(there);
        let (took, end) = end_of(here).await;
        assert!(took < S);
        assert!(!matches!(end, Ok(1..)), "{end:?}");
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_writer() {
        let (here, _there) = pair().await;
        let written = written_before_it_blocks(here).await;
        assert!((1..64 << 20).contains(&written));
    }

    #[tokio::test]
    async fn writing_to_a_connection_that_nobody_knows_is_an_error() {
        let (mut here, mut there) = pair().await;
        here.write_all(b"unread").await.unwrap();
        there.read_u8().await.unwrap();
        // With unread bytes the kernel resets.
        drop(there);
        let mut error = None;
        for _ in 0..20 {
            if let Err(failed) = here.write_all(b"more").await {
                error = Some(failed.kind());
                break;
            }
            sleep(S / 100).await;
        }
        assert!(
            matches!(error, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)),
            "{error:?}"
        );
    }
}

/// Latency is not below the least that was asked for, nor far above the most.
fn round_trip(mode: Mode) -> WorldOptions {
    let ms = Duration::from_millis;
    WorldOptions { link: LinkOptions { latency: ms(20), jitter: ms(10) }, ..options(mode) }
}

macro_rules! latency {
    ($name:ident, $mode:expr) => {
        scenario!($name, round_trip($mode), |world| {
            world.wait_whole();
            let took = world.call("c0", |client| async move {
                client.get("nothing").await.unwrap();
                let began = Instant::now();
                client.get("nothing").await.unwrap();
                began.elapsed()
            });
            // There and back, and once more between nodes.
            assert!(took >= Duration::from_millis(40) && took < Duration::from_millis(400), "{took:?}");
        });
    };
}

latency!(latency_direct, Mode::Direct);
latency!(latency_wire, Mode::Wire);
