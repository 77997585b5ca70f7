//! What the agent is told at its start: who it is (`identity`), and how it behaves (`fragment`).

mod fragment;
mod identity;

use std::path::{Path, PathBuf};

use fleet_host::durable;
use fleet_protocol::enrolment::MAX_ENROLMENT_BYTES;

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
    /// The device has no identity yet.
    #[error(
        "this device is not enrolled ({path} is not there): put fleet.toml on the FAT partition FLEETBOOT and restart the device; fleet-error.txt beside it says what was wrong with the last one",
        path = path.display()
    )]
    NotEnrolled {
        /// The file that holds who it is.
        path: PathBuf,
    },
    /// The caller may not read a file.
    #[error("only root and the user fleet may read {path}: run this as root", path = path.display())]
    Denied {
        /// The file.
        path: PathBuf,
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
        let identity = Identity::read(&data.join("identity"))?;
        let mut tuning = Tuning::read(folders)?;
        if let Some(clock) = &identity.enrolment.clock {
            tuning.enrolled_servers(&clock.servers, &identity.folder.join("device.toml"));
        }
        Ok(Self {
            identity,
            tuning,
            runtime,
        })
    }
}

/// Largest file, in bytes: no larger than the enrolment that the identity comes from.
const MAX_BYTES: u64 = MAX_ENROLMENT_BYTES as u64;

fn read(path: &Path) -> Result<String, SettingsError> {
    let path = path.to_owned();
    let bytes = match durable::read_bounded(&path, MAX_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(SettingsError::Read { path, source });
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(SettingsError::Denied { path });
        }
        Err(source) => return Err(SettingsError::Read { path, source }),
    };
    String::from_utf8(bytes).map_err(|_| malformed(&path, "it is no text in UTF-8"))
}

fn malformed(path: &Path, problem: impl std::fmt::Display) -> SettingsError {
    SettingsError::Malformed {
        path: path.to_owned(),
        problem: problem.to_string().trim().replace('\n', " "),
    }
}
