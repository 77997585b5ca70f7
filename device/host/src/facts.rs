//! What the device is, and how it fares.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec::{Environment, ExecError, Tool, run};

/// What the device is; changes at a boot or an upgrade at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Architecture as Debian names it: `amd64`, `arm64`.
    pub arch: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// podman's version; empty when podman does not answer, and then `podman_problem` says why.
    pub podman_version: String,
    /// Why podman did not answer.
    pub podman_problem: Option<String>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Host name.
    pub hostname: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Size of the `data` file system, in MiB.
    pub data_mib: u64,
}

/// How the device fares now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Time since boot.
    pub uptime: Duration,
    /// Free space on `data` for this user, in MiB.
    pub data_free_mib: u64,
    /// Memory that can be had without swapping, in MiB.
    pub memory_available_mib: u64,
}

/// Why a fact could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("{path} has no usable {field}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
    /// The kernel did not answer a call.
    #[error("the kernel refused {call}")]
    Kernel {
        /// The call.
        call: &'static str,
        /// Why.
        #[source]
        source: nix::Error,
    },
}

/// What the device is, and how it fares.
pub trait DeviceFacts {
    /// What it is. Starts one process; call it at start and after a reconnect, not on a timer.
    ///
    /// # Errors
    /// [`FactsError`]. A podman that does not answer is a fact, not an error.
    async fn identity(&self) -> Result<DeviceIdentity, FactsError>;

    /// The kernel's boot id. Cheap: one read.
    ///
    /// # Errors
    /// [`FactsError::Read`].
    fn boot_id(&self) -> Result<String, FactsError>;

    /// How it fares. Cheap: three reads and no process.
    ///
    /// # Errors
    /// [`FactsError`].
    fn vitals(&self) -> Result<Vitals, FactsError>;
}

/// The running Linux.
#[derive(Debug, Clone)]
pub struct LinuxFacts {
    environment: Environment,
    data: PathBuf,
    root: PathBuf,
}

impl LinuxFacts {
    /// `data` is where the `data` file system is mounted.
    #[must_use]
    pub fn new(environment: Environment, data: impl Into<PathBuf>) -> Self {
        Self {
            environment,
            data: data.into(),
            root: "/".into(),
        }
    }

    fn read(&self, path: &str) -> Result<(PathBuf, String), FactsError> {
        let path = self.root.join(path);
        let text = std::fs::read_to_string(&path).map_err(|source| FactsError::Read {
            path: path.clone(),
            source,
        })?;
        Ok((path, text))
    }

    fn os(&self) -> Result<String, FactsError> {
        let (path, text) = self.read("etc/os-release")?;
        let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let value = value.ok_or(FactsError::Missing {
            path,
            field: "PRETTY_NAME",
        })?;
        Ok(value.trim_matches(['"', '\'']).to_owned())
    }

    /// A field of /proc/meminfo, in MiB.
    fn memory_mib(&self, field: &'static str) -> Result<u64, FactsError> {
        let (path, text) = self.read("proc/meminfo")?;
        let kib = text.lines().find_map(|line| {
            let rest = line.strip_prefix(field)?.strip_prefix(':')?;
            rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kib.map(|kib| kib / 1024)
            .ok_or(FactsError::Missing { path, field })
    }

    fn uptime(&self) -> Result<Duration, FactsError> {
        let (path, text) = self.read("proc/uptime")?;
        let seconds = text.split(['.', ' ']).next().and_then(|whole| whole.parse().ok());
        seconds.map(Duration::from_secs).ok_or(FactsError::Missing {
            path,
            field: "uptime",
        })
    }

    /// Size and free space of `data` for this user, in MiB.
    fn space_mib(&self) -> Result<(u64, u64), FactsError> {
        let space = crate::durable::space(&self.data).map_err(|source| FactsError::Kernel {
            call: "statvfs",
            source,
        })?;
        Ok((space.total >> 20, space.free >> 20))
    }

    async fn podman_version(&self) -> Result<String, ExecError> {
        let args = ["version", "--format", "{{.Client.Version}}"];
        let output = run(&self.environment, Tool::Podman, &args, Duration::from_secs(30)).await?;
        Ok(output.stdout.trim().to_owned())
    }
}

/// Debian's name of an architecture that the kernel names otherwise.
fn debian_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "armhf",
        "i686" => "i386",
        other => other,
    }
}

impl DeviceFacts for LinuxFacts {
    async fn identity(&self) -> Result<DeviceIdentity, FactsError> {
        let system = nix::sys::utsname::uname().map_err(|source| FactsError::Kernel {
            call: "uname",
            source,
        })?;
        let (podman_version, podman_problem) = match self.podman_version().await {
            Ok(version) => (version, None),
            Err(error) => (String::new(), Some(error.to_string())),
        };
        Ok(DeviceIdentity {
            arch: debian_arch(&system.machine().to_string_lossy()).to_owned(),
            os: self.os()?,
            kernel: system.release().to_string_lossy().into_owned(),
            podman_version,
            podman_problem,
            boot_id: self.boot_id()?,
            hostname: system.nodename().to_string_lossy().into_owned(),
            memory_mib: self.memory_mib("MemTotal")?,
            data_mib: self.space_mib()?.0,
        })
    }

    fn boot_id(&self) -> Result<String, FactsError> {
        Ok(self.read("proc/sys/kernel/random/boot_id")?.1.trim().to_owned())
    }

    fn vitals(&self) -> Result<Vitals, FactsError> {
        Ok(Vitals {
            uptime: self.uptime()?,
            data_free_mib: self.space_mib()?.1,
            memory_available_mib: self.memory_mib("MemAvailable")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_has_an_identity_and_a_missing_podman_is_told_not_hidden() {
        let environment = Environment {
            home: "/".into(),
            runtime_dir: "/".into(),
            session_bus: String::new(),
            tools: "/nonexistent".into(),
            generators: "/nonexistent".into(),
        };
        let facts = LinuxFacts::new(environment, "/");
        let identity = facts.identity().await.unwrap();
        assert_eq!(identity.boot_id.len(), 36);
        assert!(identity.memory_mib > 0 && identity.data_mib > 0 && !identity.os.contains('"'));
        assert!(identity.podman_problem.unwrap().contains("could not be started"));
        let vitals = facts.vitals().unwrap();
        assert!(
            vitals.memory_available_mib <= identity.memory_mib && vitals.data_free_mib <= identity.data_mib
        );
    }

    #[test]
    fn architectures_have_debians_names() {
        assert_eq!(
            ["x86_64", "aarch64", "riscv64"].map(debian_arch),
            ["amd64", "arm64", "riscv64"]
        );
    }
}
