//! Random faults: which, when, how long, chosen by the seed.
//!
//! Swarm: each seed switches a random half of the kinds off, so that rare combinations of the rest come up.

use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::world::World;

/// Something that is done to a world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// [`World::cut`].
    Cut(String, String),
    /// [`World::heal`].
    Heal(String, String),
    /// [`World::isolate`].
    Isolate(String),
    /// [`World::rejoin`].
    Rejoin(String),
    /// [`World::kill`].
    Kill(String),
    /// [`World::power_loss`].
    PowerLoss(String),
    /// The disk fails at the so-manieth change from now, as the first sign of a power loss.
    PowerFails(String, u64),
    /// [`World::restart`].
    Restart(String),
    /// [`World::ask_to_stop`].
    Stop(String),
    /// [`World::set_latency`].
    Latency(String, String, Duration),
    /// [`World::stop_registry`].
    StopRegistry,
    /// [`World::start_registry`].
    StartRegistry,
    /// Every lease ends.
    RevokeLeases,
    /// The registry forgets its history.
    Compact,
}

impl Fault {
    /// Does it.
    pub fn apply(self, world: &mut World) {
        match self {
            Self::Cut(a, b) => world.cut(&a, &b),
            Self::Heal(a, b) => world.heal(&a, &b),
            Self::Isolate(host) => world.isolate(&host, &[]),
            Self::Rejoin(host) => world.rejoin(&host),
            Self::Kill(node) => world.kill(&node),
            Self::PowerLoss(node) => world.power_loss(&node),
            Self::PowerFails(node, changes) => world.disk(&node).power_off_in(changes),
            Self::Restart(node) => world.restart(&node),
            Self::Stop(node) => world.ask_to_stop(&node),
            Self::Latency(a, b, latency) => world.set_latency(&a, &b, latency),
            Self::StopRegistry => world.stop_registry(),
            Self::StartRegistry => world.start_registry(),
            Self::RevokeLeases => {
                world.note("fault: every lease ends");
                world.registry().lock().revoke_all();
            }
            Self::Compact => {
                world.note("fault: the registry is compacted");
                world.registry().lock().compact();
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A kind of fault, with its beginning and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Cut,
    Isolate,
    ClientCut,
    RegistryCut,
    Kill,
    KillAll,
    PowerLoss,
    PowerLossAll,
    TornPower,
    Stop,
    Slow,
    RegistryDown,
    Registry,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Cut,
        Self::Isolate,
        Self::ClientCut,
        Self::RegistryCut,
        Self::Kill,
        Self::KillAll,
        Self::PowerLoss,
        Self::PowerLossAll,
        Self::TornPower,
        Self::Stop,
        Self::Slow,
        Self::RegistryDown,
        Self::Registry,
    ];
}

/// Faults and their times, earliest first.
#[derive(Clone, Debug, Default)]
pub struct Plan(Vec<(Duration, Fault)>);

impl Plan {
    /// Random faults within `time`, on these nodes and clients. `latency`: the usual one.
    pub fn random(
        mut random: Random,
        time: Duration,
        nodes: &[String],
        clients: &[String],
        latency: Duration,
    ) -> Self {
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|_| random.one_in(2)).collect();
        if kinds.is_empty() {
            kinds = Kind::ALL.to_vec();
        }
        let mut plan = Self::default();
        for _ in 0..4 + random.below(14) {
            let kind = random.pick(&kinds);
            let begin =
                Duration::from_millis(random.below(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
            let end = begin + random.log_ms(2, 2_000);
            plan.add(kind, begin, end, &mut random, nodes, clients, latency);
        }
        plan.0.sort_by_key(|(at, _)| *at);
        plan
    }

    #[allow(clippy::too_many_arguments, reason = "one fault with all of its choices")]
    fn add(
        &mut self,
        kind: Kind,
        begin: Duration,
        end: Duration,
        random: &mut Random,
        nodes: &[String],
        clients: &[String],
        latency: Duration,
    ) {
        let at = random.index(nodes.len());
        let node = nodes[at].clone();
        let other = nodes[(at + 1 + random.index(nodes.len() - 1)) % nodes.len()].clone();
        let client = random.pick(clients);
        let registry = "registry".to_owned();
        let mut lasts = |from: Fault, to: Fault| self.0.extend([(begin, from), (end, to)]);
        let restart = Fault::Restart(node.clone());
        match kind {
            Kind::Cut => lasts(Fault::Cut(node.clone(), other.clone()), Fault::Heal(node, other)),
            Kind::Isolate => lasts(Fault::Isolate(node.clone()), Fault::Rejoin(node)),
            Kind::ClientCut => lasts(Fault::Cut(node.clone(), client.clone()), Fault::Heal(node, client)),
            Kind::RegistryCut => {
                lasts(Fault::Cut(node.clone(), registry.clone()), Fault::Heal(node, registry));
            }
            Kind::Kill => lasts(Fault::Kill(node), restart),
            Kind::PowerLoss => lasts(Fault::PowerLoss(node), restart),
            Kind::KillAll => {
                for node in nodes {
                    lasts(Fault::Kill(node.clone()), Fault::Restart(node.clone()));
                }
            }
            Kind::PowerLossAll => {
                for node in nodes {
                    lasts(Fault::PowerLoss(node.clone()), Fault::Restart(node.clone()));
                }
            }
            Kind::TornPower => {
                // The disk stops in the middle of something, the rest of the machine a moment later.
                lasts(Fault::PowerFails(node.clone(), 1 + random.below(40)), restart);
                let off = begin + Duration::from_millis(random.below(50));
                self.0.push((off.min(end), Fault::PowerLoss(node)));
            }
            Kind::Stop => lasts(Fault::Stop(node), restart),
            Kind::Slow => {
                let slow = random.log_ms(8, 300);
                lasts(
                    Fault::Latency(node.clone(), other.clone(), slow),
                    Fault::Latency(node, other, latency),
                );
            }
            Kind::RegistryDown => lasts(Fault::StopRegistry, Fault::StartRegistry),
            Kind::Registry => lasts(Fault::RevokeLeases, Fault::Compact),
        }
    }

    /// The same plan, its times counted from `start`.
    pub(crate) fn from(mut self, start: Duration) -> Self {
        for (at, _) in &mut self.0 {
            *at += start;
        }
        self
    }

    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<Fault> {
        let due = self.0.iter().take_while(|(at, _)| *at <= now).count();
        self.0.drain(..due).map(|(_, fault)| fault).collect()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One line for each fault.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.0.iter().map(|(at, fault)| format!("{:.3} {fault}", at.as_secs_f64() * 1e3)).collect()
    }
}
