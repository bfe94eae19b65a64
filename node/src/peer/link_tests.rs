//! A link with its peer's end of the wire in the test's hands.

use futures_util::future::BoxFuture;
use holdfast_proto::v1::{PeerReply, PeerRequests};
use tokio::sync::mpsc;

use super::*;
use crate::env::{BoxIo, Listener, Net, real};

/// Hands the other end of every connection to the test.
struct Wires(mpsc::UnboundedSender<BoxIo>);

impl Net for Wires {
    fn connect(&self, _: String) -> BoxFuture<'static, io::Result<BoxIo>> {
        let (here, there) = tokio::io::duplex(1 << 20);
        let sent = self.0.send(Box::new(there)).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { sent.map(|()| Box::new(here) as BoxIo) })
    }

    fn listen(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("a link only connects")
    }
}

/// A peer that answers pings while it is awake, late or not.
async fn answer(io: BoxIo, node: NodeId, asleep: Arc<AtomicBool>) {
    let (reads, writes) = tokio::io::split(io);
    let mut frames = Frames::new(reads);
    let (outbox, mut writer) = outbox(writes);
    loop {
        let frame = tokio::select! {
            _ = writer.write() => return,
            frame = frames.next::<PeerRequests>() => frame,
        };
        let Ok(Some(frame)) = frame else { return };
        while asleep.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
        for request in frame.requests {
            let pong = Reply::Pong(v1::Pong { node: node.to_bytes().to_vec().into(), life: LIFE });
            outbox.push(PeerReply { id: request.id, body: Some(pong) });
        }
        outbox.send_soon();
    }
}

/// One link, its peer's end of the wire, and somebody who looks as the engine does.
struct Bed {
    links: Arc<Links>,
    wires: mpsc::UnboundedReceiver<BoxIo>,
    signals: LinkSignals,
    _folder: tempfile::TempDir,
}

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const LIFE: u64 = 7;

impl Bed {
    fn new() -> Self {
        let (sender, wires) = mpsc::unbounded_channel();
        let folder = tempfile::tempdir().expect("a folder");
        let real = real::env(folder.path().to_owned()).expect("an environment");
        let env = Env { net: Arc::new(Wires(sender)), ..real };
        let signals =
            LinkSignals { unanswered: Arc::new(Pulse::new(PROBE_EVERY)), recovered: Arc::default() };
        let me = Identity { cluster: "test".to_owned(), node: ME, life: 1 };
        let links = Arc::new(Links::new(env, me, signals.clone()));
        links.set(&BTreeMap::from([(PEER, "peer:1".to_owned())]));
        tokio::spawn(look(links.clone(), signals.clone()));
        Self { links, wires, signals, _folder: folder }
    }

    fn link(&self) -> Arc<PeerLink> {
        self.links.get(PEER).expect("it was just set")
    }

    /// A peer that answers while it is awake; connected.
    async fn peer(&mut self) -> Arc<AtomicBool> {
        let asleep = Arc::new(AtomicBool::new(false));
        let wire = self.wires.recv().await.expect("a connection");
        tokio::spawn(answer(wire, PEER, asleep.clone()));
        self.signals.recovered.notified().await;
        assert!(!self.link().is_suspected());
        asleep
    }
}

async fn look(links: Arc<Links>, signals: LinkSignals) {
    loop {
        let _ = timeout(IDLE_PROBE_EVERY, signals.unanswered.tick()).await;
        links.look();
    }
}

