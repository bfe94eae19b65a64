//! Scenarios of one operation: what happens, and exactly which effects follow.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::error::Code;
use crate::ids::{NodeId, OpId, Partition};

/// Three nodes, `http://n0` to `http://n2`; every partition has replicas 0, 1, 2 in this order. The user gave n0.
pub(super) fn router() -> Router {
    router_with(Policy::NEAR)
}

pub(super) fn router_with(policy: Policy) -> Router {
    let node = |n: u128| TopologyNode {
        id: NodeId(n + 1),
        url: format!("http://n{n}"),
        zone: String::new(),
        live: true,
        life: 10 * n as u64,
    };
    let placement: Vec<u8> = (0..1024).flat_map(|_| [0, 0, 0, 1, 0, 2]).collect();
    let topology =
        Topology::from_parts("c".into(), 1, 1024, 3, (0..3).map(node).collect(), &placement).unwrap();
    let mut router = Router::new(["http://n0"], policy).unwrap();
    let asked = router.refresh_due(0, 0).unwrap();
    router.on_topology(asked, &topology, 0).unwrap();
    router
}

pub(super) fn spec(kind: Kind) -> Spec {
    Spec {
        kind,
        partition: Partition::new(7).ok(),
        body_bytes: 0,
        deadline_ms: 10_000,
        doubtful: false,
        pinned: false,
    }
}

/// An operation, its router, and what it said last.
struct Run {
    router: Router,
    operation: Operation,
    effects: Vec<Effect>,
}

impl Run {
    fn begin(kind: Kind) -> Self {
        Self::begin_with(router(), spec(kind), 0)
    }

    fn begin_with(mut router: Router, spec: Spec, now_ms: u64) -> Self {
        let mut effects = Vec::new();
        // 0 sends a read to the first replica.
        let operation = Operation::begin(spec, &mut router, now_ms, 0, &mut effects);
        Self { router, operation, effects }
    }

    fn answer(&mut self, attempt: u32, answer: &Answer, now_ms: u64) -> Vec<Effect> {
        self.effects.clear();
        self.operation.on_answer(attempt, answer, &mut self.router, now_ms, &mut self.effects);
        self.effects.clone()
    }

    fn time(&mut self, now_ms: u64) -> Vec<Effect> {
        self.effects.clear();
        self.operation.on_time(&mut self.router, now_ms, &mut self.effects);
        self.effects.clone()
    }
}

fn send(attempt: u32, node: u16, now_ms: u64) -> Effect {
    Effect::Send { attempt, slot: Slot(node), retry: false, timeout_ms: 10_000 - now_ms }
}

/// As a retry: an earlier attempt may still take effect.
fn resend(attempt: u32, node: u16, now_ms: u64) -> Effect {
    Effect::Send { attempt, slot: Slot(node), retry: true, timeout_ms: 10_000 - now_ms }
}

fn answered(attempt: u32) -> Effect {
    Effect::Done(Ending::Answer { attempt })
}

const WAKE_150: Effect = Effect::WakeAt(150);

#[test]
fn a_mutation_goes_to_the_usual_leader_and_ends_with_its_answer() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.effects, [send(0, 0, 0), WAKE_150]);
    assert_eq!(run.answer(0, &Answer::Ok, 3), [answered(0)]);
    assert!(run.operation.is_done());
    assert_eq!(run.answer(0, &Answer::Ok, 4), []);
    assert_eq!(run.time(20_000), []);
}

#[test]
fn a_refused_connection_costs_nothing_and_is_remembered() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.answer(0, &Answer::NotSent, 1), [send(1, 1, 1)]);
    assert_eq!(run.answer(1, &Answer::Ok, 5), [answered(1)]);
    assert!(run.router.suspected(Slot(0)));
    let next = Run::begin_with(run.router, spec(Kind::Mutation), 6);
    assert_eq!(next.effects[0], send(0, 1, 6));
}

