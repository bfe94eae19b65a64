//! What a watch is told and when, with the faults that are on.

use std::time::Duration;

use node::registry::store::{Change, Revision, StoreError};

use super::faults::RegistryFault;
use super::state::State;

/// A key that is none of the nodes' business.
const STRANGER: &str = "/somebody/else";

/// One open watch.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    number: u64,
    prefix: String,
    /// The next revision to tell of.
    from: Revision,
    closings: u64,
    term: u64,
    /// The last change of which it was noted that it is late.
    late: Revision,
    quiet: bool,
}

/// What a watch does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Tells these, perhaps none. Looks again at this time, if there is no news before.
    Tell(Vec<Change>, Option<Duration>),
    /// Says nothing, not even that it lives.
    Quiet,
    /// Ends, with or without an error.
    End(Option<StoreError>),
}

impl State {
    /// A watch is about to begin. Others use the registry too: what they change can make it forget, just then, what the
    /// watch begins with.
    pub(super) fn before_watch(&mut self, now: Duration) {
        let percent = self.switches.compact_percent;
        if percent > 0 && self.choice("compact before a watch").percent(percent) {
            let written =
                self.change("somebody else's change", |facts| facts.put(STRANGER, String::new(), None, now));
            written.expect("it needs no lease");
            self.facts.compact();
            self.count(RegistryFault::CompactOften { percent });
        }
    }

    /// A watch begins.
    pub(super) fn open_watch(&mut self, prefix: String, from: Revision) -> Watcher {
        self.watches += 1;
        let mut watcher = Watcher {
            number: self.watches,
            prefix,
            from,
            closings: self.closings,
            term: self.term,
            late: Revision(0),
            quiet: false,
        };
        let duplicates = usize::try_from(self.switches.duplicates).unwrap_or(usize::MAX);
        let told = self.facts.changes(&watcher.prefix, Revision(0)).rev();
        let again = told.map(|made| made.change.revision()).filter(|at| *at < from).take(duplicates).last();
        if let Some(again) = again {
            watcher.from = again;
            self.count(RegistryFault::Duplicates { count: self.switches.duplicates });
        }
        watcher
    }

    /// What a watch does next.
    pub(super) fn step(&mut self, watcher: &mut Watcher, now: Duration) -> Step {
        if let Some(end) = self.ended(watcher) {
            return end;
        }
        if self.switches.quiet {
            if !watcher.quiet {
                watcher.quiet = true;
                self.count(RegistryFault::QuietWatches);
            }
            return Step::Quiet;
        }
        watcher.quiet = false;
        if watcher.from <= self.facts.compacted() {
            if !self.switches.compaction_loses {
                return Step::End(Some(StoreError::Compacted));
            }
            watcher.from = self.facts.compacted().next();
            self.count(RegistryFault::CompactionLoses);
        }
        self.tell_watcher(watcher, now)
    }

    fn ended(&mut self, watcher: &mut Watcher) -> Option<Step> {
        let said = |text: &str| Step::End(Some(StoreError::Unreachable(text.to_owned())));
        if watcher.closings != self.closings {
            self.count(RegistryFault::CloseWatches);
            let silently = self.named_choice(format_args!("closing, {}", watcher.number)).one_in(2);
            return Some(if silently { Step::End(None) } else { said("the watch was cancelled") });
        }
        if watcher.term != self.term {
            watcher.term = self.term;
            let name = format_args!("leader {} and watch {}", self.term, watcher.number);
            if self.named_choice(name).one_in(2) {
                self.count(RegistryFault::LeaderChange { away_ms: 0 });
                return Some(said("etcdserver: no leader"));
            }
        }
        None
    }

    fn tell_watcher(&mut self, watcher: &mut Watcher, now: Duration) -> Step {
        let late = self.switches.late;
        let (mut told, mut held) = (Vec::new(), None);
        for made in self.facts.changes(&watcher.prefix, watcher.from) {
            if made.at + late > now {
                held = Some((made.change.revision(), made.at + late));
                break;
            }
            told.push(made.change.clone());
        }
        watcher.from = match held {
            Some((revision, _)) => watcher.from.max(revision),
            None => watcher.from.max(self.revision().next()),
        };
        if let Some((revision, _)) = held
            && revision > watcher.late
        {
            watcher.late = revision;
            self.count(RegistryFault::LateEvents { late_ms: 0 });
        }
        let percent = self.switches.lose_events_percent;
        if percent > 0 {
            let all = told.len();
            let lost = |change: &Change| {
                let revision = change.revision().0;
                self.named_choice(format_args!("event {revision} of watch {}", watcher.number))
                    .percent(percent)
            };
            told.retain(|change| !lost(change));
            for _ in told.len()..all {
                self.count(RegistryFault::LoseEvents { percent });
            }
        }
        Step::Tell(told, held.map(|(_, at)| at))
    }
}
