//! One operation of a client, from its first attempt to its one result.
//!
//! Invariants, checked by property tests:
//! * At most one [`Effect::Done`], and nothing after it.
//! * A mutation that may have happened never ends as if it had not, nor as if it had.
//! * A failed condition is reported only when no other attempt of the same operation can still take effect. One that
//!   is under way or was lost could arrive later, when the condition holds: so the refusal counts only from an
//!   attempt that was sent as a retry, since the node then fences the operation before it refuses.

use alloc::vec::Vec;

use super::effect::{Answer, Effect, Ending, Failure, Kind, Spec};
use super::policy::COPIES_MS_MAX;
use super::router::{Router, Slot, Tried};
use crate::error::Code;
use crate::ids::OpId;
use crate::sometimes;

/// Nodes that are tried without a pause before the first wait. More than the replicas of a key, usually.
const EAGER_MAX: u32 = 4;
/// Fresh op ids taken without a pause between them.
const FRESH_EAGER_MAX: u32 = 1;

/// An operation under way. Feed it what happens, perform what it says.
#[derive(Clone, Debug)]
pub struct Operation {
    spec: Spec,
    random: u64,
    attempts: Vec<Attempt>,
    /// What was sent before this operation began may have taken effect, under the op id of now.
    doubtful_before: bool,
    /// A refusal that counts once no other attempt can take effect any more: its attempt.
    held: Option<u32>,
    /// An attempt was refused because its op id is too old.
    stale: Option<Stale>,
    /// Attempts that should be under way: 1, and 1 for each hedge.
    wanted: u32,
    failures: u32,
    waits: u32,
    fresh: u32,
    /// What the next attempt's op id must be above: a fresh one.
    above: Option<OpId>,
    /// Attempts that made room for others: see [`Self::is_crowded`].
    made_room: u32,
    retry_at: u64,
    /// The last refusal that another node might not have given.
    refusal: Option<u32>,
    damaged: bool,
    /// Some node failed in a way that waiting does not mend: once all did, it is over.
    broken: bool,
    wake_at: Option<u64>,
    done: bool,
}

#[derive(Clone, Debug)]
struct Attempt {
    slot: Slot,
    /// The node was told to fence the operation if it refuses.
    retry: bool,
    state: State,
    sent_ms: u64,
    /// The last sign of life: sending, or progress.
    alive_ms: u64,
    /// Another attempt was sent since because this one is late.
    late: bool,
}

/// The op id is below its key's floor: whatever is still under way will be refused too, or has taken effect already.
#[derive(Clone, Copy, Debug)]
struct Stale {
    /// The highest that an attempt was refused with.
    floor: OpId,
    since_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    /// No answer: may have taken effect, may still.
    Lost,
    /// Did nothing, and will do nothing.
    Nothing,
}

impl Operation {
    /// Begins. `random` spreads reads and waits; any value is right.
    pub fn begin(
        spec: Spec,
        router: &mut Router,
        now_ms: u64,
        random: u64,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut operation = Self {
            spec,
            random,
            attempts: Vec::with_capacity(2),
            doubtful_before: spec.doubtful,
            held: None,
            stale: None,
            wanted: 1,
            failures: 0,
            waits: 0,
            fresh: 0,
            above: None,
            made_room: 0,
            retry_at: 0,
            refusal: None,
            damaged: false,
            broken: false,
            wake_at: None,
            done: false,
        };
        router.on_begin();
        operation.advance(router, now_ms, effects);
        operation
    }

