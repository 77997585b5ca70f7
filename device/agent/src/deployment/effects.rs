//! What the machine asks for, carried out on the host. Each returns the fact that came of it, is idempotent,
//! and may be dropped at any await.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use fleet_host::quadlet::{self, Digests, Rendered};
use fleet_host::{
    ActiveState, Changed, Clock, Digest, Host, Images, InvocationId, Journal, Leftovers, LoadState,
    UnitFacts, UnitFiles, UnitFilesError, UnitName, Units, UnitsError,
};
use fleet_machine::deployment::{Fact, Failure, Installed, Observation, Progress, Retry, Run, Target};
use fleet_protocol::score::{ImageRef, RestartPolicy};
use fleet_protocol::{Cause, DeploymentName, PodmanV0Score};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::failures::{self, GRACE, failure};
use crate::shared::Shared;

/// Most often that the progress of a pull is told.
const PROGRESS_EACH: Duration = Duration::from_secs(1);
/// Lines of a container's log that go into a cause.
const LAST_WORDS: u16 = 5;
/// Longest wait for a unit to stop; its own time limit is 45 s.
const STOP_WITHIN: Duration = Duration::from_secs(75);

/// One deployment's place on the host.
pub(super) struct Place<H> {
    pub(super) shared: Rc<Shared<H>>,
    pub(super) name: DeploymentName,
    pub(super) unit: UnitName,
    /// The install just before found the unit at rest: the start after it asks nothing first. A memory of a moment,
    /// used once; were it wrong, `StartUnit` of a unit that runs starts nothing and tells its run.
    pub(super) at_rest: Rc<Cell<bool>>,
}

impl<H> Clone for Place<H> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            name: self.name.clone(),
            unit: self.unit.clone(),
            at_rest: Rc::clone(&self.at_rest),
        }
    }
}

impl<H: Host> Place<H> {
    fn units(&self) -> &H::Units {
        self.shared.host.units()
    }

    pub(super) async fn pull(self, target: Target, news: UnboundedSender<Fact>) -> Fact {
        // The semaphore lives as long as the agent and is never closed.
        let _turn = self.shared.pulls.acquire().await;
        // A closed channel means that the task is gone, and this future with it.
        let _ = news.send(Fact::PullBegan);
        if let Some(digest) = self.shared.images.digest(&target.image) {
            return Fact::Pulled { digest };
        }
        let Ok(image) = target.image.parse::<ImageRef>() else {
            return Fact::PullFailed(failure("image-malformed", target.image, Retry::Never));
        };
        let mut told: Option<Instant> = None;
        let mut progress = |pull: fleet_protocol::state::PullProgress| {
            if told.is_some_and(|told| told.elapsed() < PROGRESS_EACH) {
                return;
            }
            told = Some(Instant::now());
            let _ = news.send(Fact::PullProgress(Progress {
                layers_done: pull.layers_done,
                layers_total: pull.layers_total,
                bytes: pull.bytes,
            }));
        };
        self.shared.images.repair_once(&self.shared.host).await;
        match self.shared.host.images().pull(&image, &mut progress).await {
            Ok(pulled) => {
                let digest = pulled.digest.to_string();
                self.shared
                    .images
                    .pulled(&self.shared.host, &target.image, &digest)
                    .await;
                self.shared.health.right("disk-full");
                Fact::Pulled { digest }
            }
            Err(error) => {
                let failure = failures::of_pull(&target.image, &error);
                self.note_full_disk(&failure);
                Fact::PullFailed(failure)
            }
        }
    }

    fn note_full_disk(&self, failure: &Failure) {
        if failure.kind == "disk-full" {
            self.shared.health.wrong(Cause::new(
                "disk-full",
                "the data file system is full: remove deployments or volumes that are not needed",
            ));
        }
    }

    fn render(&self, of: &Installed, score: &PodmanV0Score) -> Result<Rendered, Failure> {
        // A digest that does not parse is one of a damaged record: the tag then has to do.
        let digest = Digest::parse(&of.digest).ok();
        let digests: Digests = digest
            .map(|digest| (score.image.to_string(), digest))
            .into_iter()
            .collect();
        quadlet::render(&self.name, score, &digests)
            .map_err(|error| failure(error.kind(), error.to_string(), Retry::Never))
    }

    /// Writes the files and loads them. `loaded` says that systemd has read these files before.
    pub(super) async fn install(self, of: Installed, score: PodmanV0Score, loaded: bool) -> Fact {
        self.at_rest.set(false);
        match self.try_install(&of, &score, loaded).await {
            Ok((changed, facts)) => {
                self.shared.health.right("disk-full");
                self.at_rest
                    .set(facts.active_state == ActiveState::Inactive && !facts.job_pending);
                Fact::Installed {
                    changed: changed.is_changed(),
                    active: self.active_run(&facts),
                }
            }
            Err(failure) => {
                self.note_full_disk(&failure);
                Fact::InstallFailed(failure)
            }
        }
    }

