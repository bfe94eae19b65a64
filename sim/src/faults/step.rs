//! The primitive changes of a world that faults are made of.

use std::time::Duration;

use crate::disk::{DiskFault, FileKind, Latency, Strike};
use crate::fired::fire;
use crate::registry::RegistryFault;
use crate::world::World;

/// One primitive change of the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Packets from one to the other are lost.
    Cut(&'static str, String, String),
    /// They are not any more.
    Mend(&'static str, String, String),
    /// Of all hosts' packets.
    Lose(u32),
    /// Of the packets from and to a host.
    Reset(String, u32),
    /// Both directions.
    Slow(String, String, Duration),
    /// Both directions.
    Narrow(String, String, usize),
    /// The process is gone.
    Kill(&'static str, String),
    /// With the power.
    PowerLoss(&'static str, String),
    /// At a change to come.
    PowerFails(String, u64),
    /// Its process starts, if none runs.
    Restart(String),
    /// SIGTERM.
    Stop(&'static str, String),
    /// Its next process is of another version.
    ChangeVersion(String),
    /// SIGSTOP.
    Freeze(String),
    /// SIGCONT.
    Thaw(&'static str, String),
    /// Another program takes the client's place.
    ReplaceClient(String),
    /// Room for so many bytes more.
    Full(String, usize),
    /// Room again.
    Room(String),
    /// The next sync of the log.
    FailSync(String),
    /// How long it takes.
    SlowDisk(String, Option<Latency>),
    /// Nothing for so long.
    StallDisk(String, Duration),
    /// A bit flips in what is stored.
    Rot(String, FileKind),
    /// Operations of the disk go wrong from here on.
    BreakDisk(String, DiskFault, Strike),
    /// No more.
    MendDisk(String, DiskFault),
    /// In milliseconds.
    Jump(String, i64),
    /// In milliseconds per second.
    Drift(String, i64),
    /// The registry's process.
    StopRegistry,
    /// And its power.
    DarkenRegistry,
    /// Starts again.
    StartRegistry,
    /// It does something wrong from here on, or at once.
    RegistryWrong(RegistryFault),
    /// No more.
    RegistryRight(RegistryFault),
    /// Another layout.
    Relayout,
    /// A client's load; see [`crate::workload::Storm`].
    Storm(crate::workload::Storm, String),
}

impl Step {
    /// Does it. A storm is the workload's to raise.
    pub fn apply(&self, world: &mut World) {
        world.note(&format!("{self:?}"));
        match self {
            Self::Cut(kind, from, to) => world.with_link(from, to, |link| link.cut(kind)),
            Self::Mend(kind, from, to) => world.with_link(from, to, |link| link.mend(kind)),
            Self::Lose(of_thousand) => world.lose_everywhere(*of_thousand),
            Self::Reset(host, of_thousand) => world.reset_connections(host, *of_thousand),
            Self::Slow(a, b, by) => world.slow_down(a, b, *by),
            Self::Narrow(a, b, bytes) => {
                world.with_link(a, b, |link| link.narrow(*bytes));
                world.with_link(b, a, |link| link.narrow(*bytes));
            }
            Self::Kill(kind, node) => {
                fire(kind, u64::from(world.is_running(node)));
                world.kill(node);
            }
            Self::PowerLoss(kind, node) => {
                fire(kind, u64::from(world.is_running(node)));
                world.power_loss(node);
            }
            Self::PowerFails(node, changes) => {
                if world.is_running(node) {
                    world.disk(node).power_off_in(*changes);
                }
            }
            Self::Restart(node) => world.restart(node),
            Self::Stop(kind, node) => {
                fire(kind, u64::from(world.is_running(node)));
                world.ask_to_stop(node);
            }
            Self::ChangeVersion(node) => world.change_version(node),
            Self::Freeze(node) => world.freeze(node),
            Self::Thaw(kind, node) => fire(kind, world.thaw(node)),
            Self::ReplaceClient(client) => {
                fire("client-vanishes", 1);
                world.replace_client(client);
            }
            Self::Full(node, room) => {
                let disk = world.disk(node);
                disk.set_capacity(Some(disk.used() + room));
            }
            Self::Room(node) => world.disk(node).set_capacity(None),
            Self::FailSync(node) => {
                let once = Strike::nth(0, FileKind::Log);
                world.disk(node).set_fault(DiskFault::SyncError, Some(once));
            }
            Self::SlowDisk(node, latency) => world.disk(node).set_latency(*latency),
            Self::StallDisk(node, time) => world.disk(node).stall(*time),
            Self::Rot(node, files) => {
                world.distrust_disk(node);
                world.disk(node).rot(*files, None);
            }
            Self::BreakDisk(node, fault, strike) => {
                if fault.destroys() {
                    world.distrust_disk(node);
                }
                world.disk(node).set_fault(*fault, Some(*strike));
            }
            Self::MendDisk(node, fault) => world.disk(node).set_fault(*fault, None),
            Self::Jump(node, ms) => world.clock(node).jump(*ms),
            Self::Drift(node, ms_per_s) => world.clock(node).drift(*ms_per_s),
            Self::StopRegistry => {
                fire("registry-down", 1);
                world.stop_registry();
            }
            Self::DarkenRegistry => {
                fire("registry-dark", 1);
                world.darken_registry();
            }
            Self::StartRegistry => world.start_registry(),
            Self::RegistryWrong(fault) => world.registry().lock().begin(*fault),
            Self::RegistryRight(fault) => world.registry().lock().end(*fault),
            Self::Relayout => fire("relayout", u64::from(world.relayout())),
            Self::Storm(..) => {}
        }
    }
}
