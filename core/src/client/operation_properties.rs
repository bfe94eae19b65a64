//! Any outcomes in any order, against a small model of the cluster: the operation's end never says more than is true.
//!
//! The model is one key under the rules of the protocol: an op id takes effect once, a fenced one never, an attempt
//! may arrive at any later time even after its client heard nothing.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::operation_steps::{router_with, spec};
use super::*;
use crate::error::Code;
use crate::ids::OpId;

/// What happens to one attempt, or to the clock.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It arrives and is answered.
    Answered,
    /// It arrives, and the answer is lost.
    AnswerLost,
    /// It is lost for the client, and arrives when everything else is over.
    ArrivesLate,
    /// It never arrives, and the client knows.
    NotSent,
    /// It arrives, and is turned away for now.
    Unavailable,
    /// It arrives, takes its effect or not, and the node does not know.
    Unknown,
    /// Nothing yet: time passes.
    Wait(u16),
    /// Another client flips whether the condition holds, then this many ms pass.
    Flip(u16),
    /// It is sent twice on its way; the first is carried out, and only the second answer comes. Before it, other clients may push
    /// the op id out of the key's history.
    Doubled { forgotten: bool },
    /// The same, and the answer of the first comes. The second arrives when everything else is over.
    Overtaken,
    /// Other clients push the op id out of the key's history.
    Forget,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        3 => Just(Fate::AnswerLost),
        3 => Just(Fate::ArrivesLate),
        2 => Just(Fate::NotSent),
        2 => Just(Fate::Unavailable),
        1 => Just(Fate::Unknown),
        5 => (1u16..400).prop_map(Fate::Wait),
        2 => (0u16..50).prop_map(Fate::Flip),
        1 => Just(Fate::Forget),
        2 => any::<bool>().prop_map(|forgotten| Fate::Doubled { forgotten }),
        2 => Just(Fate::Overtaken),
    ];
    proptest::collection::vec(fate, 1..60)
}

/// The key, as the leader sees it.
#[derive(Default)]
struct Key {
    condition_holds: bool,
    floor: u32,
    applied: Vec<u32>,
    fenced: Vec<u32>,
}

impl Key {
    /// A mutation under the op id `op` arrives.
    fn mutate(&mut self, op: u32, retry: bool) -> Answer {
        if op <= self.floor {
            return Answer::Refused(Code::StaleOpId(OpId(self.floor.into())));
        }
        if self.applied.contains(&op) {
            return Answer::Ok;
        }
        if self.fenced.contains(&op) {
            return Answer::Refused(Code::Fenced);
        }
        if !self.condition_holds {
            if retry {
                self.fenced.push(op);
            }
            return Answer::Refused(Code::ConditionFailed(None));
        }
        self.applied.push(op);
        Answer::Ok
    }
}

/// What a node makes of a copy of a request whose first was carried out with this answer: see `docs/decisions/doubled-requests.md`.
fn copy(key: &mut Key, op: u32, retry: bool, first: &Answer) -> Answer {
    if *first != Answer::Ok {
        return Answer::Refused(Code::OutcomeUnknown);
    }
    match key.mutate(op, true) {
        Answer::Refused(Code::StaleOpId(_)) if !retry => Answer::Refused(Code::OutcomeUnknown),
        answer => answer,
    }
}

/// One run: the key at the end, after every late message arrived, and what the client was told.
struct Told {
    key: Key,
    answers: Vec<Option<Answer>>,
    endings: Vec<Ending>,
    op: u32,
}

