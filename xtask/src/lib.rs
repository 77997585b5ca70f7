//! Everything that CI or a person runs: CI's files hold one-line calls into this crate and nothing else.
//!
//! - [`cli`]: the command line
//! - [`setup`]: what is missing on this machine, and installing it
//! - [`check`]: everything that can be judged without running the product
//! - [`test`]: the tiers of tests
//! - [`image`]: the device image with the programs of this checkout
//! - [`ci`]: all of it, with a table of times
//! - [`demo`], [`bench`]: the one JSON line that each ends on
//! - [`stages`], [`process`], [`progress`], [`interrupt`], [`workspace`]: what they share
//!
//! It does no work of its own on devices or images: those are the crates' own programs, which it starts in order.

pub mod bench;
pub mod check;
pub mod ci;
pub mod cli;
pub mod demo;
pub mod image;
pub mod interrupt;
pub mod process;
pub mod progress;
pub mod setup;
pub mod stages;
pub mod test;
pub mod tier;
pub mod workspace;