    async fn try_install(
        &self,
        of: &Installed,
        score: &PodmanV0Score,
        loaded: bool,
    ) -> Result<(Changed, UnitFacts), Failure> {
        let rendered = self.render(of, score)?;
        let changed = self
            .shared
            .host
            .unit_files()
            .replace(&rendered)
            .await
            .map_err(|error| failures::of_files(&error))?;
        let of_units = |error: UnitsError| failures::of_units(&error, &[]);
        let known = async {
            let known = match loaded && !changed.is_changed() {
                true => Some(self.units().facts(&self.unit).await?),
                false => None,
            };
            match known.filter(|facts| facts.load_state == LoadState::Loaded) {
                Some(facts) => Ok(facts),
                None => self.take_up().await,
            }
        };
        // The watch is asked for first, so that no change after the facts is missed; its answer is not waited for.
        let ((), facts) = tokio::join!(biased; self.shared.watch(&self.unit, true), known);
        let facts = facts.map_err(of_units)?;
        match facts.load_state {
            LoadState::Loaded => Ok((changed, facts)),
            LoadState::NotFound => Err(of_units(UnitsError::NoSuchUnit(self.unit.clone()))),
            LoadState::Unusable(word) => Err(failure(
                "unit-refused",
                format!("systemd cannot use {} ({word}): look at its journal", self.unit),
                Retry::Seldom,
            )),
        }
    }

    async fn take_up(&self) -> Result<UnitFacts, UnitsError> {
        let taken = self.units().take_up(&self.unit).await?;
        if let Some(why) = taken.detour {
            tracing::warn!("{} took a reload of systemd: {why}", self.unit);
        }
        Ok(taken.facts)
    }

    fn active_run(&self, facts: &UnitFacts) -> Option<Run> {
        facts
            .invocation_id
            .as_ref()
            .filter(|_| facts.is_up())
            .map(|id| self.run(facts, id))
    }

    fn run(&self, facts: &UnitFacts, id: &InvocationId) -> Run {
        let clock = self.shared.host.clock();
        let ago = clock.monotonic().saturating_sub(facts.state_change_monotonic);
        let ago = i64::try_from(ago.as_millis()).unwrap_or_default();
        Run {
            unit: self.unit.to_string(),
            invocation: id.to_string(),
            started_at: self.shared.at().saturating_sub(ago),
        }
    }

    pub(super) async fn start(self, of: Installed, score: PodmanV0Score, replaces: Option<String>) -> Fact {
        let (within, inits) = match self.render(&of, &score) {
            Ok(rendered) => (rendered.start_within + GRACE, rendered.init_units()),
            Err(failure) => {
                return Fact::StartFailed {
                    failure,
                    image_missing: false,
                };
            }
        };
        match self.try_start(replaces.as_deref(), &inits, within).await {
            Ok(run) => Fact::Started(run),
            Err(error) => self.start_failed(&of, &score, &error).await,
        }
    }

    async fn try_start(
        &self,
        replaces: Option<&str>,
        inits: &[UnitName],
        within: Duration,
    ) -> Result<Run, UnitsError> {
        if self.at_rest.take() {
            let started = self.units().start(&self.unit, inits, within).await?;
            return self.run_of(started.facts);
        }
        let facts = self.units().facts(&self.unit).await?;
        if facts.active_state == ActiveState::Failed {
            self.units().reset_failed(&self.unit).await?;
        }
        let started = match self.active_run(&facts) {
            Some(run) if Some(run.invocation.as_str()) != replaces => return Ok(run),
            Some(_) => self.units().restart(&self.unit, inits, within).await?,
            None => self.units().start(&self.unit, inits, within).await?,
        };
        self.run_of(started.facts)
    }

    fn run_of(&self, facts: UnitFacts) -> Result<Run, UnitsError> {
        self.active_run(&facts).ok_or_else(|| UnitsError::JobFailed {
            unit: self.unit.clone(),
            job_result: None,
            facts: Box::new(facts),
        })
    }

    async fn start_failed(&self, of: &Installed, score: &PodmanV0Score, error: &UnitsError) -> Fact {
        if failures::start_ended_well(error, score.restart) {
            return Fact::Finished;
        }
        let words = match error {
            UnitsError::JobFailed { facts, .. } => self.last_words(facts).await,
            _ => Vec::new(),
        };
        // Only worth asking podman when it was podman itself that gave up.
        let by_podman = matches!(error, UnitsError::JobFailed { facts, .. } if facts.exec_main_status == 125);
        let image_missing = by_podman && self.is_missing(&score.image, of).await;
        if image_missing {
            self.shared.images.missing(&self.shared.host, &of.image).await;
        }
        Fact::StartFailed {
            failure: failures::of_start(error, score.restart, &words),
            image_missing,
        }
    }

