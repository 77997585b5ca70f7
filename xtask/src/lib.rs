//! Everything that CI or a person runs: CI's files hold one-line calls into this crate and nothing else.
//!
//! - [`cli`]: the command line
//! - [`setup`]: what is missing on this machine, and installing it
//! - [`check`]: everything that can be judged without running the product
//! - [`mod@test`]: the tiers of tests
//! - [`image`]: the device image with the programs of this checkout
//! - [`ci`]: all of it, with a table of times
//! - [`field`]: the demo and the benches, which are programs of their own
//! - [`mod@fuzz`]: the fuzzer
//! - [`stages`], [`process`], [`workspace`]: what they share
//!
//! It does no work of its own on devices or images: those are the crates' own programs, which it starts in order.

pub mod check;
pub mod ci;
pub mod cli;
pub mod field;
pub mod fuzz;
pub mod image;
pub mod process;
pub mod setup;
pub mod stages;
pub mod test;
pub mod tier;
pub mod workspace;
