//! Benches on the virtual device. Each measures its baseline in the same run, on the same device, and ends on one line of JSON; every
//! sample goes to a file. Nothing here asserts a time.

mod boot;
mod deploy;
mod footprint;
mod line;
mod logs;
mod scores;
mod upgrade;

use std::path::PathBuf;

use anyhow::Result;

use crate::folders;

pub use boot::boot_to_running;
pub use deploy::deploy_latency;
pub use footprint::agent_footprint;
pub use line::{BenchLine, Goal, Limit, Measured, median, write_samples};
pub use logs::log_latency;
pub use upgrade::upgrade_downtime;

/// Where samples are kept.
fn samples_folder() -> Result<PathBuf> {
    Ok(folders::in_cache("bench")?)
}