#[test]
fn deadlines_shorter_than_a_hedge_find_a_hung_leader_too() {
    let short = |now_ms| Spec { deadline_ms: now_ms + 50, ..spec(Kind::Mutation) };
    let mut router = router();
    for now_ms in [10, 70] {
        let mut run = Run::begin_with(router, short(now_ms), now_ms);
        assert!(matches!(run.effects[0], Effect::Send { slot: Slot(0), .. }));
        assert_eq!(run.time(now_ms + 50), [Effect::Done(Ending::Failed(Failure::OutcomeUnknown))]);
        router = run.router;
    }
    let run = Run::begin_with(router, short(130), 130);
    assert!(matches!(run.effects[0], Effect::Send { slot: Slot(1), .. }));
}

/// Seed 138 of the simulator: a client in a hurry suspected all nodes, one of which hung, and asked only that one.
#[test]
fn where_all_are_suspected_each_has_its_turn() {
    let mut router = router();
    let mut asked = Vec::new();
    for now_ms in (10..1_000).step_by(60).take(12) {
        let mut run =
            Run::begin_with(router, Spec { deadline_ms: now_ms + 50, ..spec(Kind::Mutation) }, now_ms);
        let Effect::Send { slot, .. } = run.effects[0] else { panic!("it asks a node first") };
        asked.push(slot.index());
        run.time(now_ms + 50);
        router = run.router;
    }
    assert_eq!(asked, [0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_hung_leader_costs_one_hedge_under_the_same_op_id() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.time(149), [WAKE_150]);
    assert_eq!(run.time(150), [resend(1, 1, 150), Effect::WakeAt(300)]);
    assert_eq!(run.answer(1, &Answer::Ok, 160), [answered(1)]);
    // The second time in a row that it leaves us waiting, it is suspected.
    let mut run = Run::begin_with(run.router, spec(Kind::Mutation), 200);
    assert_eq!(run.effects[0], send(0, 0, 200));
    run.time(400);
    assert!(run.router.suspected(Slot(0)));
}

#[test]
fn a_hedge_that_is_dear_leaves_the_other_attempt_half_of_the_time() {
    let mut dear = router();
    // More operations met a hung node than may be hedged soon.
    for _ in 0..100 {
        dear.on_hedge();
    }
    assert_eq!(dear.hedge_ms(Kind::Mutation), 600);
    let mut run = Run::begin_with(dear, Spec { deadline_ms: 1_000, ..spec(Kind::Mutation) }, 0);
    assert_eq!(run.effects.last(), Some(&Effect::WakeAt(500)));
    assert!(matches!(run.time(500)[..], [Effect::Send { attempt: 1, timeout_ms: 500, .. }, ..]));
}

#[test]
fn two_hung_nodes_leave_the_third() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    assert_eq!(run.time(300), [resend(2, 2, 300), Effect::WakeAt(450)]);
    // No more than three at a time; then silence ends the first.
    assert_eq!(run.time(450), [Effect::WakeAt(3_000)]);
    let effects = run.time(3_000);
    assert_eq!(effects[0], Effect::Cancel { attempt: 0 });
}

#[test]
fn a_late_answer_of_the_first_attempt_still_counts() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    assert_eq!(run.answer(0, &Answer::Ok, 200), [answered(0)]);
}

#[test]
fn progress_keeps_a_hedge_away() {
    let mut run = Run::begin(Kind::Mutation);
    run.operation.on_progress(0, 100);
    assert_eq!(run.time(150), [Effect::WakeAt(250)]);
    assert_eq!(run.time(250)[0], resend(1, 1, 250));
}

#[test]
fn a_large_body_may_take_longer() {
    let large = Spec { body_bytes: 8 << 20, ..spec(Kind::Mutation) };
    let run = Run::begin_with(router(), large, 0);
    assert_eq!(run.effects, [send(0, 0, 0), Effect::WakeAt(1_150)]);
}

#[test]
fn a_failed_condition_is_final_when_nothing_else_was_sent() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.answer(0, &Answer::Refused(Code::ConditionFailed(None)), 2), [answered(0)]);
}

