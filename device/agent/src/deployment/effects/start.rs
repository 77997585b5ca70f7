//! `Start`: what is replaced ends, init containers run, the container comes up.

use std::time::Duration;

use fleet_host::quadlet::Rendered;
use fleet_host::{ActiveState, Clock, Host, InvocationId, UnitFacts, UnitName, Units, UnitsError};
use fleet_machine::deployment::{Fact, Failure, Gap, Installed};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::ImageRef;
use tokio::time::Instant;

use super::{Manners, Place};
use crate::deployment::failures::{self, GRACE, RunEnd};
use crate::images::is_absent;

/// What to start.
pub(in crate::deployment) struct Order {
    pub(in crate::deployment) of: Installed,
    pub(in crate::deployment) score: PodmanV0Score,
    pub(in crate::deployment) replaces: Option<Replaced>,
    pub(in crate::deployment) overtakes: Option<Replaced>,
    /// It failed before, and nobody asked again.
    pub(in crate::deployment) retry: bool,
}

/// What it takes the place of.
pub(in crate::deployment) struct Replaced {
    /// `None` of a start that has none yet.
    pub(in crate::deployment) invocation: Option<String>,
    /// Its generation, where that is on record.
    pub(in crate::deployment) generation: Option<u64>,
    pub(in crate::deployment) manners: Manners,
}

/// Why nothing was started.
enum Trouble {
    /// What was to be replaced goes on.
    Ignored {
        invocation: Option<String>,
        failure: Failure,
    },
    /// The same failed before, and systemd starts it again when its pause is over.
    Restarting(Box<UnitFacts>),
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
            Err(Trouble::Ignored { invocation, failure }) => {
                return Fact::StopIgnored { invocation, failure };
            }
            Err(Trouble::Restarting(facts)) => return self.still_restarting(&order, &facts).await,
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
        let mut stale = order.stale(&facts);
        let mut asked = None;
        // By its files as they are now systemd would not wait for as long as the old one was promised.
        let patience = order.score.lifecycle().grace_period.duration();
        let by_agent = |old: &&Replaced| !old.manners.kill || old.manners.grace > patience;
        if let Some(old) = stale.filter(|old| by_agent(old) && !facts.is_down() && !facts.is_restarting()) {
            asked = Some(self.shared.host.clock().monotonic());
            let invocation = facts.invocation_id.as_ref().map(InvocationId::as_str);
            let ended = self.ask_to_end(invocation, &old.words(), &old.manners).await;
            if let Err(failure) = ended
                && !old.manners.kill
            {
                let invocation = invocation.map(str::to_owned);
                return Err(Trouble::Ignored { invocation, failure });
            }
            facts = self.units().facts(unit).await?;
            stale = order.stale(&facts);
        }
        if facts.active_state == ActiveState::Failed {
            self.units().reset_failed(unit).await?;
        }
        let with_stop = within + plan.stop_within;
        let units = self.units();
        let mut started = match stale {
            // systemd would join a start that is under way, and wait out its pause before the next automatic one.
            Some(_) => units.restart(unit, &inits, with_stop).await?,
            None if facts.is_up() => return Ok(facts),
            None if facts.is_restarting() && asked.is_some() => {
                units.restart(unit, &inits, with_stop).await?
            }
            None if facts.is_restarting() && order.retry => {
                return Err(Trouble::Restarting(Box::new(facts)));
            }
            // On its way down: there is no start to join.
            None if facts.active_state == ActiveState::Deactivating => {
                units.restart(unit, &inits, with_stop).await?
            }
            None if facts.is_coming() => units.join(unit, &inits, within).await?,
            None => units.start(unit, &inits, within).await?,
        };
        if let Some(asked) = asked {
            // What was asked by the agent began to end before its unit knew.
            started.facts.active_exit = asked.min(started.facts.active_exit);
        }
        Ok(started.facts)
    }

    /// A try that changes nothing: what is known of the last run, and of the next one, is told anew.
    async fn still_restarting(&self, order: &Order, facts: &UnitFacts) -> Fact {
        let end = self.run_end(facts).await;
        let failure = match facts.lived().filter(|_| !facts.came_up()) {
            Some(lived) => {
                let error = UnitsError::JobFailed {
                    unit: self.unit.clone(),
                    job_result: None,
                    facts: Box::new(facts.clone()),
                };
                failures::of_start(&error, &order.score, lived, end)
            }
            None => failures::of_stop(order.score.restart, end),
        };
        match self.lost_image(order, &self.unit, facts, &failure).await {
            true => Fact::StartFailed {
                failure,
                image_missing: true,
            },
            false => Fact::StillRestarting(failure),
        }
    }

    async fn run_end<'a>(&self, facts: &'a UnitFacts) -> RunEnd<'a> {
        RunEnd {
            log: self.last_words(facts).await,
            next_restart: facts.next_restart.map(|at| self.wall_clock(at)),
            facts,
        }
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
        // The job was cancelled, and what was to be replaced is up still: nothing ended.
        if *unit == self.unit && facts.is_up() && order.stale(facts).is_some() {
            return Fact::StartFailed {
                failure: failures::of_units(error),
                image_missing: false,
            };
        }
        let failure = failures::of_start(error, score, took, self.run_end(facts).await);
        let image_missing = self.lost_image(order, unit, facts, &failure).await;
        Fact::StartFailed {
            failure,
            image_missing,
        }
    }

    /// Whether a start failed since the image of a unit is not there, or not whole.
    async fn lost_image(&self, order: &Order, unit: &UnitName, facts: &UnitFacts, failure: &Failure) -> bool {
        let status = (facts.exec_main_code == 1).then_some(facts.exec_main_status);
        let by_podman = matches!(status, Some(125..=127));
        let early = failure
            .end
            .as_ref()
            .is_some_and(|end| end.early || end.init.is_some());
        if !by_podman && !early {
            return false;
        }
        // A program without its bytes ends as one that is wrong does. Such damage dates from before this boot, when the power
        // was cut, so it is looked for once; later, only what podman itself gave up is worth a question.
        let images = &self.shared.images;
        if !images.repair_once(&self.shared.host).await && !by_podman {
            return false;
        }
        let image = image_of(&order.score, unit);
        let digest = order.of.others.get(image.as_str()).unwrap_or(&order.of.digest);
        let missing = is_absent(&self.shared.host, image, digest).await;
        if missing {
            images.missing(&self.shared.host, image.as_str()).await;
        }
        missing
    }
}

impl Order {
    /// What the unit is at, if that is what is to be replaced.
    fn stale(&self, facts: &UnitFacts) -> Option<&Replaced> {
        let id = facts.invocation_id.as_ref().map(InvocationId::as_str);
        let is_it = |old: &&Replaced| old.invocation.as_deref() == id;
        let replaced = self.replaces.as_ref().filter(is_it).filter(|_| facts.is_up());
        // Also once it came up: it came up by other files, or after other init containers. One that had no invocation yet may have
        // got any since. It is known better than what is replaced.
        let of_it = |old: &&Replaced| old.invocation.is_none() || is_it(old);
        let overtaken = self.overtakes.as_ref().filter(of_it);
        overtaken
            .filter(|_| facts.is_up() || facts.is_coming())
            .or(replaced)
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