fn something() -> Request {
    Request::Prepare(v1::Prepare::default())
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_suspected_owes_nothing_once_it_answers() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();

    asleep.store(true, Ordering::Relaxed);
    assert_eq!(link.ask(something()).await, Err(LinkError));
    assert!(link.is_suspected());
    asleep.store(false, Ordering::Relaxed);
    timeout(Duration::from_millis(100), bed.signals.recovered.notified()).await.expect("it answers again");
    assert!(!link.is_suspected());
    assert!(link.shared.state.lock().pending.is_empty(), "then a lone request is sent at once again");
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_in_time_however_long_nothing_was_asked() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    for idle in [0, 40, 7_000, 61_234] {
        sleep(Duration::from_millis(idle)).await;
        asleep.store(true, Ordering::Relaxed);
        let asked = Instant::now();
        assert_eq!(link.ask(something()).await, Err(LinkError));
        let took = asked.elapsed();
        assert!(took >= SUSPECT_AFTER && took <= SUSPECT_AFTER + PROBE_EVERY, "after {took:?}");
        asleep.store(false, Ordering::Relaxed);
        bed.signals.recovered.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_and_made_anew() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    asleep.store(true, Ordering::Relaxed);
    let asked = Instant::now();
    assert_eq!(link.ask(something()).await, Err(LinkError));
    bed.peer().await;
    let took = asked.elapsed();
    assert!(took >= DROP_AFTER && took <= DROP_AFTER + Duration::from_millis(200), "after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_is_hardly_asked_and_its_silence_noticed_all_the_same() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    let asked = || link.shared.state.lock().next_id;
    let before = asked();
    sleep(IDLE_PROBE_EVERY * 10).await;
    let pings = asked() - before;
    assert!((5..=10).contains(&pings), "{pings} signs of life in ten times the pause");
    asleep.store(true, Ordering::Relaxed);
    sleep(IDLE_PROBE_EVERY * 2 + SUSPECT_AFTER + PROBE_EVERY).await;
    assert!(link.is_suspected());
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_to_know_has_silent_peers_asked() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    let late = Duration::from_secs(1);
    sleep(2 * late).await;
    bed.links.ask_silent(late).await;
    assert!(link.last_heard().is_some_and(|at| at.elapsed() < late));
    // Heard of late: nobody is asked.
    asleep.store(true, Ordering::Relaxed);
    let began = Instant::now();
    bed.links.ask_silent(late).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    sleep(2 * late).await;
    bed.links.ask_silent(late).await;
    assert!(link.is_suspected());
    assert!(began.elapsed() <= 2 * late + SUSPECT_AFTER + PROBE_EVERY);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_said_it_is_leaving_and_stays_is_asked_again() {
    let mut bed = Bed::new();
    bed.peer().await;
    let link = bed.link();
    link.on_leaving(LIFE);
    assert!(link.is_suspected());
    let began = Instant::now();
    bed.signals.recovered.notified().await;
    assert!(!link.is_suspected());
    let took = began.elapsed();
    assert!(took >= LEAVING_FOR && took <= LEAVING_FOR + 2 * PROBE_EVERY, "after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_word_of_an_earlier_life_says_nothing() {
    let mut bed = Bed::new();
    bed.peer().await;
    let link = bed.link();
    link.on_leaving(LIFE - 1);
    assert!(!link.is_suspected());
    // Of one that does not say which it is.
    link.on_leaving(0);
    assert!(link.is_suspected());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_said_it_is_leaving_is_asked_for_signs_of_life() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    // Its machine has lost its power: nobody closes the connection.
    asleep.store(true, Ordering::Relaxed);
    let began = Instant::now();
    link.on_leaving(LIFE);
    bed.peer().await;
    let took = began.elapsed();
    assert!(took < LEAVING_FOR, "a new connection after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_on_its_way_is_not_sent_again_until_it_is_lost() {
    let mut bed = Bed::new();
    let asleep = bed.peer().await;
    let link = bed.link();
    let sent = || link.shared.state.lock().next_id;
    let step = (Partition::new(3).expect("a partition"), Ballot::ZERO);
    let (sender, mut answers) = mpsc::unbounded_channel();
    let send = || {
        let sender = sender.clone();
        link.send_step(step, something(), move |reply| {
            let _ = sender.send(reply.is_ok());
        });
    };
    asleep.store(true, Ordering::Relaxed);
    let before = sent();
    send();
    send();
    assert_eq!(sent(), before + 1);
    // Suspected: lost. Nothing is sent until it answers again, and then it is not on its way any more.
    assert_eq!(answers.recv().await, Some(false));
    send();
    assert_eq!(answers.recv().await, Some(false));
    asleep.store(false, Ordering::Relaxed);
    bed.signals.recovered.notified().await;
    for _ in 0..2 {
        send();
        send();
        assert_eq!(answers.recv().await, Some(true));
        assert!(link.shared.state.lock().steps.is_empty());
    }
    assert!(answers.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stood_still_itself_suspects_nobody() {
    let mut bed = Bed::new();
    bed.peer().await;
    let link = bed.link();
    for _ in 0..20 {
        let (sender, receiver) = oneshot::channel();
        link.send(something(), move |reply| drop(sender.send(reply)));
        // As a stopped process sees it: no task has run, and all timers are due.
        tokio::time::advance(DROP_AFTER * 2).await;
        assert!(matches!(receiver.await, Ok(Ok(_))), "the answer was there to be read");
        assert!(!link.is_suspected());
        sleep(Duration::from_millis(7)).await;
    }
}
