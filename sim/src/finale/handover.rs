//! Leaderships that change hands in an unlucky moment.

use std::time::Duration;

use holdfast::Condition;
use tokio::time::Instant;

use super::{FAR_LONGER, FROZEN_WITHIN, KILLED_WITHIN, Kinds, Load, PATIENCE, Size, Stage, Took};
use crate::client::Course;
use crate::run::Failure;
use crate::workload::{key_name, keys};
use crate::world::Job;

/// Operations begin within this time.
const LOAD: Duration = Duration::from_millis(200);
/// Keys to look at, and those of them to take, for a leader's.
const KEYS_SEEN: usize = 300;
const KEYS_MAX: usize = 40;
/// A node that was started takes its leaderships back within this time, and not before that one, beside that of messages.
const TAKEN_BACK_FIRST: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(60));
/// And one that was not, or that has led since.
const TAKEN_BACK: Duration = Duration::from_millis(700);
/// And has connections to all others within this one, beside that of messages.
const CONNECTED: Duration = Duration::from_millis(50);
/// A node that is asked so much earlier than another one suspects a third so much earlier.
const AHEAD: Duration = Duration::from_millis(120);
/// What is passed on to a node that hangs is with it for so long: it is suspected after 200 ms.
const PASSED_ON: Duration = Duration::from_millis(170);

