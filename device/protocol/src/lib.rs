//! The words that a device and the control plane say to each other.
//!
//! Everything here is data: names of buckets, keys and subjects, the messages stored under them, and
//! the rules that make a message valid. There is no I/O, no clock and no async code, so both sides (and
//! a person with `nats kv get`) read the same bytes the same way.
//!
//! Entry points: [`wire`] encodes and decodes with limits, [`bucket`] says where a message lives and who
//! writes it, [`score`] is what a customer asks a device to run.
//!
//! Two rules hold for every type:
//! - **A reader never guesses.** A phase it does not know parses as `Unknown` and is shown as such; a
//!   *specification* with a field it does not know is refused, since running half of it would be a lie.
//! - **A writer is deterministic.** The same content gives the same bytes (sorted maps, fixed field
//!   order), so unchanged content can be recognised and is not written again.

mod word;

pub mod bucket;
pub mod cause;
pub mod command;
pub mod deployment;
pub mod device;
pub mod enrolment;
pub mod event;
pub mod id;
pub mod logs;
pub mod permissions;
pub mod quantity;
pub mod score;
pub mod state;
pub mod time_server;
pub mod wire;

pub use cause::Cause;
pub use deployment::{Deployment, DeploymentSpec, DesiredState, Selector};
pub use device::{DeviceInfo, Heartbeat};
pub use id::{DeploymentName, DeviceId, IdError};
pub use score::{PodmanV0Score, Score};
pub use state::{DeploymentState, Phase};

/// Version of the wire protocol that this build speaks. A message carries the version of its writer; a
/// reader accepts its own and older ones.
pub const PROTOCOL_VERSION: u32 = 0;
