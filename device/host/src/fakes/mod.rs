//! Stateful fakes of every trait, by the same names as the real ones.
//!
//! All of them share one [`World`]: a unit starts only when its file was written and loaded and its image
//! pulled. A test scripts the world ([`World::registry_holds`], [`World::behaves`], …), injects faults
//! ([`World::fail_nth`], [`World::cut_power_after`], [`World::reboot`]) and asks it afterwards what is there and
//! whether the faults fired.
//!
//! What is *not* modelled: the content of volumes, time that passes by itself (but waits use tokio's clock,
//! which a test can pause), and D-Bus.

mod device;
mod files;
mod journal;
mod podman;
mod script;
mod systemd;
mod units;
mod world;

pub use device::{Device, FileFloor, LinuxFacts, Sntp, SystemClock, SystemdSupervisor};
pub use files::{FileLedger, QuadletDir};
pub use journal::UserJournal;
pub use podman::{PodmanContainers, PodmanImages, PodmanLeftovers};
pub use units::UserUnits;
pub use world::{Behaviour, TimeServer, World};

#[cfg(test)]
mod tests;
