//! Who the device is and whom it calls: `device.toml`, `nats.nk` and `ca.pem` in the identity folder.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fleet_protocol::enrolment::Enrolment;

use super::{SettingsError, malformed, read};

/// Who the device is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the enrolment said, without secrets.
    pub enrolment: Enrolment,
    /// The key that the device proves itself with.
    pub seed: Seed,
    /// The CA of the server, where the enrolment brought one; else the system's roots count.
    pub ca: Option<PathBuf>,
    /// The folder it was read from.
    pub folder: PathBuf,
}

/// Seed of an nkey. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(String);

impl Seed {
    /// Takes a seed; it is checked when it is used.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret itself, for the one place that signs with it.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl Identity {
    /// Reads the identity folder.
    ///
    /// # Errors
    /// [`SettingsError`] names the file and what is wrong in it.
    pub fn read(folder: &Path) -> Result<Self, SettingsError> {
        let path = folder.join("device.toml");
        let text = read(&path).map_err(|error| match error {
            SettingsError::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                SettingsError::NotEnrolled { path }
            }
            error => error,
        })?;
        let enrolment: Enrolment = toml::from_str(&text).map_err(|error| malformed(&path, error))?;
        if let Some(problem) = enrolment.problems().first() {
            return Err(malformed(&path, problem));
        }
        let key = folder.join("nats.nk");
        let seed = Seed::new(&read(&key)?);
        if !seed.0.starts_with("SU") || !seed.0.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(malformed(&key, "it is no seed of a NATS user key (SU…)"));
        }
        let ca = folder.join("ca.pem");
        Ok(Self {
            enrolment,
            seed,
            ca: ca.exists().then_some(ca),
            folder: folder.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(device: &str, seed: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("device.toml", device), ("nats.nk", seed)] {
            let _ = fleet_host::durable::replace(&dir.path().join(name), text.as_bytes(), 0o600).unwrap();
        }
        dir
    }

    #[test]
    fn an_identity_is_read_and_its_secret_is_never_shown() {
        let dir = folder(
            "device_id = \"pi-1\"\n[nats]\nurl = \"tls://h:4222\"\n",
            "SUAABC\n",
        );
        let identity = Identity::read(dir.path()).unwrap();
        assert_eq!(identity.seed.secret(), "SUAABC");
        assert_eq!(identity.ca, None);
        assert!(!format!("{identity:?}").contains("SUAABC"));
    }

    #[test]
    fn a_device_without_an_identity_is_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let words = Identity::read(dir.path()).unwrap_err().to_string();
        assert!(
            words.contains("device.toml") && words.contains("put fleet.toml on the FAT partition"),
            "{words}"
        );
    }

    #[test]
    fn a_file_beyond_all_measure_is_refused_unread() {
        let good = "device_id = \"pi-1\"\n[nats]\nurl = \"tls://h:4222\"\n";
        let huge = "#".repeat(fleet_protocol::enrolment::MAX_ENROLMENT_BYTES);
        let error = Identity::read(folder(&format!("{good}{huge}"), "SUA").path()).unwrap_err();
        assert!(matches!(error, SettingsError::Read { .. }), "{error}");
    }

    #[test]
    fn each_refusal_names_its_file() {
        let good = "device_id = \"pi-1\"\n[nats]\nurl = \"tls://h:4222\"\n";
        for (device, seed, file) in [
            ("device_id = \"Pi\"", "SUA", "device.toml"),
            (&good.replace("tls", "nats"), "SUA", "device.toml"),
            (good, "not a seed", "nats.nk"),
        ] {
            let error = Identity::read(folder(device, seed).path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(file), "{error}");
        }
    }
}
