//! The control plane: everything that is not on a device.
//!
//! - [`store`]: JetStream KV buckets and the event stream; watching and writing them
//! - [`fleet`]: the pure aggregate of what lies there, and the views made from it
//! - [`operator`]: resolves deployments into what each device shall run
//! - [`deploy`]: scores, and their companions that ask a device
//! - [`logs`]: what containers wrote, made safe to show
//! - [`api`]: the HTTP API
//! - [`auth`]: who somebody is, and what they may do
//! - [`web`]: the dashboard
//! - [`manifest`], [`ctl`]: manifests and `fleetctl`
//! - [`sim`]: simulated devices
//!
//! Binaries: `fleet-operator`, `fleetctl`, `fleet-sim`.

pub mod api;
pub mod auth;
pub mod clock;
pub mod ctl;
pub mod deploy;
pub mod fleet;
pub mod history;
pub mod logs;
pub mod manifest;
pub mod metrics;
pub mod operator;
pub mod sim;
pub mod store;
pub mod web;

#[cfg(test)]
mod fixture;
