//! Real services on this machine for tests, benches and the demo. Nothing here is a fake: the NATS server, the registry and
//! the images are those that a fleet meets in the field, only small, on loopback and with a short life.
//!
//! Each service is a guard: dropping it ends its process, and the kernel ends it when this process dies in any other way.
//! Its log goes to a file, and the end of that file is part of each error.
//!
//! - [`tools`], [`wheel`], [`deb`]: where the programs come from (pinned wheels, Debian's packages), cached and usable offline
//! - [`process`]: starting a service, waiting until it is ready, ending it
//! - [`progress`], [`interrupt`]: long steps that say so, and end when asked
//! - [`poll`], [`ports`], [`files`]: deadlines, ports that no other test takes, files that are whole or absent
//! - [`ca`]: a certificate authority and server certificates
//! - [`nats`]: `nats-server` with JetStream, TLS, users and permissions; stop, kill, pause, restart, reload
//! - [`ntp`]: Debian's `chronyd` as a time server, and servers that lie, refuse or babble
//! - [`registry`]: Debian's `docker-registry`
//! - [`oci`], [`sample`]: images built in memory and pushed; the sample applications
//!
//! What it does not do: start devices (that is the rig's part), or talk to anything but loopback, but for the downloads
//! of [`wheel`] and [`deb`].

pub mod ca;
pub mod deb;
pub mod files;
pub mod interrupt;
pub mod nats;
pub mod ntp;
pub mod oci;
pub mod poll;
pub mod ports;
pub mod process;
pub mod progress;
pub mod registry;
pub mod sample;
mod scratch;
pub mod tools;
pub mod wheel;