#[test]
fn a_failed_condition_after_a_lost_attempt_is_final_because_it_was_fenced() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.answer(0, &Answer::Lost, 2), [resend(1, 1, 2)]);
    assert_eq!(run.answer(1, &Answer::Refused(Code::ConditionFailed(None)), 4), [answered(1)]);
}

#[test]
fn a_failed_condition_of_the_first_attempt_beside_a_hedge_is_not_final() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    // The hedge may still arrive, when the condition holds again: one more goes out and fences it.
    let refused = Answer::Refused(Code::ConditionFailed(None));
    assert_eq!(run.answer(0, &refused, 152), [resend(2, 2, 152)]);
    let effects = run.answer(2, &Answer::Refused(Code::Unavailable), 153);
    assert!(matches!(effects[..], [Effect::WakeAt(_)]), "{effects:?}");
    // The hedge did nothing and says so; nothing else is under way.
    assert_eq!(run.answer(1, &refused, 154), [answered(1)]);
}

#[test]
fn a_failed_condition_that_was_fenced_meanwhile_is_reported() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    run.answer(0, &Answer::Unchanged, 152);
    assert_eq!(run.answer(2, &Answer::Refused(Code::Fenced), 153), [answered(0)]);
}

#[test]
fn a_fenced_operation_starts_over() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    assert_eq!(
        run.answer(0, &Answer::Refused(Code::Fenced), 160)[..3],
        [Effect::Cancel { attempt: 1 }, Effect::FreshOpId { floor: OpId(0) }, send(2, 2, 160)]
    );
    assert_eq!(run.answer(2, &Answer::Ok, 165), [answered(2)]);
}

#[test]
fn an_op_id_that_the_caller_chose_is_never_replaced() {
    let pinned = Spec { pinned: true, ..spec(Kind::Mutation) };
    for code in [Code::Fenced, Code::StaleOpId(OpId(77))] {
        let mut run = Run::begin_with(router(), pinned, 0);
        assert_eq!(run.answer(0, &Answer::Refused(code), 2), [answered(0)]);
    }
}

#[test]
fn a_batch_without_an_answer_is_doubtful_from_the_start() {
    let doubtful = Spec { doubtful: true, ..spec(Kind::Mutation) };
    let mut run = Run::begin_with(router(), doubtful, 0);
    assert_eq!(run.effects[0], resend(0, 0, 0));
    assert_eq!(run.answer(0, &Answer::Refused(Code::ConditionFailed(None)), 2), [answered(0)]);
}

#[test]
fn a_stale_op_id_sent_once_is_replaced() {
    let mut run = Run::begin(Kind::Mutation);
    let floor = OpId(77);
    assert_eq!(
        run.answer(0, &Answer::Refused(Code::StaleOpId(floor)), 2)[..2],
        [Effect::FreshOpId { floor }, send(1, 1, 2)]
    );
    assert_eq!(run.answer(1, &Answer::Ok, 4), [answered(1)]);
}

#[test]
fn a_stale_op_id_after_a_lost_attempt_leaves_the_outcome_unknown() {
    let mut run = Run::begin(Kind::Mutation);
    run.answer(0, &Answer::Lost, 2);
    assert_eq!(
        run.answer(1, &Answer::Refused(Code::StaleOpId(OpId(77))), 4),
        [Effect::Done(Ending::Failed(Failure::OutcomeUnknown))]
    );
}

#[test]
fn a_stale_op_id_waits_for_the_other_attempt_only_as_long_as_a_healthy_node_takes() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    run.answer(1, &Answer::Refused(Code::StaleOpId(OpId(77))), 160);
    assert_eq!(run.time(309), [Effect::WakeAt(310)]);
    assert_eq!(
        run.time(310),
        [Effect::Cancel { attempt: 0 }, Effect::Done(Ending::Failed(Failure::OutcomeUnknown))]
    );
}

