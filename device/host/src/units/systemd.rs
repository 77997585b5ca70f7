//! `systemd --user` over the session bus.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zbus::{OwnedObjectPath, Variant};

use super::answers::{Answer, facts, invocation, malformed, read_property};
use super::bus::{Link, PROPERTIES, SYSTEMD, Shared, unit_path};
use super::inits::{RESTART, START};
use super::job::Mode;
use super::{ActiveState, Generator, LoadState, Started, TakenUp, UnitFacts, Units, UnitsError};
use crate::names::{InvocationId, UnitName, container_name};

/// First pause between two polls of a job; doubled up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two polls of a job, and between two tries to reach the bus.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// `systemd --user` over the session bus.
#[derive(Debug)]
pub struct UserUnits {
    address: String,
    pub(super) shared: Arc<Shared>,
    link: RefCell<Option<Rc<Link>>>,
    pub(super) generator: Option<Generator>,
}

impl UserUnits {
    /// `address` is a D-Bus address, such as `unix:path=/run/user/990/bus`. Connects at the first call, and again
    /// at the first call after the bus was lost.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            shared: Arc::default(),
            link: RefCell::new(None),
            generator: None,
        }
    }

    /// With a generator, new units need no reload of systemd.
    #[must_use]
    pub fn with_generator(mut self, generator: Generator) -> Self {
        self.generator = Some(generator);
        self
    }

    /// The live connection, if there is one.
    fn live(&self) -> Option<Rc<Link>> {
        self.link
            .borrow()
            .as_ref()
            .filter(|link| link.is_alive())
            .cloned()
    }

    /// The connection, made now if there is none.
    pub(super) async fn link(&self) -> Result<Rc<Link>, UnitsError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let link = Rc::new(Link::connect(&self.address, &self.shared).await?);
        // Another call may have connected in the meantime: the first one stays, so that no signal is told twice.
        if let Some(first) = self.live() {
            return Ok(first);
        }
        let again = self.link.borrow_mut().replace(Rc::clone(&link)).is_some();
        if again {
            self.shared.all_may_have_changed();
        }
        Ok(link)
    }

    /// Whether signals of every watched unit come; what could not be asked for before is asked for again.
    async fn hears_all(&self) -> bool {
        match self.link().await {
            Ok(link) => link.follow(&self.shared).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn get(&self, unit: &UnitName, property: &'static str) -> Result<zbus::Message, UnitsError> {
        let path = unit_path(unit.as_str());
        self.link()
            .await?
            .call(SYSTEMD, &path, PROPERTIES, "Get", &(UNIT, property))
            .await
    }

    /// Of a unit that systemd does not hold this one property is much cheaper than all of them.
    pub(super) async fn load_state(&self, unit: &UnitName) -> Result<LoadState, UnitsError> {
        match read_property(&self.get(unit, "LoadState").await?.body())? {
            Variant::Str(word) => Ok(LoadState::from(word.as_str())),
            other => Err(malformed(format!("LoadState is {other:?}"))),
        }
    }

    /// Whether the unit's files are others than those that systemd read, or gone.
    pub(super) async fn is_outdated(&self, unit: &UnitName) -> Result<bool, UnitsError> {
        match read_property(&self.get(unit, "NeedDaemonReload").await?.body())? {
            Variant::Bool(outdated) => Ok(outdated),
            other => Err(malformed(format!("NeedDaemonReload is {other:?}"))),
        }
    }

    /// The units of a deployment's init containers that systemd holds in memory, whether or not their files are still there.
    pub(super) async fn held_inits(&self, unit: &UnitName) -> Result<Vec<HeldUnit>, UnitsError> {
        let pattern = format!("{}.init-*.service", container_name(&unit.deployment()));
        let none: [&str; 0] = [];
        let body = (&none[..], &[pattern.as_str()][..]);
        let answer = self.link().await?.manager("ListUnitsByPatterns", &body).await?;
        let rows: Vec<Row> =
            answer
                .body()
                .deserialize()
                .map_err(|error: zbus::Error| UnitsError::Malformed {
                    operation: "ListUnitsByPatterns",
                    problem: error.to_string(),
                })?;
        let held = rows.into_iter().filter_map(|(name, _, load, active, ..)| {
            Some(HeldUnit {
                name: UnitName::parse(&name).ok()?,
                load_state: LoadState::from(load.as_str()),
                active_state: ActiveState::from(active.as_str()),
            })
        });
        Ok(held.collect())
    }

    /// Stops what a deployment's init containers do.
    async fn stop_inits(&self, unit: &UnitName, within: Duration) -> Result<(), UnitsError> {
        for init in self.held_inits(unit).await? {
            if !init.is_down() {
                self.stop_one(&init.name, within).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn stop_one(&self, unit: &UnitName, within: Duration) -> Result<(), UnitsError> {
        let job_result = match self.job("StopUnit", Mode::Replace, unit, within).await {
            Ok(result) => result,
            Err(UnitsError::NoSuchUnit(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let facts = self.facts(unit).await?;
        if facts.is_down() {
            return Ok(());
        }
        Err(UnitsError::JobFailed {
            unit: unit.clone(),
            job_result,
            facts: Box::new(facts),
        })
    }

    /// The unit's own properties; of the service's, which systemd gathers from the kernel and are many, nothing.
    pub(super) async fn glance(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError> {
        let answer = self.properties(&unit_path(unit.as_str()), UNIT).await?;
        let body = answer.body();
        let general = Answer::read(&body)?;
        facts(LoadState::from(general.text("LoadState")?), &general, None)
    }

    pub(super) async fn invocation(&self, unit: &UnitName) -> Result<Option<InvocationId>, UnitsError> {
        invocation(&read_property(&self.get(unit, "InvocationID").await?.body())?)
    }

    async fn properties(&self, path: &str, interface: &'static str) -> Result<zbus::Message, UnitsError> {
        self.link()
            .await?
            .call(SYSTEMD, path, PROPERTIES, "GetAll", &interface)
            .await
    }
}

/// One row of systemd's list of units: name, description, load, active and sub state, what it follows, object path, and the
/// id, type and path of its job.
type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A unit in systemd's memory.
#[derive(Debug)]
pub(super) struct HeldUnit {
    pub(super) name: UnitName,
    pub(super) load_state: LoadState,
    active_state: ActiveState,
}

impl HeldUnit {
    pub(super) fn is_down(&self) -> bool {
        matches!(self.active_state, ActiveState::Inactive | ActiveState::Failed)
    }

    /// Only its name is left, since something still mentions it.
    pub(super) fn is_a_name_only(&self) -> bool {
        self.load_state == LoadState::NotFound && self.active_state == ActiveState::Inactive
    }
}

/// systemd's word for a unit without a file is an error of its own.
pub(super) fn missing(error: UnitsError, unit: &UnitName) -> UnitsError {
    match error {
        UnitsError::Refused { name, .. } if name.ends_with(".NoSuchUnit") => {
            UnitsError::NoSuchUnit(unit.clone())
        }
        error => error,
    }
}

impl Units for UserUnits {
    async fn reload(&self) -> Result<(), UnitsError> {
        self.link().await?.manager("Reload", &()).await.map(|_| ())
    }

    async fn take_up(&self, unit: &UnitName) -> Result<TakenUp, UnitsError> {
        let detour = match self.take_up_alone(unit).await? {
            Ok(facts) => return Ok(TakenUp { facts, detour: None }),
            Err(why) => why,
        };
        let facts = self.take_up_by_reload(unit).await?;
        Ok(TakenUp { facts, detour })
    }

    async fn let_go(&self, unit: &UnitName) -> Result<(), UnitsError> {
        match self.let_go_alone(unit).await? {
            true => Ok(()),
            false => self.reload().await,
        }
    }

    async fn start(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        self.run_job(START, Mode::Replace, unit, inits, within).await
    }

    async fn join(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        self.run_job(START, Mode::IgnoreRequirements, unit, inits, within)
            .await
    }

    async fn stop(&self, unit: &UnitName, within: Duration) -> Result<(), UnitsError> {
        self.stop_one(unit, within).await?;
        self.stop_inits(unit, within).await
    }

    async fn restart(
        &self,
        unit: &UnitName,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Started, UnitsError> {
        let before = self.invocation(unit).await?;
        let started = self.run_job(RESTART, Mode::Replace, unit, inits, within).await?;
        if before.as_ref() != Some(&started.invocation_id) {
            return Ok(started);
        }
        // The old run is still up: the job was lost on its way, or somebody cancelled it.
        let facts = Box::new(self.facts(unit).await?);
        Err(UnitsError::JobFailed {
            unit: unit.clone(),
            job_result: Some("canceled".to_owned()),
            facts,
        })
    }

    async fn reset_failed(&self, unit: &UnitName) -> Result<(), UnitsError> {
        let asked = self
            .link()
            .await?
            .manager("ResetFailedUnit", &unit.as_str())
            .await;
        match asked.map_err(|error| missing(error, unit)) {
            Ok(_) | Err(UnitsError::NoSuchUnit(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn facts(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError> {
        let path = unit_path(unit.as_str());
        let general = self.properties(&path, UNIT).await?;
        let general = general.body();
        let general = Answer::read(&general)?;
        let load_state = LoadState::from(general.text("LoadState")?);
        // A unit without a file has no properties of a service.
        let service = match load_state {
            LoadState::NotFound => None,
            _ => Some(self.properties(&path, SERVICE).await?),
        };
        let body = service.as_ref().map(zbus::Message::body);
        let service = body.as_ref().map(Answer::read).transpose()?;
        facts(load_state, &general, service.as_ref())
    }

    async fn watch(&self, units: BTreeSet<UnitName>) -> Result<(), UnitsError> {
        self.shared.watch(units);
        self.link().await?.follow(&self.shared).await
    }

    async fn changed(&self) -> BTreeSet<UnitName> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut news = std::pin::pin!(self.shared.news.notified());
            news.as_mut().enable();
            let changed = self.shared.take_changed();
            if !changed.is_empty() {
                return changed;
            }
            if self.hears_all().await {
                news.await;
                pause = FIRST_PAUSE;
            } else {
                tokio::select! {
                    () = news => {}
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
        }
    }
}
