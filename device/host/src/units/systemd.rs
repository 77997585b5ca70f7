//! `systemd --user` over the session bus.
//!
//! A job's end is told by the signal `JobRemoved`, which can be lost (systemd#8803). So each wait has a
//! deadline and, beside the signal, a poll of the job itself; and what counts at the end are the unit's own
//! facts, not the word of the job (systemd#22369).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zbus::{OwnedObjectPath, Variant};

use super::bus::{Link, PROPERTIES, SYSTEMD, Shared, Waiting, unit_path};
use super::generator::GeneratorError;
use super::{ActiveState, Generator, LoadState, Started, TakenUp, UnitFacts, Units, UnitsError};
use crate::names::{InvocationId, UnitName};

/// First pause between two polls of a job; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two polls of a job, and between two tries to reach the bus.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// `systemd --user` over the session bus.
#[derive(Debug)]
pub struct UserUnits {
    address: String,
    shared: Arc<Shared>,
    link: RefCell<Option<Rc<Link>>>,
    generator: Option<Generator>,
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
    async fn link(&self) -> Result<Rc<Link>, UnitsError> {
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

    /// Queues a job and waits for its end. `None`: it ended, and nobody heard how.
    async fn job(
        &self,
        method: &'static str,
        unit: &UnitName,
        within: Duration,
    ) -> Result<Option<String>, UnitsError> {
        let deadline = Instant::now() + within;
        let _waiting = Waiting::new(&self.shared);
        let link = self.link().await?;
        let reply = link
            .manager(method, &(unit.as_str(), "replace"))
            .await
            .map_err(|error| missing(error, unit))?;
        let job: OwnedObjectPath = reply
            .body()
            .deserialize()
            .map_err(|error| UnitsError::Malformed {
                operation: method,
                problem: error.to_string(),
            })?;
        match tokio::time::timeout_at(deadline, self.end_of(job.as_str())).await {
            Ok(result) => Ok(result),
            Err(_) => Err(UnitsError::Deadline {
                unit: unit.clone(),
                within,
            }),
        }
    }

    /// The signal, or a poll that finds the job gone. The caller bounds it.
    async fn end_of(&self, job: &str) -> Option<String> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = std::pin::pin!(self.shared.jobs.notified());
            heard.as_mut().enable();
            if let Some(result) = self.shared.result(job) {
                return Some(result);
            }
            // Both arms only wait: nothing is lost when one of them is dropped.
            tokio::select! {
                () = heard => continue,
                () = tokio::time::sleep(pause) => {}
            }
            if self.job_is_gone(job).await {
                // The signal may have come just before the answer.
                return self.shared.result(job);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the job for its state. Without an answer it may still be there.
    async fn job_is_gone(&self, job: &str) -> bool {
        let Ok(link) = self.link().await else { return false };
        let asked = link
            .call(
                SYSTEMD,
                job,
                PROPERTIES,
                "Get",
                &("org.freedesktop.systemd1.Job", "State"),
            )
            .await;
        match asked {
            Err(UnitsError::Refused { name, .. }) => {
                let unknown = [
                    "UnknownObject",
                    "UnknownMethod",
                    "UnknownInterface",
                    "UnknownProperty",
                ];
                unknown.iter().any(|word| name.ends_with(word))
            }
            _ => false,
        }
    }

    /// Judges a start by what is true now. For a run that is up one question is enough.
    async fn started(&self, unit: &UnitName, job_result: Option<String>) -> Result<Started, UnitsError> {
        let facts = self.glance(unit).await?;
        let done = matches!(job_result.as_deref(), None | Some("done"));
        if done && facts.is_up() {
            let invocation_id = facts.invocation_id.clone();
            return match invocation_id {
                Some(invocation_id) => Ok(Started { invocation_id, facts }),
                None => Err(UnitsError::Malformed {
                    operation: "GetAll",
                    problem: format!("{unit} is up and has no InvocationID"),
                }),
            };
        }
        if job_result.as_deref() == Some("skipped") || (done && facts.is_down() && !facts.condition_result) {
            return Err(UnitsError::Skipped(unit.clone()));
        }
        Err(UnitsError::JobFailed {
            unit: unit.clone(),
            job_result,
            facts: Box::new(self.facts(unit).await?),
        })
    }

    /// Takes up a unit that systemd does not hold. `Err` says why that needs a reload after all; without a word where
    /// systemd holds it.
    async fn take_up_alone(&self, unit: &UnitName) -> Result<Result<UnitFacts, Option<String>>, UnitsError> {
        let Some(generator) = &self.generator else {
            return Ok(Err(Some("there is no generator".to_owned())));
        };
        // The question costs next to nothing and the generator much: it does not wait, and is killed if it runs in vain.
        let asked = async {
            match self.load_state(unit).await {
                Ok(LoadState::NotFound) => Ok(()),
                Ok(LoadState::Loaded | LoadState::Unusable(_)) => Err(Ok(())),
                Err(error) => Err(Err(error)),
            }
        };
        let generated = match tokio::try_join!(asked, async { Ok(generator.generate(unit).await) }) {
            Ok(((), generated)) => generated,
            Err(Ok(())) => return Ok(Err(None)),
            Err(Err(error)) => return Err(error),
        };
        if let Err(error) = generated.and_then(|generated| generator.place(generated)) {
            return Ok(Err(Some(words(&error))));
        }
        let facts = self.glance(unit).await?;
        Ok(match facts.load_state {
            LoadState::Loaded => Ok(facts),
            LoadState::NotFound => Err(Some(format!("systemd does not find {unit} where it was put"))),
            LoadState::Unusable(word) => Err(Some(format!(
                "systemd cannot use {unit} as it was generated ({word})"
            ))),
        })
    }

    async fn get(&self, unit: &UnitName, property: &'static str) -> Result<zbus::Message, UnitsError> {
        let path = unit_path(unit.as_str());
        self.link()
            .await?
            .call(SYSTEMD, &path, PROPERTIES, "Get", &(UNIT, property))
            .await
    }

    /// Of a unit that systemd does not hold this one property is much cheaper than all of them.
    async fn load_state(&self, unit: &UnitName) -> Result<LoadState, UnitsError> {
        match read_property(&self.get(unit, "LoadState").await?.body())? {
            Variant::Str(word) => Ok(LoadState::from(word.as_str())),
            other => Err(malformed(format!("LoadState is {other:?}"))),
        }
    }

    /// The unit's own properties; of the service's, which systemd gathers from the kernel and are many, nothing.
    async fn glance(&self, unit: &UnitName) -> Result<UnitFacts, UnitsError> {
        let answer = self.properties(&unit_path(unit.as_str()), UNIT).await?;
        let body = answer.body();
        let general = Answer::read(&body)?;
        facts(LoadState::from(general.text("LoadState")?), &general, None)
    }

    async fn invocation(&self, unit: &UnitName) -> Result<Option<InvocationId>, UnitsError> {
        invocation(&read_property(&self.get(unit, "InvocationID").await?.body())?)
    }

    async fn properties(&self, path: &str, interface: &'static str) -> Result<zbus::Message, UnitsError> {
        self.link()
            .await?
            .call(SYSTEMD, path, PROPERTIES, "GetAll", &interface)
            .await
    }
}

/// An error and its source in one line.
fn words(error: &GeneratorError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// systemd's word for a unit without a file is an error of its own.
fn missing(error: UnitsError, unit: &UnitName) -> UnitsError {
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
        self.reload().await?;
        let facts = self.glance(unit).await?;
        Ok(TakenUp { facts, detour })
    }

    async fn let_go(&self, unit: &UnitName) -> Result<(), UnitsError> {
        let withdrawn = match &self.generator {
            Some(generator) => generator.withdraw(unit).is_ok(),
            None => false,
        };
        // A link of `default.target` keeps it in memory, and what is there in place of a file that would not go is
        // read again: both end with a reload.
        if withdrawn && self.load_state(unit).await? == LoadState::NotFound {
            return Ok(());
        }
        self.reload().await
    }

    async fn start(&self, unit: &UnitName, within: Duration) -> Result<Started, UnitsError> {
        let result = self.job("StartUnit", unit, within).await?;
        self.started(unit, result).await
    }

    async fn stop(&self, unit: &UnitName, within: Duration) -> Result<(), UnitsError> {
        let job_result = match self.job("StopUnit", unit, within).await {
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

    async fn restart(&self, unit: &UnitName, within: Duration) -> Result<Started, UnitsError> {
        let before = self.invocation(unit).await?;
        let result = self.job("RestartUnit", unit, within).await?;
        let started = self.started(unit, result).await?;
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

/// The answer to one `GetAll`.
struct Answer<'a>(HashMap<&'a str, Variant<'a>>);

impl<'a> Answer<'a> {
    fn read(body: &'a zbus::message::Body) -> Result<Self, UnitsError> {
        body.deserialize()
            .map(Self)
            .map_err(|error| malformed(error.to_string()))
    }

    fn get(&self, name: &str) -> Result<&Variant<'a>, UnitsError> {
        self.0
            .get(name)
            .ok_or_else(|| malformed(format!("{name} is missing")))
    }

    fn text(&self, name: &str) -> Result<&str, UnitsError> {
        match self.get(name)? {
            Variant::Str(text) => Ok(text.as_str()),
            other => Err(malformed(format!("{name} is {other:?}"))),
        }
    }

    fn job_pending(&self) -> bool {
        match self.0.get("Job") {
            Some(Variant::Structure(job)) => !matches!(job.fields().first(), Some(Variant::U32(0)) | None),
            _ => false,
        }
    }
}

fn malformed(problem: String) -> UnitsError {
    UnitsError::Malformed {
        operation: "GetAll",
        problem,
    }
}

/// The answer to one `Get`.
fn read_property(body: &zbus::message::Body) -> Result<Variant<'_>, UnitsError> {
    body.deserialize()
        .map_err(|error: zbus::Error| UnitsError::Malformed {
            operation: "Get",
            problem: error.to_string(),
        })
}

fn invocation(value: &Variant<'_>) -> Result<Option<InvocationId>, UnitsError> {
    let Variant::Array(bytes) = value else {
        return Err(malformed("InvocationID is no array".to_owned()));
    };
    let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte).ok()).collect();
    Ok(InvocationId::from_bytes(&bytes))
}

fn facts(
    load_state: LoadState,
    unit: &Answer<'_>,
    service: Option<&Answer<'_>>,
) -> Result<UnitFacts, UnitsError> {
    let micros = match unit.get("StateChangeTimestampMonotonic")? {
        Variant::U64(micros) => *micros,
        other => return Err(malformed(format!("StateChangeTimestampMonotonic is {other:?}"))),
    };
    let number = |name: &str| match service.and_then(|service| service.0.get(name)) {
        Some(Variant::I32(number)) => *number,
        _ => 0,
    };
    let n_restarts = match service.and_then(|service| service.0.get("NRestarts")) {
        Some(Variant::U32(count)) => *count,
        _ => 0,
    };
    let result = match service {
        Some(service) => service.text("Result")?.to_owned(),
        None => "success".to_owned(),
    };
    Ok(UnitFacts {
        load_state,
        active_state: ActiveState::from(unit.text("ActiveState")?),
        sub_state: unit.text("SubState")?.to_owned(),
        result,
        invocation_id: invocation(unit.get("InvocationID")?)?,
        n_restarts,
        exec_main_code: number("ExecMainCode"),
        exec_main_status: number("ExecMainStatus"),
        state_change_monotonic: Duration::from_micros(micros),
        condition_result: !matches!(unit.0.get("ConditionResult"), Some(Variant::Bool(false))),
        job_pending: unit.job_pending(),
    })
}
