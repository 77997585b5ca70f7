//! The control plane's own programs, started as an administrator would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_testbed::process::{ServiceSpec, run_shown};

use crate::site::Site;

/// More than the longest wait that the demo asks of it.
const FLEETCTL: Duration = Duration::from_secs(15 * 60);

/// Where the programs of this checkout lie: beside the one that runs.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those that were built with this one.
    pub fn beside_this_one() -> Result<Self> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let folder = this.parent().context("a program lies in a folder")?;
        // A test's program lies one folder deeper.
        let folder = if folder.ends_with("deps") {
            folder.parent().unwrap_or(folder)
        } else {
            folder
        };
        let programs = Self {
            folder: folder.to_owned(),
        };
        for name in ["fleet-operator", "fleet-sim", "fleetctl"] {
            let path = programs.path(name);
            ensure!(
                path.is_file(),
                "{} is not built: run `cargo build -p fleet-control-plane --bins`",
                path.display()
            );
        }
        Ok(programs)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `fleet-operator` for a site.
    pub fn operator(&self, site: &Site, listen: &str, log: &Path) -> Result<ServiceSpec> {
        let credential = site.keys.operator_credential()?;
        let args = [
            "--nats-url".into(),
            site.nats.url(),
            "--nats-ca".into(),
            site.keys.tls.ca.display().to_string(),
            "--nats-credential".into(),
            credential.display().to_string(),
            "--listen".into(),
            listen.to_owned(),
        ];
        Ok(ServiceSpec::new(
            "fleet-operator",
            &self.path("fleet-operator"),
            args,
            log,
        ))
    }

    /// `fleet-sim` with a key for each device.
    pub fn simulation(
        &self,
        site: &Site,
        devices: u32,
        keys: &Path,
        labels: &str,
        log: &Path,
    ) -> ServiceSpec {
        let args = [
            "run".into(),
            "--devices".into(),
            devices.to_string(),
            "--labels".into(),
            labels.to_owned(),
            "--nats-url".into(),
            site.nats.url(),
            "--nats-ca".into(),
            site.keys.tls.ca.display().to_string(),
            "--credentials-dir".into(),
            keys.display().to_string(),
        ];
        ServiceSpec::new("fleet-sim", &self.path("fleet-sim"), args, log)
    }

    /// Runs `fleetctl` with its output shown on standard error: standard output is for the one line at the end.
    pub fn fleetctl(&self, server: &str, args: &[&str]) -> Result<()> {
        let all = ["--server", server].into_iter().chain(args.iter().copied());
        Ok(run_shown(&self.path("fleetctl"), all, FLEETCTL)?)
    }
}
