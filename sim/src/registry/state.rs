//! The fake registry's state: its facts, the faults that are on, and how often each of them has bitten.
//!
//! It is on the registry's disk: a restart of the host keeps it. Whoever holds it may change it behind everybody's back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use node::registry::store::{LeaseId, Revision};
use tokio::sync::watch;

use super::facts::Facts;
use super::faults::{RegistryFault, Switches};
use crate::hooks;
use crate::random::Random;
use crate::trace::Trace;

/// Keys, leases, their history, and the faults.
#[derive(Debug)]
pub struct State {
    pub(super) facts: Facts,
    pub(super) switches: Switches,
    /// What [`RegistryFault::Restore`] brings back at its end.
    backup: Option<Facts>,
    /// Changes of leader.
    pub(super) term: u64,
    /// Nobody leads until then.
    pub(super) away_until: Duration,
    /// How often every watch was closed.
    pub(super) closings: u64,
    /// Watches opened so far.
    pub(super) watches: u64,
    seed: u64,
    /// Choices made so far, by what for: each choice has a key of its own.
    choices: BTreeMap<&'static str, u64>,
    fired: BTreeMap<&'static str, u64>,
    trace: Trace,
    /// Rises whenever a watch or the expiry of leases may have something to do.
    news: watch::Sender<u64>,
}

impl State {
    /// An empty registry. `seed`: decides what faults leave open.
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self {
            facts: Facts::default(),
            switches: Switches::default(),
            backup: None,
            term: 0,
            away_until: Duration::ZERO,
            closings: 0,
            watches: 0,
            seed,
            choices: BTreeMap::new(),
            fired: BTreeMap::new(),
            trace,
            news: watch::Sender::new(0),
        }
    }

    /// The last change.
    pub fn revision(&self) -> Revision {
        self.facts.revision()
    }

    /// The value of a key, without a network in between.
    pub fn value(&self, key: &str) -> Option<String> {
        self.facts.get(key).map(|entry| entry.value)
    }

    /// Changes the value of a key, without a network in between.
    pub fn write(&mut self, key: &str, value: String) {
        let written = self
            .change(&format!("an operator writes {key}"), |facts| facts.put(key, value, None, hooks::now()));
        written.expect("it needs no lease");
    }

    /// The keys with a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.facts.list(prefix).entries.into_iter().map(|entry| entry.key).collect()
    }

    /// How often each fault really bit, by [`RegistryFault::name`].
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.clone()
    }

    /// Lets a fault happen, or begin.
    pub fn begin(&mut self, fault: RegistryFault) {
        self.trace.line(format_args!("registry fault: {fault}"));
        let now = hooks::now();
        self.switches.set(fault, true);
        match fault {
            RegistryFault::Restore => self.backup = Some(self.facts.clone()),
            RegistryFault::LeaderChange { away_ms } => {
                self.term += 1;
                self.away_until = now + Duration::from_millis(away_ms);
                self.facts.renew_all(self.away_until);
            }
            RegistryFault::RevokeOne => {
                let leases = self.facts.leases();
                if !leases.is_empty() {
                    let lease = self.choice("lease").pick(&leases);
                    self.change("a lease is revoked early", |facts| facts.revoke(lease, now));
                    self.count(fault);
                }
            }
            RegistryFault::RevokeAll => self.revoke_all(),
            RegistryFault::Compact => self.compact(),
            RegistryFault::CloseWatches => self.closings += 1,
            RegistryFault::Wipe => self.replace(fault, Facts::default()),
            _ => {}
        }
        self.tell();
    }

    /// Ends a fault that lasts.
    pub fn end(&mut self, fault: RegistryFault) {
        self.trace.line(format_args!("registry fault over: {fault}"));
        self.switches.set(fault, false);
        if fault == RegistryFault::Restore
            && let Some(backup) = self.backup.take()
        {
            self.replace(fault, backup);
        }
        self.tell();
    }

    /// Ends all faults that last. A backup that was not restored yet never will be.
    pub fn heal(&mut self) {
        self.switches = Switches::default();
        self.backup = None;
        self.away_until = self.away_until.min(hooks::now());
        self.tell();
    }

    /// Forgets the history up to now: watches that are behind must list again.
    pub fn compact(&mut self) {
        if self.facts.compacted() < self.facts.revision() {
            self.count(RegistryFault::Compact);
        }
        self.facts.compact();
        self.tell();
    }

    /// Ends every lease, as after an outage that was too long.
    pub fn revoke_all(&mut self) {
        let leases = self.facts.leases();
        if !leases.is_empty() {
            self.count(RegistryFault::RevokeAll);
        }
        for lease in leases {
            self.change("every lease is revoked", |facts| facts.revoke(lease, hooks::now()));
        }
    }

    /// Other facts in the place of these. The members start again with them: every watch ends.
    fn replace(&mut self, fault: RegistryFault, with: Facts) {
        if with.revision() < self.facts.revision() {
            self.count(fault);
        }
        let restored = with.restored_over(&self.facts, hooks::now());
        self.change(fault.name(), |facts| *facts = restored);
        self.closings += 1;
    }

    /// The process starts: a new leader gives every lease its full time again, as etcd's does.
    pub(super) fn on_start(&mut self, now: Duration) {
        self.facts.renew_all(now);
    }

    /// When the next lease runs out. Nothing runs out while nobody leads.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.facts.next_expiry().map(|at| at.max(self.away_until))
    }

    /// Ends the leases that ran out.
    pub(super) fn expire(&mut self, now: Duration) {
        if now < self.away_until {
            return;
        }
        for LeaseId(lease) in self.facts.over(now) {
            let what = format!("lease {lease} runs out");
            self.change(&what, |facts| facts.revoke(LeaseId(lease), now));
        }
    }

    /// News, for whoever waits for some.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Changes the facts, and tells when that made a difference.
    pub(super) fn change<T>(&mut self, what: &str, change: impl FnOnce(&mut Facts) -> T) -> T {
        let before = self.revision();
        let answer = change(&mut self.facts);
        let revision = self.revision();
        if revision != before {
            self.trace.line(format_args!("registry: {what}, revision {}", revision.0));
            let percent = self.switches.compact_percent;
            if percent > 0 && self.choice("compact").percent(percent) {
                self.facts.compact();
                self.count(RegistryFault::CompactOften { percent });
            }
            self.tell();
        }
        answer
    }

    pub(super) fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// A fault has bitten.
    pub(super) fn count(&mut self, fault: RegistryFault) {
        self.trace.line(format_args!("registry fault bites: {}", fault.name()));
        *self.fired.entry(fault.name()).or_default() += 1;
    }

    /// The stream of the next choice of a kind.
    pub(super) fn choice(&mut self, what: &'static str) -> Random {
        let number = self.choices.entry(what).or_default();
        *number += 1;
        Self::keyed(self.seed, format_args!("{what}, {number}"))
    }

    /// The stream of a choice that has a name, whatever was chosen before.
    pub(super) fn named_choice(&self, name: fmt::Arguments<'_>) -> Random {
        Self::keyed(self.seed, name)
    }

    fn keyed(seed: u64, name: fmt::Arguments<'_>) -> Random {
        Random::new(seed, &format!("registry, {name}"))
    }
}