    /// An attempt ended. Reports of attempts that have ended or were given up are ignored.
    pub fn on_answer(
        &mut self,
        attempt: u32,
        answer: &Answer,
        router: &mut Router,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let at = usize::try_from(attempt).unwrap_or(usize::MAX);
        let Some(&Attempt { slot, state: State::Pending, sent_ms, retry, .. }) = self.attempts.get(at) else {
            return;
        };
        if self.done {
            return;
        }
        let took = now_ms.saturating_sub(sent_ms);
        match answer {
            Answer::Ok | Answer::Unchanged => {
                router.on_success(slot, self.spec.kind, took, now_ms);
            }
            Answer::Refused(Code::Unavailable | Code::Timeout | Code::OutcomeUnknown) => {
                router.on_strike(slot, now_ms);
            }
            Answer::Refused(_) | Answer::Damaged => router.on_heard(slot, now_ms),
            Answer::NotSent | Answer::Lost => router.suspect(slot, now_ms),
        }
        let leaves_open = match answer {
            Answer::Lost | Answer::Refused(Code::Timeout | Code::OutcomeUnknown | Code::Internal) => true,
            Answer::Refused(code) if router.policy().is_doubled => match code {
                Code::Overloaded => true,
                // Of a copy, perhaps, whose first took effect and was forgotten.
                Code::StaleOpId(_) if retry => true,
                _ => took > COPIES_MS_MAX,
            },
            Answer::Unchanged => router.policy().is_doubled && took > COPIES_MS_MAX,
            _ => false,
        };
        self.attempts[at].state = if leaves_open { State::Lost } else { State::Nothing };
        match self.spec.kind {
            Kind::Read => self.on_read_answer(attempt, answer, router, now_ms, effects),
            Kind::Mutation => self.on_mutation_answer(attempt, answer, router, now_ms, effects),
        }
        self.advance(router, now_ms, effects);
    }

    /// Bytes of this attempt's request or answer moved: it is alive.
    pub fn on_progress(&mut self, attempt: u32, now_ms: u64) {
        if let Some(attempt) = usize::try_from(attempt).ok().and_then(|at| self.attempts.get_mut(at)) {
            attempt.alive_ms = now_ms;
        }
    }