#[test]
fn a_stale_op_id_waits_for_the_other_attempt() {
    let mut run = Run::begin(Kind::Mutation);
    run.time(150);
    assert_eq!(run.answer(0, &Answer::Refused(Code::StaleOpId(OpId(77))), 160), []);
    assert_eq!(run.answer(1, &Answer::Ok, 170), [answered(1)]);
}

#[test]
fn the_deadline_tells_unknown_from_did_not_happen() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.time(10_000), [Effect::Done(Ending::Failed(Failure::OutcomeUnknown))]);
    let mut run = Run::begin(Kind::Mutation);
    for attempt in 0..3 {
        run.answer(attempt, &Answer::NotSent, 1);
    }
    assert_eq!(run.time(10_000), [Effect::Done(Ending::Failed(Failure::Unavailable))]);
    let mut run = Run::begin(Kind::Read);
    assert_eq!(run.time(10_000), [Effect::Done(Ending::Failed(Failure::Timeout))]);
    let past = Spec { deadline_ms: 5, ..spec(Kind::Mutation) };
    assert_eq!(
        Run::begin_with(router(), past, 5).effects,
        [Effect::Done(Ending::Failed(Failure::Unavailable))]
    );
    let past = Spec { doubtful: true, ..past };
    assert_eq!(
        Run::begin_with(router(), past, 5).effects,
        [Effect::Done(Ending::Failed(Failure::OutcomeUnknown))]
    );
}

#[test]
fn no_node_up_is_retried_with_growing_waits() {
    let mut run = Run::begin(Kind::Mutation);
    run.answer(0, &Answer::NotSent, 0);
    run.answer(1, &Answer::NotSent, 0);
    let effects = run.answer(2, &Answer::NotSent, 0);
    let [Effect::WakeAt(at)] = effects[..] else { panic!("{effects:?}") };
    assert!((10..=20).contains(&at), "{at}");
    assert!(matches!(run.time(at)[0], Effect::Send { attempt: 3, .. }));
    let effects = run.answer(3, &Answer::NotSent, at);
    let [Effect::WakeAt(next)] = effects[..] else { panic!("{effects:?}") };
    assert!((20..=40).contains(&(next - at)), "{next}");
}

#[test]
fn an_overloaded_node_is_left_in_peace() {
    let mut run = Run::begin(Kind::Mutation);
    let effects = run.answer(0, &Answer::Refused(Code::Overloaded), 1);
    assert!(matches!(effects[..], [Effect::WakeAt(at)] if at > 1), "{effects:?}");
}

/// It was refused before the node looked whether it was a copy.
#[test]
fn an_overloaded_node_says_nothing_of_a_request_that_may_be_doubled() {
    for (is_doubled, next) in [(false, send(2, 2, 1_000)), (true, resend(2, 2, 1_000))] {
        let policy = Policy { is_doubled, ..Policy::NEAR };
        let mut run = Run::begin_with(router_with(policy), spec(Kind::Mutation), 0);
        run.answer(0, &Answer::NotSent, 1);
        run.answer(1, &Answer::Refused(Code::Overloaded), 2);
        assert_eq!(run.time(1_000)[0], next);
    }
}

#[test]
fn a_full_disk_everywhere_ends_at_once() {
    let mut run = Run::begin(Kind::Mutation);
    assert_eq!(run.answer(0, &Answer::Refused(Code::DiskFull), 1), [send(1, 1, 1)]);
    assert_eq!(run.answer(1, &Answer::Refused(Code::DiskFull), 2), [send(2, 2, 2)]);
    assert_eq!(run.answer(2, &Answer::Refused(Code::DiskFull), 3), [answered(2)]);
}

#[test]
fn a_read_is_hedged_soon_and_the_first_good_answer_wins() {
    let mut run = Run::begin(Kind::Read);
    assert_eq!(run.effects, [send(0, 0, 0), Effect::WakeAt(50)]);
    assert_eq!(run.time(50), [send(1, 1, 50), Effect::WakeAt(100)]);
    assert_eq!(run.answer(1, &Answer::Refused(Code::NotFound), 51), [answered(1)]);
}

