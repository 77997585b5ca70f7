//! What an agent knows of the clock, in the runtime folder: the next one of this boot need not ask again, and `fleet-agent
//! status` can say why none runs. The folder is in memory, so that nothing wears and a boot begins with nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use fleet_host::durable;
use fleet_machine::clock::Memo;
use fleet_protocol::time_server::ServerName;
use serde::{Deserialize, Serialize};

use super::ClockStatus;
use super::rests::Rests;
use crate::settings::Tuning;

/// Largest file, in bytes.
const MAX_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) memo: Option<Memo>,
    /// By which servers and tolerance it was found: with others it says nothing.
    #[serde(default)]
    pub(super) terms: Terms,
    #[serde(default)]
    pub(super) rests: Rests,
}

/// What a finding depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    servers: Vec<ServerName>,
    tolerance: Duration,
}

impl Terms {
    pub(super) fn of(tuning: &Tuning) -> Self {
        Self {
            servers: tuning.clock_servers.clone(),
            tolerance: tuning.clock_tolerance,
        }
    }
}

fn path(runtime: &Path) -> PathBuf {
    runtime.join("clock.json")
}

impl Record {
    /// The record of an earlier agent of this boot; no memo where there is none, or none that this build can read, or one that
    /// was found under other terms.
    pub(super) async fn read(runtime: &Path, terms: Terms) -> Self {
        let path = path(runtime);
        let found = durable::blocking(move || Ok(of_file(&path))).await;
        let Self {
            memo,
            rests,
            terms: old,
        } = found.unwrap_or_default();
        Self {
            memo: memo.filter(|_| old == terms),
            terms,
            rests,
        }
    }

    /// Nobody checks the clock any more.
    pub(super) async fn remove(runtime: &Path) {
        let path = path(runtime);
        if let Err(error) = durable::blocking(move || durable::remove(&path)).await {
            tracing::debug!("the clock's standing of an earlier agent stays: {error}");
        }
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
            checked_at: DateTime::from_timestamp_millis(memo.at.wall_millis)?,
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
