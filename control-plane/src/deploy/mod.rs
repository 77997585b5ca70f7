//! Scores: what a customer asks a device to run, and what can be asked about them.
//!
//! - [`companion`]: optional abilities of a kind of score, such as giving its logs
//! - [`lint`]: what in its init containers will not bear a second run

pub mod companion;
pub mod lint;
