//! The small worlds that are explored in full: each is a way in which a register protocol goes wrong.
//!
//! `HOLDFAST_EXPLORE=deep` leaves nothing out of them, and adds a restart to the one that is not lean. Name one at a time: most
//! have many times the states then.

use holdfast_core::condition::Condition;
use holdfast_core::register::Attempt::{Again, Only};
use holdfast_core::register::Request;

use crate::exploration;
use crate::world::{delete, outcome, put};

/// What a client does: one call, when it may begin.
pub struct Step {
    pub at: At,
    /// Not before this call has begun (a read: ended); and, for another attempt of the same operation, not once that one was answered.
    pub after: Option<usize>,
}

pub enum At {
    Leader(usize, Request),
    Read,
}

fn on(leader: usize, request: Request) -> Step {
    Step { at: At::Leader(leader, request), after: None }
}

fn read() -> Step {
    Step { at: At::Read, after: None }
}

impl Step {
    fn after(self, call: usize) -> Self {
        Self { after: Some(call), ..self }
    }
}

pub struct Scenario {
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub restarts: u8,
    /// Whether chosen records may be installed anywhere, at any time.
    pub installs: bool,
    /// Leaves out what multiplies the states most: a leader's own disk answers at once, and a request expires only once
    /// it was proposed.
    pub lean: bool,
    /// Whether replicas that hold the same say so. If not, no leader is ever caught up, and each learns every key.
    pub digests: bool,
}

/// Explores it twice: without digests there are more messages, at least `states_min` states; with them, fewer.
fn explore(scenario: Scenario, states_min: usize, answers: &[&str]) {
    let deep = std::env::var("HOLDFAST_EXPLORE").is_ok_and(|value| value == "deep");
    let scenario = match (deep, scenario.lean) {
        (false, _) => scenario,
        (true, true) => Scenario { lean: false, ..scenario },
        (true, false) => Scenario { restarts: 1, ..scenario },
    };
    exploration::explore(&scenario, states_min, answers);
    exploration::explore(&Scenario { digests: true, ..scenario }, states_min / 20, answers);
}

#[test]
fn one_op_id_at_two_leaders() {
    let scenario = Scenario {
        name: "one op id at two leaders",
        steps: vec![on(0, put(1, Only, Condition::Always)), on(1, put(1, Again, Condition::Always)).after(0)],
        restarts: 0,
        installs: false,
        lean: false,
        digests: false,
    };
    explore(scenario, 100_000, &["put"]);
}

#[test]
fn a_deposed_leader_refuses() {
    let scenario = Scenario {
        name: "a deposed leader refuses",
        steps: vec![
            on(0, put(1, Only, Condition::Always)),
            on(1, delete(2, Only, Condition::Always)).after(0),
            on(0, put(3, Only, Condition::IfAbsent)).after(1),
        ],
        restarts: 0,
        installs: false,
        lean: true,
        digests: false,
    };
    explore(scenario, 60_000, &["put", "condition failed"]);
}

#[test]
fn a_refused_retry_stays_refused() {
    let scenario = Scenario {
        name: "a refused retry stays refused",
        steps: vec![
            on(0, put(1, Only, Condition::Always)),
            on(0, put(2, Only, Condition::IfPresent)).after(0),
            on(1, put(2, Again, Condition::IfPresent)).after(1),
            on(0, Request::Resolve).after(2),
        ],
        restarts: 0,
        installs: false,
        lean: true,
        digests: false,
    };
    explore(scenario, 500_000, &["put", "condition failed"]);
}

#[test]
fn an_outcome_settles() {
    let scenario = Scenario {
        name: "an outcome settles",
        steps: vec![
            on(0, put(1, Only, Condition::Always)),
            on(1, outcome(1)).after(0),
            on(0, put(1, Again, Condition::Always)).after(1),
        ],
        restarts: 0,
        installs: false,
        lean: true,
        digests: false,
    };
    explore(scenario, 80_000, &["put", "committed", "fenced", "refused: fenced"]);
}

#[test]
fn readers_never_go_back() {
    let scenario = Scenario {
        name: "readers never go back",
        steps: vec![
            on(0, put(1, Only, Condition::Always)),
            read().after(0),
            on(1, Request::Resolve).after(1),
            read().after(1),
        ],
        restarts: 0,
        installs: true,
        lean: true,
        digests: false,
    };
    explore(scenario, 150_000, &["put"]);
}

#[test]
fn a_restart_takes_a_new_term() {
    let scenario = Scenario {
        name: "a restart takes a new term",
        steps: vec![
            on(0, put(1, Only, Condition::Always)),
            on(0, put(2, Only, Condition::IfPresent)).after(0),
            on(1, put(3, Only, Condition::IfAbsent)),
        ],
        restarts: 1,
        installs: false,
        lean: true,
        digests: false,
    };
    explore(scenario, 400_000, &["put", "condition failed"]);
}
