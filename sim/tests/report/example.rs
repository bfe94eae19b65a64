//! A failed run as it could have been: three clients, five nodes and the registry, six faults, and a read that does not
//! know of a put that was acknowledged before.

use sim::Random;
use sim::report::{
    BakeInPoint, FaultBand, FaultFamily, Lane, LaneKind, Level, MessageArrow, Note, OpSpan, RunRecord,
    Verdict,
};

const REGISTRY: usize = 8;
const NODES: std::ops::Range<usize> = 3..8;
const KEYS: [&str; 4] = ["users/42", "users/7", "logs/2026-07-01", "img/cat.png"];

/// 61 operations, about 380 messages.
pub(crate) fn stale_read() -> RunRecord {
    let mut run = Run { record: empty(), random: Random::new(1017, "example"), last: [0; 4] };
    run.background();
    run.heartbeats();
    run.guilty();
    run.notes();
    run.record.faults = faults();
    run.record
}

fn empty() -> RunRecord {
    let lane = |name: String, kind| Lane { name, kind };
    let clients = (1..=3).map(|n| lane(format!("client-{n}"), LaneKind::Client));
    let nodes = (1..=5).map(|n| lane(format!("node-{n}"), LaneKind::Node));
    let registry = lane("registry".to_owned(), LaneKind::Registry);
    let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let curve = [2, 1, 2, 3, 2, 4, 3, 2, 5, 12, 31, 84, 97, 100, 100, 100, 100, 100, 100, 100];
    let point = |(at, percent): (usize, i32)| BakeInPoint {
        at_us: at as u64 * 150_000,
        failing_percent: f64::from(percent),
    };
    RunRecord {
        format: RunRecord::FORMAT,
        title: "swarm".to_owned(),
        seed: Some(1017),
        mode: "direct".to_owned(),
        options: vec![
            option("nodes", "5"),
            option("clients", "3"),
            option("copies", "3"),
            option("link latency", "0.4–3 ms"),
            option("think time", "0–60 ms"),
            option("mutant", "accept-not-synced"),
        ],
        verdict: Verdict {
            kind: "not linearizable".to_owned(),
            sentence: "client-3 read \"a3\" from users/42, 84 ms after client-1 had been told that its put of \"b7\" \
                       was stored: node-2 forgot the acknowledged write when it lost power."
                .to_owned(),
        },
        duration_us: 3_000_000,
        lanes: clients.chain(nodes).chain([registry]).collect(),
        faults: Vec::new(),
        ops: Vec::new(),
        messages: Vec::new(),
        notes: Vec::new(),
        bake_in: Some(curve.into_iter().enumerate().map(point).collect()),
        replay: "cargo run -p sim -- replay target/sim/swarm-1017.json --html swarm-1017.html".to_owned(),
    }
}

fn faults() -> Vec<FaultBand> {
    let fault = |id, kind: &str, family, from: u64, to: Option<u64>, lanes: &[usize], text: &str| FaultBand {
        id,
        kind: kind.to_owned(),
        family,
        from_us: from * 1000,
        to_us: to.map(|to| to * 1000),
        lanes: lanes.to_vec(),
        down: family == Process,
        text: text.to_owned(),
    };
    use FaultFamily::{Disk, Network, Process, Registry};
    vec![
        fault(
            1,
            "slow link",
            Network,
            320,
            Some(900),
            &[3, 6],
            "Messages between node-1 and node-4 take 40 ms.",
        ),
        fault(2, "kill -9", Process, 1_050, Some(1_420), &[7], "node-5 is killed; its page cache survives."),
        fault(
            3,
            "power loss",
            Process,
            1_728,
            Some(1_764),
            &[4],
            "node-2 loses power: what it had not synced is gone.",
        ),
        fault(
            4,
            "cut off",
            Network,
            1_752,
            Some(2_240),
            &[3],
            "node-1 is cut off from everybody; nobody is told.",
        ),
        fault(
            5,
            "lying fsync",
            Disk,
            1_640,
            Some(1_900),
            &[4],
            "node-2's disk says that it has synced, and has not.",
        ),
        fault(6, "leases lost", Registry, 2_350, None, &[REGISTRY], "The registry ends every lease."),
    ]
}

struct Run {
    record: RunRecord,
    random: Random,
    /// What was last put, by key.
    last: [u64; 4],
}

impl Run {
    fn message(&mut self, from: usize, to: usize, sent: u64, label: &str) -> u64 {
        let received = sent + 400 + self.random.below(2_600);
        self.send(from, to, sent, Some(received), label);
        received
    }

