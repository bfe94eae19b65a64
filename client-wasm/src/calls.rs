//! The operations under way, and what TypeScript must do for each: `core::client` with a number for each operation.

use alloc::string::String;
use alloc::vec::Vec;

use holdfast_core::client::{
    Answer, Effect, Ending, Kind, OpClock, Operation, Policy, Router, Slot, Spec, Topology,
};
use holdfast_core::error::{Code, Error};
use holdfast_core::ids::{ObjectName, OpId, Partition};

use crate::fault::{Fault, code};
use crate::json::{JsonObject, array, hex};

/// All that a client has under way.
pub(crate) struct Calls {
    router: Router,
    op_clock: OpClock,
    /// By number; an ended one's place is used again.
    operations: Vec<Option<Operation>>,
    /// Whom the topology is being asked of.
    refreshing: Vec<Slot>,
}

impl Calls {
    /// For a client of the nodes at these addresses.
    pub(crate) fn new(endpoints: &[String]) -> Result<Self, Fault> {
        let router = Router::new(endpoints.iter().map(String::as_str), Policy::FAR)?;
        Ok(Self { router, op_clock: OpClock::new(), operations: Vec::new(), refreshing: Vec::new() })
    }

    /// Begins an operation: `{"call":…,"effects":[…]}`.
    pub(crate) fn begin(&mut self, spec: Spec, now_ms: u64, random: u64) -> String {
        let mut effects = Vec::new();
        let operation = Operation::begin(spec, &mut self.router, now_ms, random, &mut effects);
        let free = self.operations.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.operations.push(None);
            self.operations.len() - 1
        });
        if let Some(place) = self.operations.get_mut(at) {
            *place = Some(operation);
        }
        let json = JsonObject::new().number("call", at as u64);
        json.json("effects", &self.effects(&effects)).finish()
    }

    /// An attempt ended, with what [`answer`] reads. The effects.
    pub(crate) fn on_answer(&mut self, call: usize, attempt: u32, text: &str, now_ms: u64) -> String {
        let answer = answer(text);
        if let Answer::Refused(Code::StaleOpId(floor)) = &answer {
            self.op_clock.on_refused(*floor);
        }
        self.with(call, |operation, router, effects| {
            operation.on_answer(attempt, &answer, router, now_ms, effects);
        })
    }

    /// Bytes of an attempt moved.
    pub(crate) fn on_progress(&mut self, call: usize, attempt: u32, now_ms: u64) {
        if let Some(Some(operation)) = self.operations.get_mut(call) {
            operation.on_progress(attempt, now_ms);
        }
    }

    /// The time of the last `wake` came. The effects.
    pub(crate) fn on_time(&mut self, call: usize, now_ms: u64) -> String {
        self.with(call, |operation, router, effects| operation.on_time(router, now_ms, effects))
    }

    /// The caller is through with it, ended or not.
    pub(crate) fn end(&mut self, call: usize) {
        if let Some(place) = self.operations.get_mut(call) {
            *place = None;
        }
    }

    /// The node that must be asked for the topology now: `{"node":…,"url":…}`, or `null`.
    pub(crate) fn refresh_due(&mut self, now_ms: u64, random: u64) -> String {
        let Some(slot) = self.router.refresh_due(now_ms, random) else { return "null".into() };
        self.refreshing.push(slot);
        let json = JsonObject::new().number("node", slot.index() as u64);
        json.string("url", self.router.url(slot)).finish()
    }

    /// The topology, or none, came from the node of this number that [`Self::refresh_due`] named.
    pub(crate) fn on_refresh(
        &mut self,
        node: usize,
        topology: Option<Topology>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let Some(at) = self.refreshing.iter().position(|slot| slot.index() == node) else { return Ok(()) };
        let slot = self.refreshing.swap_remove(at);
        match topology {
            Some(topology) => Ok(self.router.on_topology(slot, &topology, now_ms)?),
            None => {
                self.router.on_refresh_failed(slot, now_ms);
                Ok(())
            }
        }
    }

    /// A topology told a node's time.
    pub(crate) fn on_time_told(&mut self, unix_ms: u64) {
        self.op_clock.on_time(unix_ms);
    }

    /// Whether a topology came yet.
    pub(crate) fn knows_topology(&self) -> bool {
        self.router.layout_version().is_some()
    }

    /// See [`Router::life`].
    pub(crate) fn life(&self, url: &str) -> u64 {
        self.router.life(url)
    }

    /// Where an object is best asked for; empty: any node.
    pub(crate) fn leader_url(&self, partition: Partition) -> &str {
        self.router.leader(partition).map_or("", |slot| self.router.url(slot))
    }

    /// An op id made now, larger than `floor` (16 bytes, or none).
    pub(crate) fn op_id(&mut self, unix_ms: u64, random: &[u8], floor: &[u8]) -> Result<OpId, Fault> {
        let mut bits = [0; 10];
        for (to, from) in bits.iter_mut().zip(random) {
            *to = *from;
        }
        let floor = if floor.is_empty() { OpId::default() } else { OpId::from_slice(floor)? };
        Ok(self.op_clock.op_id(unix_ms, bits, floor))
    }

    fn with(
        &mut self,
        call: usize,
        event: impl FnOnce(&mut Operation, &mut Router, &mut Vec<Effect>),
    ) -> String {
        let mut effects = Vec::new();
        if let Some(Some(operation)) = self.operations.get_mut(call) {
            event(operation, &mut self.router, &mut effects);
        }
        self.effects(&effects)
    }

    fn effects(&self, effects: &[Effect]) -> String {
        array(effects.iter().map(|effect| self.effect(effect)))
    }

    fn effect(&self, effect: &Effect) -> String {
        let json = JsonObject::new();
        match *effect {
            Effect::Send { attempt, slot, retry, timeout_ms } => json
                .string("do", "send")
                .number("attempt", attempt.into())
                .string("url", self.router.url(slot))
                .flag("retry", retry)
                .number("timeoutMs", timeout_ms),
            Effect::Cancel { attempt } => json.string("do", "cancel").number("attempt", attempt.into()),
            Effect::WakeAt(at) => json.string("do", "wake").number("at", at),
            Effect::FreshOpId { floor } => {
                json.string("do", "fresh").string("floor", &hex(&floor.to_bytes()))
            }
            Effect::Done(Ending::Answer { attempt }) => {
                json.string("do", "answer").number("attempt", attempt.into())
            }
            Effect::Done(Ending::Failed(failure)) => {
                let error = Error::new(failure.code(), message(&failure.code()));
                json.string("do", "failed").json("error", &Fault::from(error).0)
            }
        }
        .finish()
    }
}