    /// The time of the last [`Effect::WakeAt`] came. Too early or too often is harmless.
    pub fn on_time(&mut self, router: &mut Router, now_ms: u64, effects: &mut Vec<Effect>) {
        self.wake_at = None;
        self.advance(router, now_ms, effects);
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn on_read_answer(
        &mut self,
        attempt: u32,
        answer: &Answer,
        router: &Router,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        match answer {
            Answer::Ok | Answer::Unchanged => {
                return self.finish(Ending::Answer { attempt }, effects);
            }
            Answer::Refused(code) => match code {
                Code::NotFound
                | Code::ConditionFailed(_)
                | Code::Invalid
                | Code::TooLarge(_)
                | Code::Range(_)
                | Code::StaleOpId(_)
                | Code::Fenced => return self.finish(Ending::Answer { attempt }, effects),
                Code::Integrity | Code::Internal | Code::ChecksumMismatch | Code::DiskFull => {
                    self.broken = true;
                    self.refusal = Some(attempt);
                }
                Code::Unavailable | Code::Timeout | Code::OutcomeUnknown | Code::Overloaded => {
                    self.refusal = Some(attempt);
                }
            },
            Answer::Damaged => {
                self.broken = true;
                self.damaged = true;
            }
            Answer::NotSent | Answer::Lost => {}
        }
        self.on_failed(*answer == Answer::Refused(Code::Overloaded), router, now_ms);
    }

    fn on_mutation_answer(
        &mut self,
        attempt: u32,
        answer: &Answer,
        router: &Router,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        match answer {
            Answer::Ok => return self.finish(Ending::Answer { attempt }, effects),
            Answer::Unchanged => return self.on_refusal(attempt, effects),
            Answer::Refused(code) => match code {
                Code::ConditionFailed(_) | Code::NotFound => return self.on_refusal(attempt, effects),
                // Every node refuses such a request, so the other attempts come to nothing too.
                Code::Invalid | Code::TooLarge(_) | Code::Range(_) => {
                    return self.finish(Ending::Answer { attempt }, effects);
                }
                Code::StaleOpId(floor) => {
                    self.refusal = Some(attempt);
                    let Stale { floor: known, since_ms } =
                        self.stale.unwrap_or(Stale { floor: *floor, since_ms: now_ms });
                    self.stale = Some(Stale { floor: known.max(*floor), since_ms });
                    return;
                }
                Code::Fenced => return self.on_fenced(attempt, router, now_ms, effects),
                Code::DiskFull | Code::ChecksumMismatch | Code::Integrity => {
                    self.broken = true;
                    self.refusal = Some(attempt);
                }
                Code::Internal => self.broken = true,
                Code::Unavailable | Code::Overloaded => self.refusal = Some(attempt),
                Code::Timeout | Code::OutcomeUnknown => {}
            },
            // That is no answer to a mutation: as good as none.
            Answer::Damaged => {
                self.attempts[attempt as usize].state = State::Lost;
            }
            Answer::NotSent | Answer::Lost => {}
        }
        self.on_failed(*answer == Answer::Refused(Code::Overloaded), router, now_ms);
    }

    /// `attempt` changed nothing and says why. That is the result, unless another attempt can still take effect: then
    /// one more goes out, as a retry, and its answer tells.
    fn on_refusal(&mut self, attempt: u32, effects: &mut Vec<Effect>) {
        if self.attempts[attempt as usize].retry || !self.doubtful() {
            return self.finish(Ending::Answer { attempt }, effects);
        }
        sometimes!("a refusal does not count yet, because another attempt may still take effect");
        self.held = Some(attempt);
        self.wanted = number(self.pending().count()) + 1;
        self.retry_at = 0;
    }

    /// The operation never took effect and never will, under this op id: a retry of ours was refused, and its answer
    /// was lost.
    fn on_fenced(&mut self, attempt: u32, router: &Router, now_ms: u64, effects: &mut Vec<Effect>) {
        if let Some(attempt) = self.held {
            return self.finish(Ending::Answer { attempt }, effects);
        }
        if self.spec.pinned {
            return self.finish(Ending::Answer { attempt }, effects);
        }
        sometimes!("an operation was fenced by a retry of its own and starts over");
        self.refusal = Some(attempt);
        self.doubtful_before = false;
        for at in 0..self.attempts.len() {
            if self.attempts[at].state == State::Pending {
                effects.push(Effect::Cancel { attempt: number(at) });
            }
            self.attempts[at].state = State::Nothing;
        }
        self.restart(OpId::default(), router, now_ms);
    }

    /// An attempt failed: when may the next one go?
    fn on_failed(&mut self, gently: bool, router: &Router, now_ms: u64) {
        self.failures += 1;
        let fresh_node = matches!(self.choose(router), Some((_, 0)));
        if !gently && fresh_node && self.failures < EAGER_MAX {
            self.retry_at = self.retry_at.min(now_ms);
        } else {
            self.retry_at = now_ms + self.backoff(router);
        }
    }

    /// Half of it certain, half random, so that clients do not come back all at once.
    fn backoff(&mut self, router: &Router) -> u64 {
        let policy = router.policy();
        let full =
            policy.backoff_ms_min.checked_shl(self.waits).unwrap_or(u32::MAX).min(policy.backoff_ms_max);
        self.waits = (self.waits + 1).min(16);
        let half = u64::from(full / 2);
        half + self.next_random() % (half + 1)
    }

    /// splitmix64: waits need to be spread, not unguessable.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether the op id may have taken effect, or still can, by an attempt without an answer.
    fn doubtful(&self) -> bool {
        self.doubtful_before || self.attempts.iter().any(|attempt| attempt.state != State::Nothing)
    }

    fn pending(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.state == State::Pending)
    }

    fn choose(&self, router: &Router) -> Option<(Slot, u32)> {
        router.choose(self.spec.kind, self.spec.partition, self.random, |slot| {
            let of = self.attempts.iter().filter(|attempt| attempt.slot == slot);
            of.fold(Tried::NOT, |tried, attempt| Tried {
                busy: tried.busy || attempt.state == State::Pending,
                times: tried.times + 1,
            })
        })
    }

    /// Everything that time and the events so far call for.
    fn advance(&mut self, router: &mut Router, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.done {
            return;
        }
        if now_ms >= self.spec.deadline_ms {
            let doubtful = self.spec.kind == Kind::Mutation && self.doubtful();
            sometimes!(doubtful, "a client's deadline passes with a mutation that may have taken effect");
            sometimes!(self.spec.kind == Kind::Read, "a client's deadline passes with a read");
            // Deadlines may be shorter than the wait for a hedge: then only they show that a node hangs.
            for attempt in
                self.attempts.iter().filter(|attempt| attempt.state == State::Pending && !attempt.late)
            {
                router.on_late(attempt.slot, attempt.sent_ms, now_ms);
            }
            return self.finish(self.ending_at_deadline(), effects);
        }
        self.give_up_silent(router, now_ms, effects);
        if let Some(ending) = self.early_ending(router) {
            return self.finish(ending, effects);
        }
        let waiting = self.pending().next().is_some();
        if let (Some(Stale { floor, .. }), false) = (self.stale, waiting) {
            sometimes!("an op id is below its key's floor, so the client takes a fresh one");
            self.restart(floor, router, now_ms);
        }
        if self.stale.is_none() {
            self.note_late(router, now_ms);
            self.send_wanted(router, now_ms, effects);
        }
        self.wake(router, now_ms, effects);
    }