#[test]
fn reads_are_spread_over_the_replicas() {
    let mut router = router();
    let mut seen = [0; 3];
    for random in 0..30 {
        let mut effects = Vec::new();
        Operation::begin(spec(Kind::Read), &mut router, 0, random, &mut effects);
        let Effect::Send { slot, .. } = effects[0] else { panic!() };
        seen[slot.index()] += 1;
    }
    assert_eq!(seen, [10, 10, 10]);
}

/// Of three nodes one hung. Operations in a hurry went to it first each time, and left the others too little time: so these
/// were suspected too, and had failed later.
#[test]
fn of_nodes_that_are_suspected_each_is_first_in_its_turn() {
    let mut router = router();
    let (mut firsts, mut now) = (Vec::new(), 0);
    for _ in 0..9 {
        let short = Spec { deadline_ms: now + 60, ..spec(Kind::Mutation) };
        let mut run = Run::begin_with(router, short, now);
        let Some(Effect::Send { slot, .. }) = run.effects.first() else { panic!("{:?}", run.effects) };
        firsts.push(slot.index());
        for passed in [30, 45, 60] {
            run.time(now + passed);
        }
        (router, now) = (run.router, now + 60);
    }
    let last: BTreeSet<_> = firsts[6..].iter().copied().collect();
    assert_eq!(last.len(), 3, "{firsts:?}");
}

/// As many nodes as may be asked at once had lost their power, and the others were not asked before the silence was long.
#[test]
fn nodes_that_keep_silent_make_room_for_those_that_were_not_asked() {
    let urls = ["http://a", "http://b", "http://c", "http://d", "http://e"];
    let far = Policy::FAR;
    let (mut run, mut asked, mut now) = {
        let router = Router::new(urls, far.clone()).unwrap();
        (Run::begin_with(router, spec(Kind::Mutation), 0), Vec::new(), 0)
    };
    let mut given_up = Vec::new();
    while now <= 2 * u64::from(far.hedge_ms_max) {
        for effect in &run.effects {
            match effect {
                Effect::Send { slot, .. } => asked.push((slot.index(), now)),
                Effect::Cancel { attempt } => given_up.push(*attempt),
                _ => {}
            }
        }
        now += 50;
        run.time(now);
    }
    let mut nodes: Vec<_> = asked.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [0, 1, 2, 3, 4], "{asked:?}");
    assert!(asked[3].1 <= u64::from(far.hedge_ms_max) + 1_000, "{asked:?}");
    assert_eq!(given_up, [0, 1], "all were asked: then the silence may be longer");
}

#[test]
fn a_damaged_body_is_fetched_from_another_node_then_reported() {
    let mut run = Run::begin(Kind::Read);
    assert_eq!(run.answer(0, &Answer::Damaged, 1), [send(1, 1, 1)]);
    assert_eq!(run.answer(1, &Answer::Damaged, 2), [send(2, 2, 2)]);
    assert_eq!(run.answer(2, &Answer::Damaged, 3), [Effect::Done(Ending::Failed(Failure::Integrity))]);
}

#[test]
fn the_first_operation_does_not_wait_for_a_topology() {
    let mut router = Router::new(["http://a", "http://b/"], Policy::NEAR).unwrap();
    assert_eq!(router.refresh_due(0, 0), Some(Slot(0)));
    assert_eq!(router.refresh_due(0, 0), None);
    let mut run = Run::begin_with(router, spec(Kind::Mutation), 0);
    assert_eq!(run.effects[0], send(0, 0, 0));
    assert_eq!(run.answer(0, &Answer::NotSent, 1)[0], send(1, 1, 1));
    assert_eq!(run.router.url(Slot(1)), "http://b");
}

#[test]
fn a_suspected_node_is_probed_and_comes_back() {
    let mut router = router();
    router.suspect(Slot(2), 100);
    assert_eq!(router.refresh_due(200, 0), None);
    assert_eq!(router.refresh_due(350, 0), Some(Slot(2)));
    router.on_refresh_failed(Slot(2), 360);
    assert_eq!(router.refresh_due(800, 0), None);
    assert_eq!(router.refresh_due(860, 0), Some(Slot(2)));
    router.on_heard(Slot(2), 870);
    assert!(!router.suspected(Slot(2)));
}

