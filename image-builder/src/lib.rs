//! Builds flashable device images: Debian 13, GPT with an ESP and one LVM physical volume, thin root and data.
//!
//! Everything happens in plain files, without root, device-mapper, loop devices or a virtual machine: `mmdebstrap`
//! makes the root file system as a tar, `mke2fs` of the same Debian release turns tars into ext4, and the thin pool is
//! composed from its documented on-disk formats (`lvm`, `thin`). The entry point is [`build`].
//!
//! It does *not* boot what it builds (the virtual-machine suites do) and signs nothing.

mod bake;
mod boot;
mod cache;
mod debian;
mod disk;
mod error;
mod identity;
mod layout;
mod lvm;
mod manifest;
mod overlay;
mod preflight;
mod process;
mod profile;
mod progress;
mod recipe;
mod sparse;
mod thin;
mod tools;
mod tree;

pub use bake::{BuildRequest, Built, build};
pub use cache::default_cache_dir;
pub use debian::unpacked_packages;
pub use error::ImageError;
pub use layout::MIB;
pub use manifest::{Manifest, Package};
pub use profile::Profile;
pub use progress::{Plain, Progress, Terminal, for_stderr};
