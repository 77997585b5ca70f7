//! Composition: starts the tasks in order and ends them in order.

use std::pin::pin;
use std::rc::Rc;

use fleet_host::{Host, Supervisor};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::clock::{self, Refusal};
use crate::dispatch::Dispatcher;
use crate::fault::Faults;
use crate::info;
use crate::random;
use crate::session;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::status;

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
    ///
    /// # Errors
    /// [`Refusal`], when time servers call the clock wrong: nothing was begun then.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Refusal> {
        let local = LocalSet::new();
        local.run_until(self.serve(shutdown)).await
    }

    async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), Refusal> {
        let shared = &self.shared;
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            admitted = clock::admit(shared) => admitted?,
        }
        let (sender, news) = unbounded_channel();
        let mut dispatcher = Dispatcher::new(shared, news);
        dispatcher.load().await;
        dispatcher.begin().await;
        self.notify("ready", shared.host.supervisor().ready());
        tokio::select! {
            () = &mut shutdown => {}
            () = dispatcher.run() => {}
            () = session::run(Rc::clone(shared), sender) => {}
            () = status::keep(Rc::clone(shared)) => {}
            () = info::keep(Rc::clone(shared)) => {}
            () = clock::keep(Rc::clone(shared)) => {}
            () = self.tidy_images() => {}
        }
        tracing::info!("going down; containers keep running");
        self.notify("stopping", shared.host.supervisor().stopping());
        status::remove(&shared.settings.runtime);
        Ok(())
    }

    fn notify(&self, what: &str, told: std::io::Result<()>) {
        if let Err(error) = told {
            tracing::warn!("systemd was not told that the agent is {what}: {error}");
        }
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
