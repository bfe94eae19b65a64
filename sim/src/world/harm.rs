//! What can be done to a world: cuts, kills, power losses, freezes, and their ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use node::env::Net;

use super::{LAYOUT, World};
use crate::net::{Link, SimNet};
use crate::registry;
use crate::relayout::next_layout;

impl World {
    /// Cuts both directions of the link between two hosts: packets are lost, connecting hangs.
    pub fn cut(&mut self, a: &str, b: &str) {
        self.trace.line(format_args!("fault: {a} and {b} are cut off from each other"));
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Heals the link between two hosts. As often as it was cut.
    pub fn heal(&mut self, a: &str, b: &str) {
        self.trace.line(format_args!("fault over: {a} and {b} reach each other again"));
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// Packets from one host to another are lost; those of the other direction are not.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        self.with_link(from, to, |link| link.cut("cut"));
    }

    /// Ends that.
    pub fn heal_one_way(&mut self, from: &str, to: &str) {
        self.with_link(from, to, |link| link.mend("cut"));
    }

    pub(crate) fn with_link(&self, from: &str, to: &str, change: impl FnOnce(&mut Link)) {
        self.fabric.with_link(self.host(from), self.host(to), change);
    }

    /// Cuts a host off from all others, but for those in `except`.
    pub fn isolate(&mut self, host: &str, except: &[&str]) {
        for other in self.hosts() {
            if other != host && !except.contains(&other.as_str()) {
                self.cut(host, &other);
            }
        }
    }

    /// Heals all links of a host.
    pub fn rejoin(&mut self, host: &str) {
        for other in self.hosts() {
            if other != host {
                self.heal(host, &other);
            }
        }
    }

    /// Makes packets between two hosts take so much longer, both ways.
    pub fn slow_down(&mut self, a: &str, b: &str, by: Duration) {
        self.trace.line(format_args!("fault: packets between {a} and {b} take {by:?} longer"));
        self.with_link(a, b, |link| link.slow_down(by));
        self.with_link(b, a, |link| link.slow_down(by));
    }

    /// Of a thousand packets between any two hosts, so many are lost.
    pub fn lose_everywhere(&mut self, of_thousand: u32) {
        let hosts = self.hosts();
        for a in &hosts {
            for b in hosts.iter().filter(|b| *b != a) {
                self.with_link(a, b, |link| link.lose(of_thousand));
            }
        }
    }

    /// Of a thousand packets from and to a host, so many meet something on their way that does not know their connection any
    /// more, and resets it.
    pub fn reset_connections(&mut self, host: &str, of_thousand: u32) {
        for other in self.hosts().iter().filter(|other| *other != host) {
            self.with_link(host, other, |link| link.reset(of_thousand));
            self.with_link(other, host, |link| link.reset(of_thousand));
        }
    }

    /// Whether a node's process runs.
    pub fn is_running(&self, node: &str) -> bool {
        self.fabric.process(self.place(node).host).is_some()
    }

    /// `kill -9`: the process is gone at once, its peers see their connections end; what it wrote is in the page cache.
    pub fn kill(&mut self, node: &str) {
        if self.is_running(node) {
            self.trace.line(format_args!("fault: {node} is killed"));
            self.end_process(node);
        }
    }

    /// Power loss: nobody is told, and of what was not synced any part survives.
    pub fn power_loss(&mut self, node: &str) {
        let place = self.place(node);
        // Before the process: what it does while it is torn down must not reach the disk.
        place.disk.power_loss();
        self.fabric.end_process(place.host, true);
    }

    /// From here on a node's disk may take away what it said it keeps. A node that comes back without it is not started
    /// any more: its operator has to replace it.
    pub fn distrust_disk(&mut self, node: &str) {
        self.oracles.excuse_disk(node);
    }

    /// Starts a node's process again, after a kill, a power loss or a stop.
    pub fn restart(&mut self, node: &str) {
        if self.is_running(node) || self.oracles.has_forgotten(node) {
            return;
        }
        self.trace.line(format_args!("fault over: {node} starts"));
        self.place(node).disk.power_on();
        self.start_node(node);
    }

    /// The other version of the program takes the place of a node's: its next process is of it. See `docs/simulation.md`.
    pub fn change_version(&mut self, node: &str) {
        let next = !self.place(node).next_version.fetch_xor(true, Ordering::Relaxed);
        self.trace.line(format_args!("{node} is of the {} version", if next { "next" } else { "usual" }));
    }

    /// Stops a node's process where it is (SIGSTOP): its connections stay, nothing of it runs.
    pub fn freeze(&mut self, node: &str) {
        if let Some(process) = self.fabric.process(self.host(node)) {
            self.trace.line(format_args!("fault: {node} is frozen"));
            process.freeze();
        }
    }

    /// Lets it go on. Gives how often something of it would have run meanwhile.
    pub fn thaw(&mut self, node: &str) -> u64 {
        if let Some(process) = self.fabric.process(self.host(node))
            && process.is_frozen()
        {
            self.trace.line(format_args!("fault over: {node} goes on"));
            return process.thaw();
        }
        0
    }

    /// A client's program is gone, in the middle of whatever it did; another takes its place.
    pub fn replace_client(&mut self, client: &str) {
        self.trace.line(format_args!("fault: {client} vanishes"));
        self.fabric.end_process(self.host(client), false);
        self.start_client(client);
    }

    /// Asks a node to stop, as SIGTERM does.
    pub fn ask_to_stop(&mut self, node: &str) {
        self.trace.line(format_args!("fault: {node} is asked to stop"));
        let stop = self.place(node).end.lock().stop.clone();
        stop.cancel();
    }

    /// Ends the registry's process. What it holds is on its disk.
    pub fn stop_registry(&mut self) {
        if self.registry_up {
            self.trace.line(format_args!("fault: the registry stops"));
            self.fabric.end_process(self.registry_host, false);
            self.registry_up = false;
        }
    }

    /// The registry's machine loses its power: nobody is told. What it holds is on its disk.
    pub fn darken_registry(&mut self) {
        if self.registry_up {
            self.trace.line(format_args!("fault: the registry's machine loses power"));
            self.fabric.end_process(self.registry_host, true);
            self.registry_up = false;
        }
    }

    /// Starts the registry's process again.
    pub fn start_registry(&mut self) {
        if !self.registry_up {
            self.trace.line(format_args!("fault over: the registry starts"));
            let net: Arc<dyn Net> = Arc::new(SimNet::new(self.fabric.clone(), self.registry_host));
            let process = self.fabric.start_process(self.registry_host);
            let state = self.registry.clone();
            let spawn: registry::Spawner = Arc::new(|task| drop(holdfast::tasks::spawn(task)));
            self.run_on(&process, async move {
                let ended = registry::serve(net, spawn, state).await;
                panic!("the registry ended: {ended:?}");
            });
            self.registry_up = true;
        }
    }

    /// An operator, or a planner, writes another layout into the registry. Says whether: not when the registry is away, nor
    /// when it was emptied or set back, which whoever writes layouts has to notice.
    pub fn relayout(&mut self) -> bool {
        let Some(layout) = self.layout() else { return false };
        if !self.registry_up || self.layouts.last().is_some_and(|last| last.version > layout.version) {
            return false;
        }
        let mut random = self.random.fork(&format!("layout {}", layout.version));
        let next = next_layout(&layout, &self.hot, &mut random);
        let text = node::registry::encode_layout(&next).expect("it follows one that the registry held");
        self.trace.line(format_args!("the layout of version {} is written", next.version));
        self.registry.lock().write(LAYOUT, text);
        self.layouts.push(next);
        true
    }

    /// Before anything runs: a node's machine loses its power at a change of the disk of its first start.
    pub(crate) fn tear_start(&mut self, node: &str, changes: u64) {
        self.place(node).disk.power_off_in(changes);
        self.supervised = true;
    }

    /// The first start is over: a power that has not failed in it does not fail. Says whose did.
    pub(crate) fn started(&mut self) -> Vec<String> {
        self.supervised = false;
        let torn = self.nodes.values().filter(|place| place.end.lock().starts > 1);
        torn.map(|place| place.name.clone()).collect()
    }

    /// Ends every fault that lasts. From here on a node's process that ends by itself is started again.
    pub fn heal_all(&mut self) {
        self.heal_nodes(&self.nodes());
        self.note("everything is healed");
    }

    /// Ends every fault of these nodes, of all links and of the registry. What else is broken stays so.
    pub fn heal_nodes(&mut self, nodes: &[String]) {
        self.fabric.heal_links();
        for node in nodes {
            self.disk(node).heal();
            self.clock(node).drift(0);
            self.thaw(node);
            self.restart(node);
        }
        self.supervised = true;
        self.registry.lock().heal();
        self.start_registry();
    }
}