    fn send(
        &mut self,
        from_lane: usize,
        to_lane: usize,
        sent_us: u64,
        received_us: Option<u64>,
        label: &str,
    ) {
        let bytes = 40 + self.random.below(400);
        let label = label.to_owned();
        self.record.messages.push(MessageArrow { from_lane, to_lane, sent_us, received_us, label, bytes });
    }

    /// A question to a node, which asks two others. Returns when the client has its answer.
    fn quorum(
        &mut self,
        client: usize,
        via: usize,
        peers: &[usize],
        at: u64,
        ask: &str,
        peer_ask: &str,
    ) -> u64 {
        let asked = self.message(client, via, at, ask);
        let answers: Vec<u64> = peers
            .iter()
            .map(|peer| {
                let there = self.message(via, *peer, asked + 150, peer_ask);
                self.message(*peer, via, there + 200, &format!("{peer_ask}: ok"))
            })
            .collect();
        let all = answers.into_iter().max().unwrap_or(asked);
        self.message(via, client, all + 120, &format!("{ask}: answer"))
    }

    fn op(
        &mut self,
        lane: usize,
        key: &str,
        action: &str,
        times: (u64, Option<u64>),
        seen: &str,
        guilty: bool,
    ) {
        let number = self.record.ops.len() as u64;
        let (key, action, seen) = (key.to_owned(), action.to_owned(), seen.to_owned());
        let (began_us, ended_us) = times;
        let op = OpSpan { number, lane, key, action, began_us, ended_us, seen, guilty };
        self.record.ops.push(op);
    }

    /// What clients do when nothing of interest happens.
    fn background(&mut self) {
        for client in 0..3 {
            let mut at = 20_000 + self.random.below(30_000);
            for _ in 0..19 {
                let key = if self.random.one_in(3) { 0 } else { 1 + self.random.index(3) };
                // Around the failure the key has only the operations that tell it.
                let key = if (1_560_000..2_000_000).contains(&at) { key.max(1) } else { key };
                let via = 3 + self.random.index(5);
                let peers = [3 + (via - 2) % 5, 3 + (via - 1) % 5];
                let put = self.random.one_in(2);
                let ended = self.quorum(
                    client,
                    via,
                    &peers,
                    at,
                    if put { "Put" } else { "Get" },
                    if put { "accept" } else { "read" },
                );
                let letter = ["a", "b", "c", "d"][key];
                if put {
                    self.last[key] += 1;
                    let action = format!("put \"{letter}{}\"", self.last[key]);
                    self.op(
                        client,
                        KEYS[key],
                        &action,
                        (at, Some(ended)),
                        &format!("version {}", self.last[key]),
                        false,
                    );
                } else {
                    let seen = if self.last[key] == 0 {
                        "absent".to_owned()
                    } else {
                        format!("\"{letter}{}\"", self.last[key])
                    };
                    self.op(client, KEYS[key], "read", (at, Some(ended)), &seen, false);
                }
                at = ended + 40_000 + self.random.below(210_000);
            }
        }
        self.op(1, KEYS[0], "put \"c9\" if version 3", (2_060_000, None), "", false);
        self.send(1, 3, 2_060_000, None, "Put");
        self.send(1, 3, 2_260_000, None, "Put");
    }

    fn heartbeats(&mut self) {
        for beat in 0..6 {
            for node in NODES {
                let at = beat * 500_000 + node as u64 * 31_000;
                if node == 3 && (1_752_000..2_240_000).contains(&at) {
                    self.send(node, REGISTRY, at, None, "keep alive");
                } else {
                    self.message(node, REGISTRY, at, "keep alive");
                }
            }
        }
    }

    /// The put, and the read that does not know of it.
    fn guilty(&mut self) {
        let key = KEYS[0];
        let put = 1_700_000;
        let asked = self.message(0, 3, put, "Put users/42 \"b7\"");
        for peer in [4, 5, 6] {
            let there = self.message(3, peer, asked + 180, "prepare 7.1");
            self.message(peer, 3, there + 250, "promise 7.1");
        }
        let accept = asked + 7_400;
        let there = self.message(3, 4, accept, "accept 7.1 \"b7\"");
        let back = self.message(4, 3, there + 300, "accepted 7.1");
        self.send(3, 5, accept, None, "accept 7.1 \"b7\"");
        self.send(3, 6, accept, None, "accept 7.1 \"b7\"");
        let told = self.message(3, 0, back + 150, "Put: version 4");
        self.op(0, key, "put \"b7\"", (put, Some(told)), "version 4", true);

        let read = told + 84_000;
        let asked = self.message(2, 5, read, "Get users/42");
        for peer in [4, 6] {
            let there = self.message(5, peer, asked + 150, "read users/42");
            self.message(peer, 5, there + 200, "\"a3\", version 3");
        }
        self.send(5, 3, asked + 150, None, "read users/42");
        let told = self.message(5, 2, asked + 8_100, "Get: \"a3\", version 3");
        self.op(2, key, "read", (read, Some(told)), "\"a3\", version 3", true);
        self.op(1, key, "read", (read - 60_000, Some(read - 51_000)), "\"b7\", version 4", false);
    }

