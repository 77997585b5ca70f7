//! `Start`: what is replaced ends, init containers run, the container comes up.

use std::time::Duration;

use fleet_host::quadlet::Rendered;
use fleet_host::{ActiveState, Host, Images, UnitFacts, UnitName, Units, UnitsError};
use fleet_machine::deployment::{Fact, Failure, Gap, Installed};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::ImageRef;
use tokio::time::Instant;

use super::{Manners, Place};
use crate::deployment::failures::{self, GRACE, RunEnd};

/// What to start.
pub(in crate::deployment) struct Order {
    pub(in crate::deployment) of: Installed,
    pub(in crate::deployment) score: PodmanV0Score,
    pub(in crate::deployment) replaces: Option<Replaced>,
}

/// What it takes the place of.
pub(in crate::deployment) struct Replaced {
    pub(in crate::deployment) invocation: String,
    /// Its generation, where that is on record.
    pub(in crate::deployment) generation: Option<u64>,
    pub(in crate::deployment) manners: Manners,
}

/// Why nothing was started.
enum Trouble {
    /// What was to be replaced goes on.
    Ignored(Failure),
    /// systemd says so.
    Units(UnitsError),
}

impl From<UnitsError> for Trouble {
    fn from(error: UnitsError) -> Self {
        Self::Units(error)
    }
}

impl<H: Host> Place<H> {
    pub(in crate::deployment) async fn start(self, order: Order) -> Fact {
        let plan = match self.render(&order.of, &order.score) {
            Ok(plan) => plan,
            Err(failure) => {
                return Fact::StartFailed {
                    failure,
                    image_missing: false,
                };
            }
        };
        let began = Instant::now();
        let outcome = match self.try_start(&order, &plan).await {
            Ok(facts) => match self.active_run(&facts) {
                Some(run) => {
                    let gap = gap(&facts);
                    return Fact::Started { run, gap };
                }
                None => UnitsError::JobFailed {
                    unit: self.unit.clone(),
                    job_result: None,
                    facts: Box::new(facts),
                },
            },
            Err(Trouble::Ignored(failure)) => return Fact::StopIgnored(failure),
            Err(Trouble::Units(error)) => error,
        };
        self.start_failed(&order, &outcome, began.elapsed()).await
    }

    /// Facts about the unit after it came up.
    async fn try_start(&self, order: &Order, plan: &Rendered) -> Result<UnitFacts, Trouble> {
        let (unit, inits) = (&self.unit, plan.init_units());
        let within = plan.start_within + GRACE;
        if self.at_rest.take() {
            return Ok(self.units().start(unit, &inits, within).await?.facts);
        }
        let mut facts = self.units().facts(unit).await?;
        let is_old = |facts: &UnitFacts| {
            let active = self.active_run(facts);
            order
                .replaces
                .as_ref()
                .filter(|old| active.is_some_and(|run| run.invocation == old.invocation))
        };
        let mut asked = false;
        if let Some(old) = is_old(&facts).filter(|old| !old.manners.kill) {
            self.ask_to_end(Some(&old.invocation), &old.words(), &old.manners)
                .await
                .map_err(Trouble::Ignored)?;
            asked = true;
            facts = self.units().facts(unit).await?;
        }
        if facts.active_state == ActiveState::Failed {
            self.units().reset_failed(unit).await?;
        }
        let with_stop = within + plan.stop_within;
        let started = match facts.is_up() {
            true if is_old(&facts).is_none() => return Ok(facts),
            true => self.units().restart(unit, &inits, with_stop).await?,
            // systemd pauses before it starts what ended; nobody waits for that who asked it to end.
            false if asked && facts.is_restarting() => self.units().restart(unit, &inits, with_stop).await?,
            false => self.units().start(unit, &inits, within).await?,
        };
        Ok(started.facts)
    }

    async fn start_failed(&self, order: &Order, error: &UnitsError, took: Duration) -> Fact {
        let score = &order.score;
        if failures::start_ended_well(error, score.restart) {
            return Fact::Finished;
        }
        let failed = match error {
            UnitsError::JobFailed { unit, facts, .. } | UnitsError::InitFailed { unit, facts } => {
                Some((unit, facts.as_ref()))
            }
            _ => None,
        };
        let Some((unit, facts)) = failed else {
            return Fact::StartFailed {
                failure: failures::of_units(error),
                image_missing: false,
            };
        };
        let end = RunEnd {
            log: self.last_words(facts).await,
            next_restart: facts.next_restart.map(|at| self.wall_clock(at)),
            facts,
        };
        let failure = failures::of_start(error, score, took, end);
        // Only worth asking podman when it was podman itself that gave up.
        let by_podman = (facts.exec_main_code, facts.exec_main_status) == (1, 125);
        let image = image_of(score, unit);
        let image_missing = by_podman && self.is_missing(image, &order.of).await;
        if image_missing {
            self.shared
                .images
                .missing(&self.shared.host, image.as_str())
                .await;
        }
        Fact::StartFailed {
            failure,
            image_missing,
        }
    }

    async fn is_missing(&self, image: &ImageRef, of: &Installed) -> bool {
        // By digest where it is known: the tag may point elsewhere by now.
        let digest = of.others.get(image.as_str()).unwrap_or(&of.digest);
        let pinned = format!("{}@{digest}", image.name()).parse().ok();
        let image = pinned.as_ref().unwrap_or(image);
        matches!(self.shared.host.images().present(image).await, Ok(None))
    }
}

impl Replaced {
    fn words(&self) -> String {
        match self.generation {
            Some(generation) => format!("generation {generation}"),
            None => "the old version".to_owned(),
        }
    }
}

/// The image of a unit of the deployment.
fn image_of<'a>(score: &'a PodmanV0Score, unit: &UnitName) -> &'a ImageRef {
    let init = unit.init_name();
    let found = score
        .init_containers
        .iter()
        .find(|of| Some(of.name.as_str()) == init);
    found.map_or(&score.image, |of| &of.image)
}

/// How long nothing was up, by systemd's own stamps. None of a unit that was never stopped since boot.
fn gap(facts: &UnitFacts) -> Option<Gap> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stop = facts.inactive_enter.checked_sub(facts.active_exit)?;
    let down = facts.active_enter.checked_sub(facts.inactive_enter)?;
    (!facts.active_exit.is_zero()).then(|| Gap {
        stop: millis(stop),
        down: millis(down),
    })
}