/// Nodes that let a client wait are not asked again before those that it has not asked yet (a page whose first addresses were
/// gone found no other for seconds).
#[test]
fn every_address_is_asked_before_one_is_asked_again() {
    let urls = ["http://a", "http://b", "http://c", "http://d"];
    let mut router = Router::new(urls, Policy::FAR).unwrap();
    let (mut asked, mut now) = (Vec::new(), 0);
    for random in 0..4 {
        let slot = router.refresh_due(now, random).unwrap();
        asked.push(slot.0);
        router.on_refresh_failed(slot, now + 1_000);
        now += 1_100;
    }
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2, 3]);
    // And then in turn.
    let again: Vec<_> = (0..4)
        .map(|_| {
            now += 10_000;
            let slot = router.refresh_due(now, 0).unwrap();
            router.on_refresh_failed(slot, now + 1_000);
            slot.0
        })
        .collect();
    assert_ne!(again[0], again[1]);
    assert_ne!(again[1], again[2]);
}

/// A browser's first write waited three seconds for one silent node, although the others answered at once.
#[test]
fn another_node_is_asked_for_the_first_topology_beside_one_that_lets_wait() {
    let hedge = u64::from(Policy::FAR.read_hedge_ms_first);
    let mut router = Router::new(["http://a", "http://b"], Policy::FAR).unwrap();
    let first = router.refresh_due(0, 0).unwrap();
    assert_eq!(router.refresh_due(hedge - 1, 0), None);
    let second = router.refresh_due(hedge, 0).unwrap();
    assert_ne!(first, second);
    // Nobody is left; and no node is asked twice at the same time.
    assert_eq!(router.refresh_due(2 * hedge, 0), None);
    let node =
        TopologyNode { id: NodeId(9), url: "http://a".into(), zone: String::new(), live: true, life: 0 };
    let topology = Topology::from_parts("c".into(), 1, 1024, 1, vec![node], &[0; 2048]).unwrap();
    router.on_topology(second, &topology, 2 * hedge).unwrap();
    // What the first still owes is no reason to ask before its time.
    assert_eq!(router.refresh_due(2 * hedge + 1, 0), None);
    router.on_refresh_failed(first, 3_000);
    assert!(router.suspected(first));
}

/// Of n0 the topology does not say which process it is.
#[test]
fn where_requests_may_be_doubled_one_for_an_unknown_process_is_a_retry() {
    let router = router_with(Policy { is_doubled: true, ..Policy::NEAR });
    assert_eq!(["http://n0", "http://n2", "http://elsewhere"].map(|url| router.life(url)), [0, 20, 0]);
    let mut run = Run::begin_with(router, spec(Kind::Mutation), 0);
    assert_eq!(run.effects[0], resend(0, 0, 0));
    assert_eq!(run.answer(0, &Answer::NotSent, 1)[0], send(1, 1, 1));
}

#[test]
fn a_topology_of_another_cluster_changes_nothing() {
    let mut router = router();
    let node =
        TopologyNode { id: NodeId(9), url: "http://x".into(), zone: String::new(), live: true, life: 0 };
    let other = Topology::from_parts("other".into(), 5, 1024, 1, vec![node.clone()], &[0; 2048]).unwrap();
    assert!(router.on_topology(Slot(1), &other, 1).is_err());
    assert_eq!(router.cluster(), Some("c"));
    // The same name with none of the old nodes: the cluster was made anew.
    let anew = Topology::from_parts("c".into(), 0, 1024, 1, vec![node], &[0; 2048]).unwrap();
    router.on_topology(Slot(0), &anew, 2).unwrap();
    assert_eq!(
        router.leader(Partition::new(0).unwrap()).map(|slot| String::from(router.url(slot))).unwrap(),
        "http://x"
    );
}
