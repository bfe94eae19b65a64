//! Nodes that go without a word: killed, or frozen with requests in their hands.

use std::time::Duration;

use holdfast::Condition;
use holdfast_core::client::Policy;
use holdfast_core::history::HISTORY_ENTRIES_MAX;
use tokio::time::{Instant, sleep};

use super::{
    FAR_LONGER, FROZEN_WITHIN, KILLED_WITHIN, Kinds, Load, OPS, PATIENCE, Size, Stage, Took, not_prompt,
};
use crate::client::Course;
use crate::run::Failure;
use crate::workload::{key_name, keys};
use crate::world::Mode;

/// Operations begin within this time, and the node goes early in it.
const LOAD: Duration = Duration::from_millis(200);
const GOES_AFTER: Duration = Duration::from_millis(20);
/// A line that makes clients ask a second node.
const SLOW: Duration = Duration::from_millis(120);
/// What was with a frozen node is carried out soon after it goes on.
const CARRIED_OUT: Duration = Duration::from_millis(300);
/// Most puts of one client, one after the other; and those that it makes at the same time.
const ONE_BY_ONE_MAX: usize = 40;
const AT_ONCE: usize = 60;
/// Puts after which a key does not remember an earlier one.
const FORGOTTEN_AFTER: usize = HISTORY_ENTRIES_MAX + 4;
/// Keys that are changed meanwhile.
const CHANGED_MAX: usize = 5;
/// Puts of one client, one after the other, whose bodies may take longer than the client has; and how many of the last
/// ones may not all fail.
const LARGE_PUTS: usize = 24;
const LARGE_LAST: usize = 6;
/// Bodies are not larger than this, and messages not slower, so that a healthy node has enough time.
const LARGE_BYTES_MAX: u64 = 900_000;
const LARGE_MESSAGE_MS_MAX: u64 = 7;

