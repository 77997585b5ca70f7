//! Composition: starts the tasks in order and ends them in order.

use std::rc::Rc;
use std::time::Duration;

use fleet_host::{DeviceFacts, Host, Supervisor};
use fleet_protocol::{Cause, DeviceInfo, PROTOCOL_VERSION};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::dispatch::Dispatcher;
use crate::fault::Faults;
use crate::session;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::status;
use crate::words::chain;
use crate::{VERSION, random};

/// Wait before the device is asked again what it is.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// The agent of one device.
pub struct Agent<H> {
    shared: Rc<Shared<H>>,
}

impl<H: Host + 'static> Agent<H> {
    /// Nothing runs yet.
    pub fn new(host: H, settings: Settings) -> Self {
        Self::with_faults(host, settings, Faults::None)
    }

    /// An agent that tests hold or kill.
    pub fn with_faults(host: H, settings: Settings, faults: Faults) -> Self {
        Self {
            shared: Rc::new(Shared::new(host, settings, faults)),
        }
    }

    /// Runs until `shutdown` is ready, then ends in order: what was begun is dropped where it stands and is
    /// resumed by the next agent; containers are systemd's and go on.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let local = LocalSet::new();
        local.run_until(self.serve(shutdown)).await;
    }

    async fn serve(self, shutdown: impl Future<Output = ()>) {
        let shared = &self.shared;
        let (sender, news) = unbounded_channel();
        let mut dispatcher = Dispatcher::new(shared, news);
        dispatcher.load().await;
        dispatcher.begin().await;
        self.notify("ready", shared.host.supervisor().ready());
        tokio::select! {
            () = shutdown => {}
            () = dispatcher.run() => {}
            () = session::run(Rc::clone(shared), sender) => {}
            () = status::keep(Rc::clone(shared)) => {}
            () = self.tell_what_it_is() => {}
            () = self.tidy_images() => {}
        }
        tracing::info!("going down; containers keep running");
        self.notify("stopping", shared.host.supervisor().stopping());
        status::remove(&shared.settings.runtime);
    }

    fn notify(&self, what: &str, told: std::io::Result<()>) {
        if let Err(error) = told {
            tracing::warn!("systemd was not told that the agent is {what}: {error}");
        }
    }

    /// Keeps `device-info` right.
    async fn tell_what_it_is(&self) {
        let shared = &self.shared;
        loop {
            match self.info().await {
                Ok(info) => shared.outbox.info(&info),
                Err(error) => {
                    tracing::warn!("the device cannot be described: {}", chain(&error));
                    sleep(ASK_AGAIN).await;
                    continue;
                }
            }
            shared.health.changed().await;
        }
    }

    async fn info(&self) -> Result<DeviceInfo, fleet_host::FactsError> {
        let shared = &self.shared;
        let identity = shared.host.facts().identity().await?;
        match &identity.podman_problem {
            Some(problem) => shared.health.wrong(Cause::new("podman-silent", problem.clone())),
            None => shared.health.right("podman-silent"),
        }
        Ok(DeviceInfo {
            protocol: PROTOCOL_VERSION,
            agent_version: VERSION.to_owned(),
            arch: identity.arch,
            os: identity.os,
            kernel: identity.kernel,
            podman_version: identity.podman_version,
            boot_id: identity.boot_id,
            hostname: identity.hostname,
            memory_mib: identity.memory_mib,
            data_mib: identity.data_mib,
            labels: shared.settings.identity.enrolment.labels.clone(),
            health: shared.health.causes(),
            agent_started_at: shared.started_at,
        })
    }

    /// Removes images some time after their last user went, so that going back soon costs no pull.
    async fn tidy_images(&self) {
        let shared = &self.shared;
        loop {
            shared.images.unused().await;
            let keep = shared.settings.tuning.keep_images;
            sleep(keep + random::up_to(keep / 10)).await;
            shared.images.prune(&shared.host).await;
        }
    }
}
