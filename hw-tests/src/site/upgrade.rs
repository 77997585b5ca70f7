//! An upgrade with everything that one can have (a pull, a stop that takes its time, an init container, a start that is not healthy at
//! once), and the moments in it at which something may go wrong.

use std::io;
use std::time::Duration;

use fleet_protocol::Score;
use serde_json::json;

use super::{SiteError, Trial, Version};
use crate::error::RigError;
use crate::relay::Weather;
use crate::rig::{Rig, Service};

/// Limits for hangs, not for speed.
const LONG: Duration = Duration::from_secs(300);
/// What has to be pulled when the moment is in the pull: a quarter of a minute at [`PULL_RATE`].
const PULL_MIB: usize = 4;
const PULL_RATE: u32 = 300 << 10;

/// A moment of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The new image is on its way, the old container serves.
    Pulling,
    /// The old container was asked to end and has not.
    Stopping,
    /// The old one is gone and the init container runs.
    Initializing,
    /// The new container runs and is not healthy yet.
    Starting,
}

impl Moment {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Pulling, Self::Stopping, Self::Initializing, Self::Starting];

    /// In words, after "when".
    pub fn when(self) -> &'static str {
        match self {
            Self::Pulling => "the new image was pulled",
            Self::Stopping => "the old container was asked to end",
            Self::Initializing => "the init container ran",
            Self::Starting => "the new container ran and was not healthy",
        }
    }

    /// A command of the user `fleet` that ends well while it is this moment.
    fn condition(self) -> &'static str {
        match self {
            Self::Pulling => "fleet-agent status | grep 'web .*Pulling'",
            Self::Stopping => "systemctl --user show -P ActiveState fleet-web.service | grep -x deactivating",
            Self::Initializing => "podman ps --format '{{.Names}}' | grep -x 'fleet-web.init-prepare'",
            Self::Starting => "podman ps --format '{{.Names}} {{.Status}}' | grep '^fleet-web .*starting'",
        }
    }

    /// The version that the upgrade at this moment goes to.
    pub fn version(self, tag: &str) -> io::Result<Version> {
        match self {
            Self::Pulling => Version::heavy(tag, PULL_MIB),
            Self::Stopping | Self::Initializing | Self::Starting => Version::page(tag),
        }
    }

    /// Asks for `version` and waits until the upgrade has come to this moment.
    pub fn reach(self, trial: &mut Trial, generation: u64, version: &Version) -> Result<(), SiteError> {
        trial.push(version)?;
        if self == Self::Pulling {
            let way = trial.rig.way_to(Service::Registry);
            way.set_weather(Weather::Narrow(PULL_RATE));
        }
        trial.kv.desire("web", generation, careful(version))?;
        trial.until_fleet(self.condition(), LONG)?;
        Ok(())
    }

    /// Undoes what [`Moment::reach`] did to the surroundings.
    pub fn pass(trial: &Trial) {
        trial.rig.way_to(Service::Registry).set_weather(Weather::Clear);
    }
}

/// The wish for a version that ends on no signal (and may be killed after 10 s), starts only when its init container has left its mark in the
/// volume, and is healthy after a while.
pub fn careful(version: &Version) -> Score {
    let data = json!([{ "source": { "volume": { "name": "data" } }, "path": "/data" }]);
    version.score(json!({
        "env": [
            { "name": "STUBBORN", "value": "1" },
            { "name": "START_SECONDS", "value": "6" },
            { "name": "NEEDS", "value": "/data/runs" },
        ],
        "volumes": data,
        "lifecycle": { "stop_signal": "SIGTERM", "grace_period": "10s", "sigkill_fallback": true },
        "init_containers": [{
            "name": "prepare",
            "image": format!("{}/sample-job:1", Service::Registry.device_address()),
            "env": [{ "name": "JOB_SECONDS", "value": "8" }],
            "volumes": data,
        }],
        "health": { "command": ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "3s", "retries": 30 },
    }))
}

/// Requires that the init container came to its end in this boot of the device.
pub fn require_initialized_in_this_boot(trial: &mut Trial) -> Result<(), RigError> {
    trial
        .fleet(
            "journalctl --user -b -o cat CONTAINER_NAME=fleet-web.init-prepare | grep 'sample-job is done'",
        )
        .map(drop)
}
