//! What the machine does, rule by rule.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

#[path = "../common/mod.rs"]
mod common;
mod steps;

mod contract;
mod crashes;
mod finished;
mod removal;
mod signals;
mod versions;
mod whose_run;