impl Stage<'_> {
    /// Two nodes, one after the other, each back soon: the second had to take over from the first, perhaps.
    pub(super) fn killed(mut self) -> Result<(), Failure> {
        let mut node = self.node_of_interest();
        for _ in 0..2 {
            let mut load = self.some_load(LOAD);
            load.extend(self.one_by_one(&node, LOAD, PATIENCE));
            self.world.run_for(GOES_AFTER);
            self.world.kill(&node);
            let down = self.random.log_ms(1, 120);
            self.world.run_for(down);
            self.world.restart(&node);
            let within = KILLED_WITHIN + self.messages_under_some_load();
            self.ended(load, LOAD, within, &format!("after {node} is killed in a healthy cluster"))?;
            let others = self.others(&node);
            node = self.random.pick(&others);
        }
        Ok(())
    }

    /// Puts of one key by clients of another make, each through one node that does not go: it passes them on.
    fn one_by_one(&mut self, node: &str, lasts: Duration, limit: Duration) -> Load {
        let others = self.others(node);
        let start = |client: String| {
            let mut random = self.random.fork(&format!("{client} beside {node}"));
            let (other, key) = (random.pick(&others), key_name(0));
            let job = self.world.spawn(&client, move |client| async move {
                let (mut took, start) = (Vec::new(), Instant::now());
                while start.elapsed() < lasts && took.len() < ONE_BY_ONE_MAX {
                    let (began, course) = (Instant::now(), Course::once(&other, limit));
                    client.put_plain(&key, Condition::Always, 0, course).await;
                    let what = format!("a put of {key} by {} through {other}", client.name());
                    took.push(Took::new(what, began, Ok(())));
                }
                took
            });
            (client, job)
        };
        self.plan.client_names().into_iter().map(start).collect()
    }

    /// So many puts of one key by clients of another make that it soon does not remember those that went astray.
    fn all_at_once(&mut self, lasts: Duration) -> Load {
        let lasts_ms = u64::try_from(lasts.as_millis()).expect("short");
        let nodes = self.world.nodes();
        let start = |client: String| {
            let random = self.random.fork(&format!("{client}, all at once"));
            let nodes = nodes.clone();
            let job = self.world.spawn(&client, move |client| async move {
                let one = |number: usize| {
                    let (client, mut random) = (client.clone(), random.fork(&format!("put {number}")));
                    let course = Course::once(&random.pick(&nodes), PATIENCE);
                    async move {
                        sleep(Duration::from_millis(random.below(lasts_ms))).await;
                        let began = Instant::now();
                        client.put_plain(&key_name(0), Condition::Always, 0, course).await;
                        Took::new(format!("a put by {}", client.name()), began, Ok(()))
                    }
                };
                futures_util::future::join_all((0..AT_ONCE).map(one)).await
            });
            (client, job)
        };
        self.plan.client_names().into_iter().map(start).collect()
    }

    /// A node hangs; clients' other lines are slow, perhaps, so that they ask it too although another one answers.
    pub(super) fn frozen(mut self) -> Result<(), Failure> {
        let node = self.node_of_interest();
        if self.random.one_in(2) {
            let load = self.all_at_once(2 * LOAD);
            self.world.run_for(GOES_AFTER);
            self.world.freeze(&node);
            let within = PATIENCE + FROZEN_WITHIN + self.messages_under_some_load();
            self.ended(load, 2 * LOAD, within, &format!("after {node} hangs under load"))?;
            self.goes_on_when_all_is_changed(&node, true);
            return Ok(());
        }
        let is_slow = self.random.one_in(2);
        if is_slow {
            self.slow_clients(&node, SLOW);
        }
        let load = self.some_load(LOAD);
        self.world.run_for(GOES_AFTER);
        self.world.freeze(&node);
        let mut within = FROZEN_WITHIN + self.messages_under_some_load();
        if self.random.one_in(2) {
            // And one that has passed requests on to it is gone for a moment: whoever asked it knows nothing.
            let others = self.others(&node);
            let (other, after) = (self.random.pick(&others), self.random.log_ms(1, 60));
            self.world.run_for(after);
            self.world.kill(&other);
            self.world.restart(&other);
            within += KILLED_WITHIN;
        }
        if is_slow {
            within += 6 * SLOW;
        }
        if self.plan.browsers > 0 {
            within += FAR_LONGER;
        }
        self.ended(load, LOAD, within, &format!("after {node} hangs in a healthy cluster"))?;
        if is_slow {
            self.slow_clients(&node, Duration::ZERO);
        }
        self.goes_on_when_all_is_changed(&node, true);
        Ok(())
    }

    /// The usual leader hangs, and clients in a hurry send it bodies that take all their time: only the deadline itself
    /// tells them that it does not answer.
    pub(super) fn frozen_for_large_bodies(self) -> Result<(), Failure> {
        let key = key_name(0);
        let Some(node) = self.world.usual_leader(&key) else { return Ok(()) };
        // Through the windows of HTTP/2 such a body takes too many round trips.
        if self.plan.mode == Mode::Wire || self.plan.latency_ms + self.plan.jitter_ms > LARGE_MESSAGE_MS_MAX {
            return Ok(());
        }
        self.world.freeze(&node);
        // The other nodes know it.
        self.world.run_for(FROZEN_WITHIN);
        let start = |(number, client): (usize, String)| {
            let in_browser = number + self.plan.browsers >= self.plan.clients;
            let policy = if in_browser { Policy::FAR } else { Policy::NEAR };
            let bytes = self.plan.timeout_ms * u64::from(policy.upload_bytes_per_s_min) / 1_000;
            if bytes > LARGE_BYTES_MAX {
                return None;
            }
            let (key, bytes) = (key.clone(), usize::try_from(bytes).expect("at most the largest"));
            let job = self.world.spawn(&client, move |client| async move {
                let mut answered = Vec::new();
                for _ in 0..LARGE_PUTS {
                    answered.push(client.put(&key, Condition::Always, bytes).await.is_ok());
                }
                answered
            });
            Some((client, job))
        };
        let jobs: Vec<_> = self.plan.client_names().into_iter().enumerate().filter_map(start).collect();
        for (client, job) in jobs {
            let answered = self.world.wait(job);
            if !answered[LARGE_PUTS - LARGE_LAST..].contains(&true) {
                let why = format!(
                    "the last {LARGE_LAST} of {LARGE_PUTS} puts by {client} fail, although only {node} hangs"
                );
                return not_prompt(why);
            }
        }
        self.world.thaw(&node);
        Ok(())
    }

    /// A node hangs with clients' requests until they give them up, and nobody else can answer so long.
    pub(super) fn hung_while_nobody_answers(mut self) -> Result<(), Failure> {
        let silence = Duration::from_millis(u64::from(Policy::NEAR.attempt_silence_ms_max));
        if Duration::from_millis(self.plan.timeout_ms) < 2 * silence {
            return Ok(());
        }
        let (node, gone) = (self.node(), self.random.one_in(2));
        // When the others cannot even be connected to, the request at the node is the only one under way.
        let down = self.random.one_in(2);
        let keys = self.plan.keys.min(CHANGED_MAX);
        if gone {
            self.change_all(true);
        }
        self.world.freeze(&node);
        self.others_away(&node, down, true);
        let kinds = if gone { Kinds::OfNothing } else { Kinds::Usual };
        let size = Size { ops: OPS, keys, kinds };
        let load = self.load(LOAD, size);
        self.world.run_for(LOAD + self.messages());
        // Nor does it hear that they were given up.
        for client in self.plan.client_names() {
            self.world.cut_one_way(&client, &node);
        }
        // So long, perhaps, that what was lost on a connection would be sent again only long after.
        let longer = if !down && self.random.one_in(2) { 3_300 } else { 0 };
        let apart = silence + LOAD + Duration::from_millis(longer + self.random.below(400));
        self.world.run_for(apart);
        self.others_away(&node, down, false);
        let mut within = apart + LOAD + FROZEN_WITHIN + FAR_LONGER + 2 * self.messages_under(size);
        if self.plan.browsers > 0 {
            within += FAR_LONGER;
        }
        let although =
            format!("after {node} hangs and nobody else could answer for {} ms", apart.as_millis());
        self.ended(load, LOAD, within, &although)?;
        self.goes_on_when_all_is_changed(&node, !gone);
        self.world.rejoin(&node);
        Ok(())
    }

    /// A put is carried out, its answer is lost, and the key forgets it before its client asks another node: the client
    /// may not begin anew then, as if it had not happened.
    pub(super) fn answered_to_nobody(self) -> Result<(), Failure> {
        let key = key_name(0);
        let order = self.world.usual_leaders(&key);
        let [leader, other, ..] = order.as_slice() else { return Ok(()) };
        // The last one is a page in a browser, perhaps: that asks another node late.
        let Some(client) = self.plan.client_names().pop().filter(|_| self.is_patient()) else {
            return Ok(());
        };
        self.world.cut_one_way(leader, &client);
        let name = key.clone();
        let unanswered = self.world.spawn(&client, move |client| async move {
            // Whatever it is told: the history is checked.
            let _ = client.put(&name, Condition::Always, 0).await;
        });
        self.world.run_for(self.messages() / 3);
        let other = other.clone();
        let forgotten = self.world.spawn(&client, move |client| async move {
            let _ = client.get_through(&client.only(&other), &key).await;
            let one = |_| client.put_plain(&key, Condition::Always, 0, Course::once(&other, PATIENCE));
            futures_util::future::join_all((0..FORGOTTEN_AFTER).map(one)).await;
        });
        self.world.wait(unanswered);
        self.world.wait(forgotten);
        self.world.heal_one_way(leader, &client);
        Ok(())
    }

    /// The other nodes are down, or do not reach each other; or not any more.
    fn others_away(&mut self, node: &str, down: bool, away: bool) {
        let others = self.others(node);
        if down {
            self.world.supervise(!away);
        }
        for (number, a) in others.iter().enumerate() {
            match (down, away) {
                (true, true) => self.world.kill(a),
                (true, false) => self.world.restart(a),
                (false, _) => {
                    for b in &others[number + 1..] {
                        if away {
                            self.world.cut(a, b);
                        } else {
                            self.world.heal(a, b);
                        }
                    }
                }
            }
        }
    }

    fn slow_clients(&mut self, node: &str, by: Duration) {
        for client in self.plan.client_names() {
            for other in self.world.nodes().iter().filter(|other| *other != node) {
                self.world.slow_down(&client, other, by);
            }
        }
    }

    /// The node goes on when all objects are gone, or there again, that had refused what it was asked: now what it carries
    /// out late finds what it needs.
    pub(super) fn goes_on_when_all_is_changed(&mut self, node: &str, gone: bool) {
        self.change_all(gone);
        self.world.thaw(node);
        self.world.run_for(CARRIED_OUT);
    }

    pub(super) fn change_all(&mut self, gone: bool) {
        if !self.is_patient() {
            return;
        }
        let keys = keys(self.plan.keys.min(CHANGED_MAX));
        self.world.call("c0", move |client| async move {
            for key in keys {
                let _ = match gone {
                    true => client.delete(&key, Condition::Always).await.map(drop),
                    false => client.put(&key, Condition::Always, 0).await.map(drop),
                };
            }
        });
    }
}