/// What an operation is, for [`Calls::begin`]. An empty key: any node is as good as any other.
pub(crate) fn spec(
    bucket: &str,
    key: &str,
    mutation: bool,
    body_bytes: u64,
    deadline_ms: u64,
    doubtful: bool,
) -> Result<Spec, Fault> {
    let partition = if key.is_empty() { None } else { Some(ObjectName::new(bucket, key)?.partition()) };
    let kind = if mutation { Kind::Mutation } else { Kind::Read };
    Ok(Spec { kind, partition, body_bytes, deadline_ms, doubtful, pinned: false })
}

/// How an attempt ended: `ok`, `unchanged`, `damaged`, `not-sent`, `lost`, or the code of the node's error
/// (with `stale-op-id:` and the floor in hex). What is none of these is no answer.
fn answer(text: &str) -> Answer {
    match text {
        "ok" => Answer::Ok,
        "unchanged" => Answer::Unchanged,
        "damaged" => Answer::Damaged,
        "not-sent" => Answer::NotSent,
        _ => {
            let refused = match text.split_once(':') {
                Some((_, floor)) => floor.parse::<OpId>().ok().map(Code::StaleOpId),
                None => code(text, &[]),
            };
            refused.map_or(Answer::Lost, Answer::Refused)
        }
    }
}

/// A sentence for people about an end that no node spoke of.
fn message(code: &Code) -> &'static str {
    match code {
        Code::Timeout => "no node answered in time",
        Code::OutcomeUnknown => {
            "no answer came in time, and it may or may not have happened: ask outcome() with the error's operation id, \
             or look at the object"
        }
        Code::Integrity => "what every node answered was damaged on the way",
        _ => "no node could be reached: nothing was changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:7070";

    fn calls() -> Calls {
        Calls::new(&[URL.to_string(), "http://127.0.0.1:7071/".to_string()]).unwrap()
    }

    #[test]
    fn a_lost_put_goes_to_the_other_node_and_its_answer_counts() {
        let mut calls = calls();
        let spec = spec("b", "k", true, 3, 5_000, false).unwrap();
        let begun = calls.begin(spec, 0, 0);
        assert!(begun.starts_with(
            r#"{"call":0,"effects":[{"do":"send","attempt":0,"url":"http://127.0.0.1:7070","retry":true"#
        ));
        let effects = calls.on_answer(0, 0, "lost", 10);
        assert!(effects.contains(r#""attempt":1,"url":"http://127.0.0.1:7071""#), "{effects}");
        assert!(calls.on_answer(0, 1, "ok", 20).contains(r#"{"do":"answer","attempt":1}"#));
        calls.end(0);
        assert_eq!(calls.on_time(0, 30), "[]");
        assert!(calls.begin(spec, 30, 0).starts_with(r#"{"call":0,"#));
    }

    #[test]
    fn a_put_that_nobody_answered_may_have_happened() {
        let mut calls = calls();
        calls.begin(spec("b", "k", true, 3, 5_000, false).unwrap(), 0, 0);
        let effects = calls.on_time(0, 5_000);
        assert!(effects.contains(r#"{"do":"failed","error":{"code":"outcome-unknown""#), "{effects}");
    }

    #[test]
    fn what_typescript_says_is_understood_or_counts_as_no_answer() {
        assert_eq!(answer("condition-failed"), Answer::Refused(Code::ConditionFailed(None)));
        let floor = "0000000000000000000000000000000a";
        assert_eq!(answer(&["stale-op-id:", floor].concat()), Answer::Refused(Code::StaleOpId(OpId(10))));
        for text in ["", "lost", "gibberish", "stale-op-id", "stale-op-id:zz"] {
            assert_eq!(answer(text), Answer::Lost, "{text}");
        }
    }

    #[test]
    fn a_fresh_op_id_is_above_the_floor() {
        let floor = OpId::from_parts(1_000, [9; 10]);
        let mut calls = Calls::new(&["http://n:7070".to_owned()]).unwrap();
        let fresh = calls.op_id(10, &[1; 10], &floor.to_bytes()).unwrap();
        assert!(fresh > floor);
        assert!(calls.op_id(10, &[1; 10], &[1]).is_err());
    }
}