    async fn is_missing(&self, image: &ImageRef, of: &Installed) -> bool {
        // By digest where it is known: the tag may point elsewhere by now.
        let pinned = format!("{}@{}", image.name(), of.digest).parse().ok();
        let image = pinned.as_ref().unwrap_or(image);
        matches!(self.shared.host.images().present(image).await, Ok(None))
    }

    async fn last_words(&self, facts: &UnitFacts) -> Vec<String> {
        let Some(id) = &facts.invocation_id else {
            return Vec::new();
        };
        match self.shared.host.journal().tail(id, LAST_WORDS).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::debug!("no last words of {}: {error}", self.unit);
                Vec::new()
            }
        }
    }

    /// Compares unit and files with what is installed. Reads only. `None` while the unit is on its way down.
    pub(super) async fn look(self, of: Installed, score: PodmanV0Score, was_up: bool) -> Option<Fact> {
        match self.drift(&of, &score).await {
            Ok(None) => {}
            Ok(Some(drift)) => return Some(Fact::Drifted(drift)),
            Err(error) => tracing::warn!("files of {} are not compared: {error}", self.name),
        }
        let facts = match self.units().facts(&self.unit).await {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!("{} cannot be looked at: {error}", self.unit);
                return None;
            }
        };
        if facts.load_state != LoadState::Loaded {
            return Some(Fact::Drifted(failures::of_drift(self.unit.as_str(), true)));
        }
        self.observe(&facts, score.restart, was_up)
            .await
            .map(Fact::Observed)
    }

    /// Whether a run that is being replaced is over. Reads only; `None` while it is not, or nobody can tell.
    pub(super) async fn glance(self, old: String) -> Option<Fact> {
        let facts = self.units().facts(&self.unit).await.ok()?;
        let same = facts.invocation_id.as_ref().is_some_and(|id| id.as_str() == old);
        let ending = same && !facts.is_down();
        (!ending).then_some(Fact::Observed(Observation::Activating))
    }

    async fn drift(&self, of: &Installed, score: &PodmanV0Score) -> Result<Option<Failure>, UnitFilesError> {
        let Ok(rendered) = self.render(of, score) else {
            return Ok(None);
        };
        let files = self.shared.host.unit_files();
        for part in rendered.files() {
            let text = files.read(&part.file).await?;
            if text.as_deref() != Some(part.text.as_str()) {
                return Ok(Some(failures::of_drift(part.file.as_str(), text.is_none())));
            }
        }
        Ok(None)
    }

    async fn observe(&self, facts: &UnitFacts, policy: RestartPolicy, was_up: bool) -> Option<Observation> {
        if let Some(run) = self.active_run(facts) {
            return Some(Observation::Active(run));
        }
        // Of a unit that was not up, only a run of it counts: one that never ran looks as if it had ended well.
        if failures::ended_well(facts, policy) && (was_up || failures::ran_well(facts)) {
            return Some(Observation::Finished);
        }
        if facts.is_restarting() || facts.is_down() {
            let words = match was_up && facts.result != "success" {
                true => self.last_words(facts).await,
                false => Vec::new(),
            };
            return Some(Observation::Stopped(failures::of_stop(facts, policy, &words)));
        }
        (facts.active_state == ActiveState::Activating).then_some(Observation::Activating)
    }

    /// Stops the unit and removes everything that is the deployment's. `keep` unknown: no volume is removed, and
    /// the removal is not complete while there is one.
    pub(super) async fn remove(self, keep: Option<BTreeSet<String>>) -> Fact {
        match self.try_remove(keep.as_ref()).await {
            Ok(()) => Fact::Removed,
            Err(failure) => Fact::RemoveFailed(failure),
        }
    }

    async fn try_remove(&self, keep: Option<&BTreeSet<String>>) -> Result<(), Failure> {
        let of_units = |error: UnitsError| failures::of_units(&error, &[]);
        let of_files = |error: UnitFilesError| failures::of_files(&error);
        self.units()
            .stop(&self.unit, STOP_WITHIN)
            .await
            .map_err(of_units)?;
        let files = self.shared.host.unit_files();
        for file in files.list().await.map_err(of_files)? {
            if file.deployment() == self.name {
                // Whether it was there says nothing: an agent that was killed may have removed it just now.
                let _ = files.remove(&file).await.map_err(of_files)?;
            }
        }
        // First, since systemd keeps what failed.
        self.units().reset_failed(&self.unit).await.map_err(of_units)?;
        self.units().let_go(&self.unit).await.map_err(of_units)?;
        self.shared.watch(&self.unit, false).await;
        let leftovers = self.shared.host.leftovers();
        let remains = leftovers
            .remove(&self.name, keep)
            .await
            .map_err(|error| failures::of_removal(&error))?;
        match remains.is_empty() {
            true => Ok(()),
            false => Err(failures::of_remains(&remains, keep.is_some())),
        }
    }
}