    fn give_up_silent(&mut self, router: &mut Router, now_ms: u64, effects: &mut Vec<Effect>) {
        for at in 0..self.attempts.len() {
            let Attempt { slot, state, sent_ms, .. } = self.attempts[at];
            if state == State::Pending && now_ms >= self.patience_ends(&self.attempts[at], router) {
                let makes_room = self.is_crowded(router);
                self.attempts[at].state = State::Lost;
                sometimes!("a client gives up an attempt at a node that keeps silent");
                if makes_room {
                    self.made_room += 1;
                    router.on_late(slot, sent_ms, now_ms);
                } else {
                    router.suspect(slot, now_ms);
                }
                effects.push(Effect::Cancel { attempt: number(at) });
                self.on_failed(false, router, now_ms);
            }
        }
    }

    /// When an attempt that keeps silent until then is given up.
    fn patience_ends(&self, attempt: &Attempt, router: &Router) -> u64 {
        let policy = router.policy();
        let patience =
            if self.is_crowded(router) { policy.hedge_ms_max } else { policy.attempt_silence_ms_max };
        let silence = attempt.alive_ms + u64::from(patience);
        // Nothing new can come of it, only the word that it had been carried out: that is waited for as long as a healthy
        // node takes, not as long as a hung one.
        let word =
            self.stale.map(|stale| stale.since_ms.max(attempt.alive_ms) + router.hedge_ms(self.spec.kind));
        word.map_or(silence, |word| word.min(silence)) + self.allowance(router)
    }

    /// Every attempt that may be under way is late, and there are nodes that were not asked: the oldest makes room. As many
    /// nodes may have lost their power at once. One always stays: all may only be slow.
    fn is_crowded(&self, router: &Router) -> bool {
        let max = router.policy().attempts_parallel_max;
        let late = self.pending().filter(|attempt| attempt.late).count();
        self.made_room + 1 < max && number(late) >= max && matches!(self.choose(router), Some((_, 0)))
    }

    /// Ends that do not wait for the deadline, other than a good answer.
    fn early_ending(&self, router: &Router) -> Option<Ending> {
        if let Some(attempt) = self.held.filter(|_| !self.doubtful()) {
            return Some(Ending::Answer { attempt });
        }
        let waiting = self.pending().next().is_some();
        if self.stale.is_some() {
            return match self.refusal {
                _ if waiting => None,
                _ if self.doubtful() => {
                    sometimes!(
                        "an op id is below its key's floor, and an attempt may have taken effect before"
                    );
                    Some(Ending::Failed(Failure::OutcomeUnknown))
                }
                Some(attempt) if self.spec.pinned => Some(Ending::Answer { attempt }),
                _ => None,
            };
        }
        // Every node was asked, and waiting does not mend what is wrong.
        let exhausted = self.broken && !waiting && !matches!(self.choose(router), Some((_, 0)));
        exhausted.then(|| self.ending_at_deadline())
    }

    fn ending_at_deadline(&self) -> Ending {
        match (self.spec.kind, self.refusal) {
            (Kind::Mutation, _) if self.doubtful() => Ending::Failed(Failure::OutcomeUnknown),
            (Kind::Read, _) if self.damaged => Ending::Failed(Failure::Integrity),
            (_, Some(attempt)) => Ending::Answer { attempt },
            (Kind::Read, None) if self.attempts.iter().any(|attempt| attempt.state != State::Nothing) => {
                Ending::Failed(Failure::Timeout)
            }
            (Kind::Read | Kind::Mutation, None) => Ending::Failed(Failure::Unavailable),
        }
    }

