//! Rigs: devices that a test can power, cut off, watch and look into; and the suites that run on any of them.
//!
//! Start at [`rig::Rig`], what every rig can do, and at [`qemu::QemuRig`], the first implementation: a whole x86-64 machine
//! in QEMU, booted by UEFI from the same image that is flashed on real disks. [`qemu::PreparedDevice`] boots an image once and
//! hands out running devices in a second or two each.
//!
//! | module | what |
//! | --- | --- |
//! | [`rig`] | the trait, the output of a command |
//! | [`qemu`] | the virtual rig: arguments, QMP, disk layers, prepared devices |
//! | [`shell`], [`frames`] | the root shell in the device, and its framing |
//! | [`relay`] | the network between device and services, with its faults |
//! | [`console`] | the captured serial console |
//! | [`boot_partition`], [`nbd`] | reading and writing the FAT partition of a device that is off |
//! | [`cpio`] | a second initramfs beside the device's own |
//! | [`pool`] | damaging the thin pool's metadata of a device that is off |
//! | [`site`] | an enrolled device with its services: where suites, benches and the demo start |
//! | [`image`], [`image_difference`] | where the device image comes from, and where two of them differ |
//!
//! Threads: the test bed's one that forks every child for the whole process, and a few for each [`relay::Relay`]. Everything else runs
//! on the caller's thread, synchronously, with a deadline on each wait.
//!
//! What is not here: the services a device talks to (nats-server, registry, certificates) are the test bed's. Nothing of the
//! rig is in the image: the shell is injected from outside at each boot.

pub mod bench;
pub mod boot_partition;
pub mod console;
pub mod cpio;
pub mod demo;
pub mod error;
mod folders;
pub mod frames;
pub mod image;
pub mod image_difference;
pub mod nbd;
mod poll;
pub mod pool;
pub mod qemu;
pub mod relay;
pub mod rig;
pub mod shell;
pub mod site;
mod tools;

pub use error::{Fault, RigError};
pub use image::DeviceImage;
pub use qemu::{Forward, Preparation, PreparedDevice, QemuRig, QemuSettings};
pub use relay::{Relay, Weather};
pub use rig::{Output, Rig, Service};
pub use site::{FleetKv, Site};
