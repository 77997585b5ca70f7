//! What an agent knows of the clock, in the runtime folder: the next one of this boot need not ask again, and `fleet-agent
//! status` can say why none runs. The folder is in memory, so that nothing wears and a boot begins with nothing.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use fleet_host::durable;
use fleet_machine::clock::Memo;
use serde::{Deserialize, Serialize};

use super::ClockStatus;
use super::rests::Rests;

/// Largest file, in bytes.
const MAX_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) memo: Option<Memo>,
    #[serde(default)]
    pub(super) rests: Rests,
}

fn path(runtime: &Path) -> PathBuf {
    runtime.join("clock.json")
}

impl Record {
    /// Nothing where there is none, or none that this build can read.
    pub(super) async fn read(runtime: &Path) -> Self {
        let path = path(runtime);
        durable::blocking(move || Ok(of_file(&path)))
            .await
            .unwrap_or_default()
    }

    pub(super) async fn write(&self, runtime: &Path) {
        let path = path(runtime);
        let bytes = match serde_json::to_vec(self) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::warn!("the clock's standing is not kept: {error}"),
        };
        if let Err(error) = durable::blocking(move || durable::replace(&path, &bytes, 0o600)).await {
            tracing::debug!("the clock's standing is not kept: {error}");
        }
    }

    pub(super) fn status(&self) -> Option<ClockStatus> {
        let memo = self.memo.as_ref()?;
        Some(ClockStatus {
            standing: memo.standing.clone(),
            checked_at: DateTime::from_timestamp_millis(memo.wall_millis)?,
        })
    }
}

fn of_file(path: &Path) -> Record {
    let bytes = durable::read_bounded(path, MAX_BYTES).ok().flatten();
    let record = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    record.unwrap_or_default()
}

/// How the clock stood when an agent last checked it in this boot.
#[must_use]
pub fn of_runtime(runtime: &Path) -> Option<ClockStatus> {
    of_file(&path(runtime)).status()
}