    /// No attempt took effect or can: start over with an op id that the key's history can still tell apart.
    fn restart(&mut self, floor: OpId, router: &Router, now_ms: u64) {
        self.stale = None;
        self.wanted = 1;
        self.fresh += 1;
        self.retry_at = if self.fresh > FRESH_EAGER_MAX { now_ms + self.backoff(router) } else { now_ms };
        self.above = Some(floor);
    }

    /// The newest attempt is late: one more should be under way.
    fn note_late(&mut self, router: &mut Router, now_ms: u64) {
        let max = router.policy().attempts_parallel_max;
        let newest = self.attempts.iter().rposition(|attempt| attempt.state == State::Pending);
        if let Some(newest) = newest
            && !self.attempts[newest].late
            && now_ms >= self.late_at(&self.attempts[newest], router)
        {
            let attempt = &mut self.attempts[newest];
            attempt.late = true;
            router.on_late(attempt.slot, attempt.sent_ms, now_ms);
            if self.wanted < max {
                sometimes!("an attempt is late, so the client asks another node too");
                self.wanted += 1;
                router.on_hedge();
            }
        }
    }

    /// When another attempt should be under way beside this one. Where hedges have become dear that is late, but never so
    /// late that the other attempt has less time than this one: a hung node must not fail operations. Progress and a large
    /// body keep it away as ever.
    fn late_at(&self, attempt: &Attempt, router: &Router) -> u64 {
        let left = self.spec.deadline_ms.saturating_sub(attempt.alive_ms);
        attempt.alive_ms + router.hedge_ms(self.spec.kind).min(left / 2) + self.allowance(router)
    }

    fn send_wanted(&mut self, router: &mut Router, now_ms: u64, effects: &mut Vec<Effect>) {
        while number(self.pending().count()) < self.wanted && now_ms >= self.retry_at {
            let Some((slot, _)) = self.choose(router) else {
                return;
            };
            if self.attempts.is_empty() {
                router.on_first(slot);
            }
            // Not before: while it waits, the key forgets more.
            effects.extend(self.above.take().map(|floor| Effect::FreshOpId { floor }));
            let doubtful = self.spec.kind == Kind::Mutation && self.doubtful();
            sometimes!(doubtful, "a client sends a mutation again that may have taken effect");
            // A copy of it could not be told from it.
            let retry = doubtful || (router.policy().is_doubled && router.life(router.url(slot)) == 0);
            sometimes!(self.failures > 0 && !doubtful, "a client tries again what did not happen");
            effects.push(Effect::Send {
                attempt: number(self.attempts.len()),
                slot,
                retry,
                timeout_ms: self.spec.deadline_ms - now_ms,
            });
            self.attempts.push(Attempt {
                slot,
                retry,
                state: State::Pending,
                sent_ms: now_ms,
                alive_ms: now_ms,
                late: false,
            });
        }
    }

    /// Says when something is due next, unless the edge knows.
    fn wake(&mut self, router: &Router, now_ms: u64, effects: &mut Vec<Effect>) {
        let mut at = self.spec.deadline_ms;
        let mut newest = true;
        for attempt in self.attempts.iter().rev().filter(|attempt| attempt.state == State::Pending) {
            at = at.min(self.patience_ends(attempt, router));
            if newest {
                newest = false;
                if !attempt.late {
                    at = at.min(self.late_at(attempt, router));
                }
            }
        }
        if self.stale.is_none() && now_ms < self.retry_at && number(self.pending().count()) < self.wanted {
            at = at.min(self.retry_at);
        }
        // The hedge's time moves with every answer that the router hears of: a wake a little early is harmless.
        let at = at.max(now_ms + 1);
        if self.wake_at.is_none_or(|set| at < set || set <= now_ms) {
            self.wake_at = Some(at);
            effects.push(Effect::WakeAt(at));
        }
    }

    /// How much longer an attempt may take for its body.
    fn allowance(&self, router: &Router) -> u64 {
        self.spec.body_bytes.saturating_mul(1_000) / u64::from(router.policy().upload_bytes_per_s_min.max(1))
    }

    fn finish(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        sometimes!(self.pending().next().is_some(), "an operation ends while another attempt is under way");
        self.done = true;
        effects.push(Effect::Done(ending));
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("an operation makes far fewer than 2^32 attempts")
}
