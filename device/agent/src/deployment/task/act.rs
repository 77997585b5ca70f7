//! Effects as work on the host.

use fleet_host::{Host, UnitName};
use fleet_machine::deployment::{Effect, Fact, Failure, Goal, Installed, Older, Start, Timer, Unit};
use fleet_protocol::PodmanV0Score;
use tokio::time::Instant;

use super::Task;
use crate::deployment::effects::{Manners, Order, Replaced};
use crate::deployment::failures::failure;

impl<H: Host + 'static> Task<H> {
    pub(super) async fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Pull(target) => {
                self.goal_timer = None;
                self.drop_news();
                let score = self.score(&target.spec);
                let pull = self.place.clone().pull(target, score, self.news.0.clone());
                self.pull = Some(Box::pin(async { Some(pull.await) }));
            }
            Effect::CancelPull => {
                self.pull = None;
                self.drop_news();
            }
            Effect::Install(of) => self.install(of),
            Effect::Start(start) => self.start(start),
            Effect::Verify(of) => self.look(of),
            Effect::Remove => self.remove(),
            Effect::RetryAfter(timer, wait) => {
                let at = Some(Instant::now() + wait);
                match timer {
                    Timer::Goal => self.goal_timer = at,
                    Timer::Unit => self.unit_timer = at,
                }
            }
            Effect::Forget => self.forget().await,
        }
    }

    /// News of a pull that is no more would be taken for those of the next.
    fn drop_news(&mut self) {
        while self.news.1.try_recv().is_ok() {}
    }

    fn install(&mut self, of: Installed) {
        let place = self.place.clone();
        // Known again once it was done: what systemd has of files whose loading failed nobody knows.
        let loaded = self.loaded.take().is_some_and(|spec| spec == of.spec);
        self.work = Some(match self.score(&of.spec) {
            Some(score) => Box::pin(async move { Some(place.install(of, score, loaded).await) }),
            None => Box::pin(async { Some(Fact::InstallFailed(lost())) }),
        });
    }

    fn start(&mut self, start: Start) {
        let place = self.place.clone();
        let Start {
            of,
            replaces,
            overtakes,
            retry,
        } = start;
        let order = self.score(&of.spec).map(|score| Order {
            replaces: replaces.map(|invocation| self.replaced_by(&score, invocation)),
            overtakes: overtakes.map(|older| self.overtaken_by(&score, older)),
            retry,
            of,
            score,
        });
        // The one that runs may be at an init container by now.
        self.glance_due = true;
        self.work = Some(match order {
            Some(order) => Box::pin(async move { Some(place.start(order).await) }),
            None => Box::pin(async {
                Some(Fact::StartFailed {
                    failure: lost(),
                    image_missing: false,
                })
            }),
        });
    }

    /// What is known of a run that is to end for this score.
    fn replaced_by(&self, score: &PodmanV0Score, invocation: String) -> Replaced {
        let running = self.state.running.as_ref();
        let old = running.filter(|old| old.run.invocation == invocation);
        let old_score = old.and_then(|old| self.score(&old.of.spec));
        Replaced {
            invocation: Some(invocation),
            generation: old.map(|old| old.of.generation),
            manners: Manners::of(old_score.as_ref(), Some(score)),
        }
    }

    /// What is known of a start that is not waited for.
    fn overtaken_by(&self, score: &PodmanV0Score, older: Older) -> Replaced {
        let old_score = self.score(&older.of.spec);
        Replaced {
            invocation: older.invocation,
            generation: Some(older.of.generation),
            manners: Manners::of(old_score.as_ref(), Some(score)),
        }
    }

    fn look(&mut self, of: Installed) {
        let was_up = matches!(self.state.unit, Unit::Up { .. } | Unit::Finished { .. });
        if let Some(score) = self.score(&of.spec) {
            self.work = Some(Box::pin(self.place.clone().look(of, score, was_up)));
        }
    }

    /// Whether the start under way is at the end of what it replaces, or at which init container.
    fn glance_if_due(&mut self) {
        if !self.glance_due || self.glance.is_some() {
            return;
        }
        self.glance_due = false;
        let (Unit::Starting { of, .. } | Unit::StopIgnored { of, .. }) = &self.state.unit else {
            return;
        };
        let old = self.state.running.as_ref().map(|old| old.run.invocation.clone());
        let inits = self.inits_of(&of.spec);
        if old.is_some() || !inits.is_empty() {
            self.glance = Some(Box::pin(self.place.clone().glance(old, inits)));
        }
    }

    /// Units of the init containers of a specification, in their order.
    fn inits_of(&self, spec: &str) -> Vec<UnitName> {
        let score = self.record.as_ref().and_then(|record| record.scores.get(spec));
        let inits = score.iter().flat_map(|score| &score.init_containers);
        inits
            .filter_map(|init| UnitName::init(&self.place.name, &init.name).ok())
            .collect()
    }

    /// Units of the init containers of every specification on record.
    pub(super) fn inits_on_record(&self) -> Vec<UnitName> {
        let specs = self.record.iter().flat_map(|record| record.scores.keys());
        specs.flat_map(|spec| self.inits_of(spec)).collect()
    }

    /// Looks at the unit once nothing else is being done to it: work that is under way sees for itself.
    pub(super) fn look_if_due(&mut self) {
        self.glance_if_due();
        if !self.look_again || self.work.is_some() {
            return;
        }
        self.look_again = false;
        if let Some(of) = self.state.unit.installed() {
            self.look(of.clone());
        }
    }

    fn remove(&mut self) {
        let place = self.place.clone();
        let keep = self.state.kept.volumes().cloned();
        let (manners, inits) = (self.manners_of_removal(), self.inits_on_record());
        self.loaded = None;
        self.unit_timer = None;
        self.work = Some(Box::pin(
            async move { Some(place.remove(keep, manners, inits).await) },
        ));
    }

    /// Deleted, the deployment's own policy holds. Asked for again meanwhile, the new one may say otherwise.
    fn manners_of_removal(&self) -> Manners {
        let was = match &self.state.unit {
            Unit::Removing { was: Some(spec), .. } => self.score(spec),
            _ => None,
        };
        let next = match &self.state.goal {
            Goal::AfterRemoval { target } => self.score(&target.spec),
            _ => None,
        };
        Manners::of(was.as_ref(), next.as_ref())
    }

    async fn forget(&mut self) {
        (self.pull, self.work, self.record, self.loaded) = (None, None, None, None);
        (self.goal_timer, self.unit_timer) = (None, None);
        let (shared, name) = (&self.place.shared, &self.place.name);
        shared.unwritten.forget(&shared.host, &shared.health, name).await;
        shared.tell_volumes(name, true);
        self.place.note_room();
        shared.outbox.delete(name);
    }
}

/// The record of what to run is damaged; only the control plane has another copy.
fn lost() -> Failure {
    failure(
        "record-lost",
        "the device lost the specification of what it was to run: apply the deployment again",
        fleet_machine::deployment::Retry::Never,
    )
}
