//! The fleet as the control plane knows it: a pure aggregate of KV entries, and the views made from it.
//!
//! - [`Fleet`] takes [`StoreEvent`](crate::store::StoreEvent)s and answers with the [`Change`]s they made; no I/O, no clock
//! - [`view`]: what is shown; [`views`], [`attention`], [`chain`], [`words`]: how it is made
//! - [`filter`]: label selectors and pages of lists
//! - [`FleetHandle`]: the aggregate as one task feeds it and everybody else reads it
//!
//! Each event touches the thing it is about and its counts, so ten thousand devices cost no more per event than ten.
//! What cannot be read is kept as a problem of its key: it never crashes anything and never vanishes.

pub mod apply;
pub mod attention;
pub mod chain;
pub mod filter;
mod handle;
mod history;
mod pair;
mod slot;
mod state;
mod tick;
pub mod view;
pub mod views;
pub mod words;

pub use handle::{ChangeBatch, FleetHandle, Replay};
pub use slot::{Slot, Unreadable, Value};
pub use state::resolve;
pub use state::{Change, DeploymentEntry, Device, Fleet, Pair};

#[cfg(test)]
mod tests;