fn run(kind: Kind, holds: bool, random: u64, fates: &[Fate]) -> Told {
    let mut router = router_with(Policy { is_doubled: true, ..Policy::NEAR });
    let mut strays: Vec<(u32, Answer)> = Vec::new();
    let mut key = Key { condition_holds: holds, ..Key::default() };
    let (mut now, mut op) = (0, 1);
    // Attempt -> (retry, op id); what has not been reported; what arrives at the end.
    let mut sent: Vec<(bool, u32)> = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    let mut late: Vec<u32> = Vec::new();
    let mut answers: Vec<Option<Answer>> = Vec::new();
    let mut endings = Vec::new();
    let mut effects = Vec::new();
    let mut operation = Operation::begin(spec(kind), &mut router, now, random, &mut effects);
    let mut fates = fates.iter().copied().chain(core::iter::repeat(Fate::Wait(500)));
    for _ in 0..200 {
        for effect in effects.drain(..) {
            assert!(endings.is_empty(), "{effect:?} after the end");
            match effect {
                Effect::Send { attempt, retry, .. } => {
                    assert_eq!(attempt as usize, sent.len());
                    sent.push((retry, op));
                    answers.push(None);
                    open.push(attempt);
                }
                // It may be on its way all the same.
                Effect::Cancel { attempt } => {
                    open.retain(|&other| other != attempt);
                    late.push(attempt);
                }
                Effect::FreshOpId { floor } => op = op.max(u32::try_from(floor.0).unwrap()) + 1,
                Effect::WakeAt(at) => assert!(at > now, "{at} is not after {now}"),
                Effect::Done(ending) => endings.push(ending),
            }
        }
        if !endings.is_empty() {
            break;
        }
        let fate = fates.next().unwrap();
        if let Fate::Wait(ms) | Fate::Flip(ms) = fate {
            key.condition_holds ^= matches!(fate, Fate::Flip(_));
            now += u64::from(ms);
            operation.on_time(&mut router, now, &mut effects);
            continue;
        }
        if matches!(fate, Fate::Forget) {
            key.floor = op;
            continue;
        }
        if open.is_empty() {
            continue;
        }
        let attempt = open.remove(now as usize % open.len());
        let (retry, its_op) = sent[attempt as usize];
        let mut arrive = || match kind {
            Kind::Read => Answer::Ok,
            Kind::Mutation => key.mutate(its_op, retry),
        };
        let answer = match fate {
            Fate::Answered => arrive(),
            Fate::AnswerLost => {
                arrive();
                Answer::Lost
            }
            Fate::Unknown => {
                arrive();
                Answer::Refused(Code::OutcomeUnknown)
            }
            Fate::NotSent => Answer::NotSent,
            Fate::Unavailable => Answer::Refused(Code::Unavailable),
            Fate::ArrivesLate => {
                late.push(attempt);
                Answer::Lost
            }
            Fate::Doubled { forgotten } => {
                let first = arrive();
                if kind == Kind::Read {
                    first
                } else {
                    if forgotten {
                        key.floor = key.floor.max(its_op);
                    }
                    copy(&mut key, its_op, retry, &first)
                }
            }
            Fate::Overtaken => {
                let first = arrive();
                strays.push((its_op, first.clone()));
                first
            }
            Fate::Wait(_) | Fate::Flip(_) | Fate::Forget => unreachable!("handled above"),
        };
        answers[attempt as usize] = Some(answer.clone());
        now += 1;
        operation.on_answer(attempt, &answer, &mut router, now, &mut effects);
    }
    // What was under way arrives after the end, when the condition holds.
    key.condition_holds = true;
    for (op, first) in strays.iter().filter(|_| kind == Kind::Mutation) {
        copy(&mut key, *op, false, first);
    }
    for attempt in open.into_iter().chain(late) {
        if kind == Kind::Mutation {
            let (retry, op) = sent[attempt as usize];
            key.mutate(op, retry);
        }
    }
    Told { key, answers, endings, op }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_mutation_ends_once_and_truly(holds: bool, random: u64, fates in fates()) {
        let told = run(Kind::Mutation, holds, random, &fates);
        prop_assert_eq!(told.endings.len(), 1, "every operation ends, once");
        prop_assert!(told.key.applied.len() <= 1, "took effect {} times", told.key.applied.len());
        match told.endings[0] {
            Ending::Answer { attempt } => match told.answers[attempt as usize].as_ref().unwrap() {
                Answer::Ok => prop_assert_eq!(&told.key.applied, &[told.op]),
                Answer::Refused(_) => prop_assert!(told.key.applied.is_empty(), "a refused mutation took effect"),
                other => prop_assert!(false, "{:?} is no answer to a mutation", other),
            },
            Ending::Failed(Failure::OutcomeUnknown) => {}
            Ending::Failed(Failure::Unavailable) => prop_assert!(told.key.applied.is_empty()),
            Ending::Failed(other) => prop_assert!(false, "{:?} is no end of a mutation", other),
        }
    }

    #[test]
    fn a_read_ends_once(random: u64, fates in fates()) {
        let told = run(Kind::Read, true, random, &fates);
        prop_assert_eq!(told.endings.len(), 1);
        if told.answers.iter().flatten().any(|answer| *answer == Answer::Ok) {
            let good = matches!(told.endings[0], Ending::Answer { .. });
            prop_assert!(good, "a good answer came and was not used");
        }
    }
}
