//! One deployment on this device: its task, its records, its effects, and what is reported of it.

mod effects;
mod failures;
pub(crate) mod record;
pub mod report;
mod slots;
pub(crate) mod task;