    fn notes(&mut self) {
        let mut note = |lane: Option<usize>, at: u64, text: &str, level| {
            self.record.notes.push(Note { lane, at_us: at * 1000, text: text.to_owned(), level });
        };
        for node in NODES {
            note(Some(node), 2 + node as u64, "process starts", Level::Up);
            note(Some(node), 9 + node as u64, "registered with lease 6", Level::Info);
        }
        note(Some(7), 1_050, "killed", Level::Down);
        note(Some(7), 1_420, "process starts: 212 registers recovered", Level::Up);
        note(Some(4), 1_728, "power lost", Level::Down);
        note(Some(4), 1_764, "process starts: 211 registers recovered", Level::Up);
        note(Some(4), 1_766, "log ends in a torn record: cut at 48128", Level::Warn);
        note(Some(5), 1_790, "peer node-1 is suspected", Level::Warn);
        note(Some(REGISTRY), 2_350, "5 leases end", Level::Warn);
        note(None, 2_400, "faults end; every client must succeed from here", Level::Info);
        note(None, 2_990, "check: users/42 is not linearizable", Level::Error);
    }
}

/// The same failure among many operations and messages.
pub(crate) fn crowd(ops: usize, messages: usize) -> RunRecord {
    let mut run = Run { record: stale_read(), random: Random::new(1017, "crowd"), last: [0; 4] };
    while run.record.ops.len() < ops {
        let began = run.random.below(2_950_000);
        let ended = began + 3_000 + run.random.below(25_000);
        let (lane, key) = (run.random.index(3), format!("crowd/{}", run.random.below(40)));
        run.op(lane, &key, "read", (began, Some(ended)), "absent", false);
    }
    while run.record.messages.len() < messages {
        let (from, to) = (run.random.index(9), run.random.index(9));
        let at = run.random.below(2_990_000);
        if run.random.percent(4) {
            run.send(from, to, at, None, "gossip");
        } else {
            run.message(from, to, at, "gossip");
        }
    }
    run.record
}

/// The same run with texts that try to break the page, or to hide in it.
pub(crate) fn hostile() -> RunRecord {
    let mut record = stale_read();
    let texts = [
        "</script><script>throw new Error('script')</script>",
        "<!--<script><img src=x onerror=\"throw 1\">",
        "\"'`${x}{{data}}{{program}}&lt;&#60;\\u003c]]>",
        "\u{202e}desrever\u{2066}\u{0}\u{7}\n\r\t\u{2028}\u{feff}",
        "ключ/鍵/🔑/\u{5d0}\u{5d1}\u{5d2}/e\u{301}\u{301}\u{301}",
    ];
    let long = "k".repeat(5_000);
    let mut all = texts.iter().map(|text| (*text).to_owned()).chain([long, String::new()]).cycle();
    let mut next = || all.next().expect("a cycle has no end");
    record.title = next();
    record.verdict = Verdict { kind: texts[0].to_owned(), sentence: texts.concat() };
    record.mode = next();
    record.options = (0..7).map(|_| (next(), next())).collect();
    record.replay = texts[2].to_owned();
    for lane in &mut record.lanes {
        lane.name = next();
    }
    for fault in &mut record.faults {
        (fault.kind, fault.text) = (next(), next());
    }
    for op in &mut record.ops {
        (op.key, op.action, op.seen) = (next(), next(), next());
    }
    for message in &mut record.messages {
        message.label = next();
    }
    for note in &mut record.notes {
        note.text = next();
    }
    record
}

/// A run in which nothing is wrong, and nothing much happened.
pub(crate) fn passed() -> RunRecord {
    let verdict = Verdict {
        kind: Verdict::PASSED.to_owned(),
        sentence: "Every answer of every client can be explained, and every promise was kept.".to_owned(),
    };
    let lanes = empty().lanes;
    RunRecord { verdict, lanes, bake_in: None, seed: None, options: Vec::new(), ..empty() }
}
