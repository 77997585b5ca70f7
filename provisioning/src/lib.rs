//! Makes a machine a device: the root tool behind `fleet-grow-disk.service`, `fleet-first-boot.service` and
//! `fleet-forget-repairs.service`.
//!
//! All commands are level-triggered: they compare what is with what should be, write only what differs, and may be cut
//! off after any write; the next boot goes on from what it finds. The decisions are pure or run on one trait each
//! ([`Places`], [`Machine`], [`Volumes`]), so that tests cut the power at every step.
//!
//! What it does *not* do: talk to the network, start the agent, or touch a volume other than by growing it or by removing
//! what a repair of the pool left over.

mod disk;
mod enrol;
mod exec;
mod first_boot;
mod gpt;
mod grow;
mod places;
mod repairs;
mod sizes;

pub use disk::{LocalMachine, LocalVolumes};
pub use enrol::{Identity, Refusal, read_identity};
pub use first_boot::{FirstBoot, Place, Places, first_boot};
pub use grow::{GrowError, Machine, Volume, VolumeGroup, grow_disk};
pub use places::LocalPlaces;
pub use repairs::{Volumes, forget_repairs};
pub use sizes::Sizes;
