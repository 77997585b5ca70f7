//! One deployment on this device: its task, its records, its effects, and what is reported of it.

mod effects;
mod failures;
pub(crate) mod record;
pub mod report;
pub(crate) mod task;
