//! What a test has the world do: registry, containers, disk and clocks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_protocol::DeploymentName;

use super::world::{Behaviour, Remote, TimeServer, World};
use crate::images::ImageErrorKind;
use crate::names::{Digest, UnitName};

impl World {
    /// The registry has this image. Its digest is made from the name.
    pub fn registry_holds(&self, image: &str, layers: u32) -> Digest {
        let sum = image.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let digest = Digest::parse(&format!("sha256:{sum:064x}")).expect("64 hex digits");
        let remote = Remote::Holds {
            digest: digest.clone(),
            layers,
        };
        self.state.borrow_mut().registry.insert(image.to_owned(), remote);
        digest
    }

    /// The registry tells that a pull of this image needs so many bytes. Of others it tells nothing.
    pub fn image_needs(&self, image: &str, bytes: u64) {
        self.state
            .borrow_mut()
            .image_sizes
            .insert(image.to_owned(), bytes);
    }

    /// A pull of this image fails so. What no call mentions is not found.
    pub fn registry_fails(&self, image: &str, kind: ImageErrorKind) {
        self.state
            .borrow_mut()
            .registry
            .insert(image.to_owned(), Remote::Fails(kind));
    }

    /// The registry is out of reach, or back.
    pub fn registry_down(&self, down: bool) {
        self.state.borrow_mut().registry_down = down;
    }

    /// How long each pull takes, by tokio's clock.
    pub fn pulls_take(&self, time: Duration) {
        self.state.borrow_mut().pull_time = time;
    }

    /// What the deployment's container does from its next start on.
    pub fn behaves(&self, deployment: &DeploymentName, behaviour: Behaviour) {
        self.state
            .borrow_mut()
            .behaviours
            .insert(deployment.clone(), behaviour);
    }

    /// A start that hangs comes to its end: the container is up, by the files that were loaded when it began.
    pub fn comes_up(&self, deployment: &DeploymentName) {
        let unit = UnitName::of(deployment).expect("a deployment that has a unit");
        self.state.borrow_mut().come_up(&unit);
        self.tell(&unit);
    }

    /// What an init container of the deployment does from its next start on.
    pub fn init_behaves(&self, deployment: &DeploymentName, init: &str, behaviour: Behaviour) {
        let unit = UnitName::init(deployment, init).expect("the name of an init container");
        self.state.borrow_mut().init_behaviours.insert(unit, behaviour);
    }

    /// The deployment's container ignores its stop signal, or heeds it again.
    pub fn ignores_signals(&self, deployment: &DeploymentName, deaf: bool) {
        let mut state = self.state.borrow_mut();
        if deaf {
            state.deaf.insert(deployment.clone());
        } else {
            state.deaf.remove(deployment);
        }
    }

    /// podman cannot remove this container or volume.
    pub fn is_stuck(&self, name: &str, stuck: bool) {
        let mut state = self.state.borrow_mut();
        if stuck {
            state.stuck.insert(name.to_owned());
        } else {
            state.stuck.remove(name);
        }
    }

    /// The disk refuses records of this deployment, or takes them again.
    pub fn refuse_records(&self, deployment: &DeploymentName, refused: bool) {
        let mut state = self.state.borrow_mut();
        if refused {
            state.refused.insert(deployment.clone());
        } else {
            state.refused.remove(deployment);
        }
    }

    /// podman does not answer, or does again. It counts behind its words, so that they differ each time.
    pub fn podman_problem(&self, words: Option<&str>) {
        self.state.borrow_mut().podman_problem = words.map(str::to_owned);
    }

    /// Both clocks go forward.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state.borrow_mut();
        state.monotonic += time;
        state.now += time;
    }

    /// Somebody sets the wall clock. The true time goes on, and honest servers tell it.
    pub fn set_now(&self, now: DateTime<Utc>) {
        {
            let mut state = self.state.borrow_mut();
            let back = state.now - now;
            state.behind += back;
            state.now = now;
        }
        self.clock_set.notify_waiters();
    }

    /// Servers that are asked for the time, and what each does.
    pub fn time_servers(&self, servers: &[TimeServer]) {
        self.state.borrow_mut().time_servers = servers.to_vec();
    }

    /// systemd wants a sign of life this often.
    pub fn set_watchdog(&self, interval: Option<Duration>) {
        self.state.borrow_mut().watchdog = interval;
    }

    /// Sets the free space on `data`.
    pub fn set_data_free_mib(&self, mib: u64) {
        self.state.borrow_mut().data_free_mib = mib;
    }
}