impl Stage<'_> {
    /// A leader is back and takes its leaderships from the one that stood in for it, which is in the middle of writes just
    /// then, of clients whose time is nearly over: they may have happened.
    pub(super) fn deposed_in_the_middle(mut self) -> Result<(), Failure> {
        let (leader, clients) = (self.node(), self.plan.client_names());
        let orders = self.world.usual_leaders_of(keys(KEYS_SEEN)).into_iter();
        let led = orders.filter_map(|(key, order)| match &order[..] {
            [first, second, ..] if *first == leader => Some((key, second.clone())),
            _ => None,
        });
        let led: Vec<_> = led.take(KEYS_MAX).collect();
        self.world.kill(&leader);
        let mut load = Load::new();
        for ((key, second), client) in led.iter().zip(clients.iter().cycle()) {
            load.push(self.one_put(client, key, second, PATIENCE));
        }
        let within = KILLED_WITHIN + self.messages();
        self.ended(load, Duration::ZERO, within, &format!("after {leader} is killed in a healthy cluster"))?;
        self.world.restart(&leader);
        self.world.run_for(TAKEN_BACK_FIRST.0);
        let lasts = TAKEN_BACK_FIRST.1 + self.messages() / 2;
        let mut load = Load::new();
        for ((key, second), client) in led.iter().zip(clients.iter().cycle()) {
            load.push(self.hurried_puts(client, key, second, lasts));
        }
        self.ended(load, lasts, PATIENCE, "that has hardly enough time")
    }

    /// What clients had passed on to a leader that hangs, by way of a node that is gone a moment later: they know nothing
    /// of it, and it may happen when the leader goes on.
    pub(super) fn passed_on_and_lost(mut self) -> Result<(), Failure> {
        let order = self.world.usual_leaders(&key_name(0));
        let [leader, between, third, ..] = order.as_slice() else { return Ok(()) };
        let mut orders = self.world.usual_leaders_of(keys(KEYS_SEEN)).into_iter();
        let beside = orders.find(|(_, order)| order.first() == Some(third) && order.contains(leader));
        let Some((beside, _)) = beside.filter(|_| self.is_patient()) else { return Ok(()) };
        self.change_all(false);
        let clients = self.plan.client_names();
        // Clients do not ask the leader any more; of the others they ask the next one first.
        self.world.kill(leader);
        let size = |kinds| Size { ops: 3, keys: 1, kinds };
        let load = self.load(LOAD, size(Kinds::Usual));
        self.world.run_for(LOAD / 2);
        for client in &clients {
            self.world.cut(client, leader);
        }
        self.world.restart(leader);
        let mut within = FROZEN_WITHIN + KILLED_WITHIN + self.messages_under(size(Kinds::Usual));
        if self.plan.browsers > 0 {
            within += FAR_LONGER;
        }
        // Some wait for it when it is back and cannot be reached by them.
        self.ended(
            load,
            LOAD,
            within,
            &format!("after {leader} is killed, and then not reached by clients"),
        )?;
        self.world.run_for(TAKEN_BACK);
        // The third one notices first that the leader hangs, and does not pass on what it is asked next.
        self.world.freeze(leader);
        let mut load = vec![self.one_put(&clients[0], &beside, third, PATIENCE)];
        self.world.run_for(AHEAD);
        load.extend(self.load(PASSED_ON / 2, size(Kinds::Refused)));
        self.world.run_for(PASSED_ON + Duration::from_millis(self.plan.latency_ms + self.plan.jitter_ms / 2));
        self.world.kill(between);
        self.world.restart(between);
        let although = format!("after {leader} hangs and {between}, which passes requests on, is killed");
        self.ended(load, AHEAD, within, &although)?;
        self.goes_on_when_all_is_changed(leader, true);
        for client in &clients {
            self.world.heal(client, leader);
        }
        Ok(())
    }

    /// The node that took over from one that hung is killed as soon as that one goes on, and is back at once: each takes
    /// the other for the leader.
    pub(super) fn killed_after_a_takeover(mut self) -> Result<(), Failure> {
        let key = key_name(0);
        let order = self.world.usual_leaders(&key);
        let [first, second, ..] = order.as_slice() else { return Ok(()) };
        // One of each client, at the same time.
        let puts = Size { ops: 1, keys: 1, kinds: Kinds::Refused };
        self.world.freeze(first);
        let clients = self.plan.client_names();
        let load = clients.iter().map(|client| self.one_put(client, &key, second, PATIENCE)).collect();
        let within = FROZEN_WITHIN + self.messages_under(puts);
        self.ended(load, Duration::ZERO, within, &format!("after {first} hangs"))?;
        self.world.thaw(first);
        let after = self.messages() / 4 + Duration::from_millis(self.random.below(20));
        self.world.run_for(after);
        self.world.kill(second);
        let down = self.random.log_ms(1, 16);
        self.world.run_for(down);
        self.world.restart(second);
        // Each reaches the other again.
        self.world.run_for(CONNECTED + self.messages() / 2);
        let mut load = Load::new();
        for client in &clients {
            let node = self.random.pick(&[first, second]);
            load.push(self.one_put(client, &key, node, PATIENCE));
        }
        let within = KILLED_WITHIN + self.messages_under(puts);
        self.ended(
            load,
            Duration::ZERO,
            within,
            &format!("after {second} took over from {first} and is killed"),
        )
    }

    /// One put by a client of another make.
    pub(super) fn one_put(
        &mut self,
        client: &str,
        key: &str,
        node: &str,
        limit: Duration,
    ) -> (String, Job<Vec<Took>>) {
        let (key, node) = (key.to_owned(), node.to_owned());
        let job = self.world.spawn(client, move |client| async move {
            let began = Instant::now();
            client.put_plain(&key, Condition::Always, 0, Course::once(&node, limit)).await;
            let what = format!("a put of {key} by {} through {node}", client.name());
            vec![Took::new(what, began, Ok(()))]
        });
        (client.to_owned(), job)
    }

    /// Puts of a client of another make, one after the other, each with hardly enough time.
    fn hurried_puts(
        &mut self,
        client: &str,
        key: &str,
        node: &str,
        lasts: Duration,
    ) -> (String, Job<Vec<Took>>) {
        let mut random = self.random.fork(&format!("{client} hurries with {key}"));
        let (key, node) = (key.to_owned(), node.to_owned());
        let spread = 2 * (self.plan.latency_ms + self.plan.jitter_ms) + 6;
        let job = self.world.spawn(client, move |client| async move {
            let (mut took, start) = (Vec::new(), Instant::now());
            while start.elapsed() < lasts {
                let limit = Duration::from_millis(1 + random.below(spread));
                let began = Instant::now();
                client.put_plain(&key, Condition::Always, 0, Course::once(&node, limit)).await;
                took.push(Took::new(format!("a put of {key} by {}", client.name()), began, Ok(())));
            }
            took
        });
        (client.to_owned(), job)
    }
}
