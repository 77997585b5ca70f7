//! Which tools there are, and what they get to know.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program that this crate starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// podman(1).
    Podman,
    /// journalctl(1).
    Journalctl,
    /// Podman's generator for systemd user units, by the name that makes it one: generator(7).
    QuadletGenerator,
}

impl Tool {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Journalctl => "journalctl",
            Self::QuadletGenerator => "podman-user-generator",
        }
    }

    pub(super) fn path(self, environment: &Environment) -> PathBuf {
        let folder = match self {
            Self::Podman | Self::Journalctl => &environment.tools,
            Self::QuadletGenerator => &environment.generators,
        };
        folder.join(self.name())
    }
}

/// What a tool gets to know, and where tools are.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `HOME`: podman keeps its storage below.
    pub home: PathBuf,
    /// `XDG_RUNTIME_DIR`: podman keeps its locks and namespaces below.
    pub runtime_dir: PathBuf,
    /// `DBUS_SESSION_BUS_ADDRESS`: podman asks systemd for cgroups over it.
    pub session_bus: String,
    /// Folder of the tools: `/usr/bin`. Tests put fakes elsewhere.
    pub tools: PathBuf,
    /// Folder of systemd's user generators: `/usr/lib/systemd/user-generators`. Tests put fakes elsewhere.
    pub generators: PathBuf,
}

/// Why the agent's own environment is not enough.
#[derive(Debug, thiserror::Error)]
#[error("the environment has no {0}: the agent must run as a systemd user unit")]
pub struct EnvironmentError(&'static str);

impl Environment {
    /// Takes `HOME`, `XDG_RUNTIME_DIR` and `DBUS_SESSION_BUS_ADDRESS` of this process. Without the last
    /// one the bus is where systemd puts it: `$XDG_RUNTIME_DIR/bus`.
    ///
    /// # Errors
    /// [`EnvironmentError`] names the variable that is missing.
    pub fn of_this_process() -> Result<Self, EnvironmentError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .ok_or(EnvironmentError(name))
        };
        let runtime_dir = PathBuf::from(variable("XDG_RUNTIME_DIR")?);
        let session_bus = std::env::var("DBUS_SESSION_BUS_ADDRESS")
            .ok()
            .filter(|address| !address.is_empty())
            .unwrap_or_else(|| format!("unix:path={}/bus", runtime_dir.display()));
        Ok(Self {
            home: variable("HOME")?.into(),
            runtime_dir,
            session_bus,
            tools: "/usr/bin".into(),
            generators: "/usr/lib/systemd/user-generators".into(),
        })
    }

    /// Where podman keeps the layers of a pull until they are complete. Its default is `/var/tmp`, which is on the
    /// root file system and counted by nobody; this is on `data`, whose room is checked before a pull.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.home.join(".cache/fleet-pull")
    }

    pub(super) fn variables(&self) -> [(&'static str, OsString); 6] {
        [
            ("HOME", self.home.clone().into()),
            ("XDG_RUNTIME_DIR", self.runtime_dir.clone().into()),
            ("DBUS_SESSION_BUS_ADDRESS", self.session_bus.clone().into()),
            ("TMPDIR", self.staging().into()),
            // podman looks for conmon, crun, pasta and newuidmap here.
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()),
            // Messages are classified by their words.
            ("LC_ALL", "C.UTF-8".into()),
        ]
    }
}
