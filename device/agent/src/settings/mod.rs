//! What the agent is told at its start: who it is (`identity`), and how it behaves (`fragment`).

mod fragment;
mod identity;

use std::path::{Path, PathBuf};

pub use fragment::{Fragment, Source, Tuning};
pub use identity::{Identity, Seed};

/// Folders of configuration fragments; a later folder, and in it a later name, wins.
pub const FRAGMENT_FOLDERS: [&str; 3] = [
    "/usr/lib/fleet/agent.d",
    "/run/fleet/agent.d",
    "/etc/fleet/agent.d",
];

/// Everything the agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who it is.
    pub identity: Identity,
    /// How it behaves.
    pub tuning: Tuning,
    /// Where it keeps what may go at a reboot: `$XDG_RUNTIME_DIR/fleet-agent`.
    pub runtime: PathBuf,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not of the expected form.
    #[error("{path} is not as it should be: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        problem: String,
    },
}

impl Settings {
    /// Reads identity and fragments.
    ///
    /// # Errors
    /// [`SettingsError`] names the file and what is wrong in it.
    pub fn read(data: &Path, folders: &[PathBuf], runtime: PathBuf) -> Result<Self, SettingsError> {
        Ok(Self {
            identity: Identity::read(&data.join("identity"))?,
            tuning: Tuning::read(folders)?,
            runtime,
        })
    }
}

fn read(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, problem: impl std::fmt::Display) -> SettingsError {
    SettingsError::Malformed {
        path: path.to_owned(),
        problem: problem.to_string().trim().replace('\n', " "),
    }
}
