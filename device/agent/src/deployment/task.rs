//! The task of one deployment: takes facts in, records, and runs what the machine asks for.
//!
//! Each `select!` arm is cancel-safe: channels and timers lose nothing when they are not chosen, and the two
//! slots keep their futures. Dropping the task drops pull and work where they stand; both are idempotent.

use std::rc::Rc;

use fleet_host::{Host, Ledger, NameError, Shelf, UnitName};
use fleet_machine::deployment::{
    Effect, Event, Fact, Failure, Goal, Installed, Kept, Stage, Start, State, Target, Timer, Unit, step,
};
use fleet_protocol::event::FleetEvent;
use fleet_protocol::{DeploymentName, PROTOCOL_VERSION, PodmanV0Score, wire};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::effects::Place;
use super::failures::failure;
use super::record::{Latest, Record, Seen, Value};
use super::report::{self, report};
use super::slots::{Work, alarm, slot};
use crate::fault::begun;
use crate::random;
use crate::shared::Shared;

/// What a deployment's task is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A value of its key.
    Desired(Seen, Value),
    /// Its key was deleted, or is provably missing.
    Deleted,
    /// Its unit may have changed.
    Look,
}

/// The task of one deployment.
pub(crate) struct Task<H> {
    place: Place<H>,
    record: Option<Record>,
    state: State,
    inbox: UnboundedReceiver<Input>,
    news: (UnboundedSender<Fact>, UnboundedReceiver<Fact>),
    pull: Option<Work>,
    work: Option<Work>,
    /// A look beside a start that replaces a run: whether that run is down yet.
    glance: Option<Work>,
    goal_timer: Option<Instant>,
    unit_timer: Option<Instant>,
    /// Hash of the specification whose files this process had systemd load.
    loaded: Option<String>,
    look_again: bool,
    glance_due: bool,
    /// What could not be written is written with the next step.
    unsaved: Unsaved,
}

/// Which files do not hold what they ought to, since the disk refused.
#[derive(Default)]
struct Unsaved {
    record: bool,
    state: bool,
}

/// What a wake-up of the task brought.
enum Wake {
    Input(Option<Input>),
    Fact(Option<Fact>),
}

impl<H: Host + 'static> Task<H> {
    pub(crate) fn new(
        shared: &Rc<Shared<H>>,
        name: &DeploymentName,
        inbox: UnboundedReceiver<Input>,
        record: Option<Record>,
        state: State,
    ) -> Result<Self, NameError> {
        Ok(Self {
            place: Place {
                shared: Rc::clone(shared),
                name: name.clone(),
                unit: UnitName::of(name)?,
                at_rest: Rc::default(),
            },
            record,
            state,
            inbox,
            news: unbounded_channel(),
            pull: None,
            work: None,
            glance: None,
            glance_due: false,
            goal_timer: None,
            unit_timer: None,
            loaded: None,
            look_again: false,
            unsaved: Unsaved::default(),
        })
    }

    /// Runs until the deployment is gone, or its sender is dropped.
    pub(crate) async fn run(mut self) -> DeploymentName {
        self.resume().await;
        while !self.is_over() {
            match self.wake().await {
                Wake::Input(None) => break,
                Wake::Input(Some(input)) => self.input(input).await,
                Wake::Fact(Some(fact)) => self.take(fact).await,
                Wake::Fact(None) => {}
            }
            self.look_if_due();
        }
        self.place.name
    }

    fn is_over(&self) -> bool {
        self.record.is_none() && self.inbox.is_empty() && self.state.stage() == Stage::Absent
    }

    async fn wake(&mut self) -> Wake {
        let (goal, unit) = (self.goal_timer, self.unit_timer);
        tokio::select! {
            biased;
            Some(fact) = self.news.1.recv() => Wake::Fact(Some(fact)),
            fact = slot(&mut self.pull) => Wake::Fact(fact),
            fact = slot(&mut self.work) => Wake::Fact(fact),
            fact = slot(&mut self.glance) => Wake::Fact(fact),
            input = self.inbox.recv() => Wake::Input(input),
            () = alarm(goal) => {
                self.goal_timer = None;
                Wake::Fact(Some(Fact::RetryDue(Timer::Goal)))
            }
            () = alarm(unit) => {
                self.unit_timer = None;
                Wake::Fact(Some(Fact::RetryDue(Timer::Unit)))
            }
        }
    }

    /// Takes up what the last agent left, then what it had no time for.
    async fn resume(&mut self) {
        self.note_images();
        self.note_kept();
        if self.state.stage() != Stage::Absent {
            let unit = self.place.unit.clone();
            self.place.shared.watch(&unit, true).await;
            self.take(Fact::Resumed).await;
        }
        let Some(record) = &self.record else { return };
        let fact = match &record.latest {
            Latest::Usable { generation, spec } => {
                let current = self.state.generation == *generation && self.pursues(spec);
                (!current).then(|| self.target(*generation, spec))
            }
            Latest::Rejected { .. } if matches!(self.state.goal, Goal::Rejected { .. }) => None,
            Latest::Rejected { generation, failure } => Some(Fact::Rejected {
                generation: *generation,
                failure: failure.clone(),
            }),
        };
        let leaving = matches!(self.state.unit, Unit::Removing { .. });
        match fact {
            Some(fact) if !leaving => self.take(fact).await,
            _ => self.publish(),
        }
    }

    /// Notes in the state what the record says of volumes, before the record can go: the removal needs it last.
    /// A state that never noted it and has no record any more does not know it.
    fn note_kept(&mut self) {
        let changed = match (&self.record, &self.state.kept) {
            (Some(record), _) => self.state.kept.grow(&record.kept_volumes()),
            (None, Kept::Unrecorded) if self.state.stage() != Stage::Absent => {
                self.state.kept = Kept::Unknown;
                true
            }
            (None, _) => false,
        };
        self.unsaved.state |= changed;
        let known = self.state.kept != Kept::Unknown;
        self.place.shared.tell_volumes(&self.place.name, known);
    }

    fn pursues(&self, spec: &str) -> bool {
        match &self.state.goal {
            Goal::Fetching { target, .. }
            | Goal::FetchFailed { target, .. }
            | Goal::AfterRemoval { target } => target.spec == spec,
            Goal::Met => self.state.unit.installed().is_some_and(|of| of.spec == spec),
            Goal::Nothing | Goal::Rejected { .. } => false,
        }
    }

    fn target(&self, generation: u64, spec: &str) -> Fact {
        let image = match self.score(spec) {
            Some(score) => score.image.to_string(),
            None => String::new(),
        };
        Fact::Desired(Target {
            generation,
            spec: spec.to_owned(),
            at_hand: self.place.shared.images.digest(&image),
            image,
        })
    }

    fn score(&self, spec: &str) -> Option<PodmanV0Score> {
        self.record.as_ref()?.scores.get(spec).cloned()
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Look => {
                self.look_again = true;
                self.glance_due = true;
                self.save_rest().await;
            }
            Input::Deleted => self.take(Fact::Gone).await,
            Input::Desired(seen, value) => self.desired(seen, value).await,
        }
    }

    /// The value goes to disk before anything is done about it, so that a power cut loses nothing.
    async fn desired(&mut self, seen: Seen, value: Value) {
        if self
            .record
            .as_ref()
            .is_some_and(|record| record.is_of(&seen, &value))
            && !matches!(self.state.unit, Unit::Removing { .. })
        {
            return;
        }
        let mut record = match self.record.take() {
            None => Record::new(seen, value),
            Some(mut record) => {
                record.take(seen, value);
                record
            }
        };
        record.tidy(&self.state);
        let latest = record.latest.clone();
        self.record = Some(record);
        self.note_kept();
        self.write_record().await;
        let fact = match latest {
            Latest::Usable { generation, spec } => self.target(generation, &spec),
            Latest::Rejected { generation, failure } => Fact::Rejected { generation, failure },
        };
        self.take(fact).await;
    }

    async fn write_record(&mut self) {
        self.unsaved.record = false;
        let Some(record) = &self.record else { return };
        let (ledger, name) = (self.place.shared.host.ledger(), &self.place.name);
        let written = ledger.write(Shelf::Desired, name, record).await;
        self.unsaved.record = !self.place.shared.judge_record(Shelf::Desired, name, written);
    }

    /// Writes what the disk refused before.
    async fn save_rest(&mut self) {
        if self.unsaved.record {
            self.write_record().await;
        }
        if self.unsaved.state {
            self.write_state().await;
        }
    }

    /// One step: report, record, then act.
    async fn take(&mut self, fact: Fact) {
        let event = Event {
            at: self.place.shared.at(),
            jitter: random::jitter(),
            fact,
        };
        let (next, effects) = match step(&self.state, event) {
            Ok(done) => done,
            Err(illegal) => return tracing::debug!("{}: {illegal}", self.place.name),
        };
        let before = std::mem::replace(&mut self.state, next);
        if self.replaced().is_none() {
            // What it would say is of a start that is over.
            self.glance = None;
        }
        self.announce(&before);
        if before != self.state {
            self.publish();
        }
        if self.unsaved.record {
            self.write_record().await;
        }
        if before != self.state || self.unsaved.state {
            self.write_state().await;
        }
        let stage = self.state.stage();
        self.place.shared.faults.pass(stage.as_str()).await;
        for effect in effects {
            self.begin(effect).await;
        }
        self.note_images();
        self.place.shared.faults.pass(&begun(stage)).await;
    }

    async fn write_state(&mut self) {
        self.unsaved.state = false;
        if self.state.stage() == Stage::Absent {
            return;
        }
        let (ledger, name) = (self.place.shared.host.ledger(), &self.place.name);
        let written = ledger.write(Shelf::Progress, name, &self.state).await;
        self.unsaved.state = !self.place.shared.judge_record(Shelf::Progress, name, written);
        if let Some(record) = &mut self.record
            && self.state.stage() == Stage::Running
            && record.tidy(&self.state)
        {
            self.write_record().await;
        }
    }

    fn publish(&self) {
        if let Some(report) = report(&self.state) {
            self.place.shared.outbox.state(&self.place.name, report);
        }
    }

    /// Tells log and history about a new phase.
    fn announce(&self, before: &State) {
        let (old, new) = (before.stage(), self.state.stage());
        if old == new {
            return;
        }
        let name = &self.place.name;
        let why = self
            .state
            .failure()
            .map(|f| format!(" ({}: {})", f.kind, f.detail))
            .unwrap_or_default();
        tracing::info!(
            "{name}: {old} -> {new}, generation {}{why}",
            self.state.generation
        );
        if report::phase(old) == report::phase(new) {
            return;
        }
        let device = &self.place.shared.settings.identity.enrolment.device_id;
        let word = report::phase(new).map_or("removed".to_owned(), |phase| phase.to_string());
        let event = FleetEvent {
            protocol: PROTOCOL_VERSION,
            at: report::time(self.place.shared.at()),
            actor: format!("device/{device}"),
            kind: "phase-changed".to_owned(),
            subject: format!("device/{device}/deployment/{name}"),
            detail: fleet_protocol::cause::shorten(
                format!("{word}, generation {}{why}", self.state.generation),
                fleet_protocol::cause::MAX_DETAIL,
            ),
        };
        self.place.shared.outbox.event(wire::encode(&event));
    }

    fn note_images(&self) {
        let mut images: Vec<String> = Vec::new();
        images.extend(self.state.unit.installed().map(|of| of.image.clone()));
        if let Goal::Fetching { target, .. }
        | Goal::FetchFailed { target, .. }
        | Goal::AfterRemoval { target } = &self.state.goal
        {
            images.push(target.image.clone());
        }
        self.place.shared.images.uses(&self.place.name, images);
    }

    async fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Pull(target) => {
                self.goal_timer = None;
                self.drop_news();
                let pull = self.place.clone().pull(target, self.news.0.clone());
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
        let loaded = self
            .loaded
            .replace(of.spec.clone())
            .is_some_and(|spec| spec == of.spec);
        self.work = Some(match self.score(&of.spec) {
            Some(score) => Box::pin(async move { Some(place.install(of, score, loaded).await) }),
            None => Box::pin(async { Some(Fact::InstallFailed(lost())) }),
        });
    }

    fn start(&mut self, Start { of, replaces }: Start) {
        let place = self.place.clone();
        self.work = Some(match self.score(&of.spec) {
            Some(score) => Box::pin(async move { Some(place.start(of, score, replaces).await) }),
            None => Box::pin(async {
                Some(Fact::StartFailed {
                    failure: lost(),
                    image_missing: false,
                })
            }),
        });
    }

    fn look(&mut self, of: Installed) {
        let was_up = matches!(self.state.unit, Unit::Up { .. } | Unit::Finished { .. });
        if let Some(score) = self.score(&of.spec) {
            self.work = Some(Box::pin(self.place.clone().look(of, score, was_up)));
        }
    }

    /// The run that the start under way replaces and that was not yet seen to be down.
    fn replaced(&self) -> Option<&str> {
        match (&self.state.unit, &self.state.running) {
            (Unit::Starting { .. }, Some(old)) => Some(&old.run.invocation),
            _ => None,
        }
    }

    fn glance_if_due(&mut self) {
        if !self.glance_due || self.glance.is_some() {
            return;
        }
        self.glance_due = false;
        if let Some(old) = self.replaced() {
            let (place, old) = (self.place.clone(), old.to_owned());
            self.glance = Some(Box::pin(place.glance(old)));
        }
    }

    /// Looks at the unit once nothing else is being done to it: work that is under way sees for itself.
    fn look_if_due(&mut self) {
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
        self.loaded = None;
        self.unit_timer = None;
        self.work = Some(Box::pin(async move { Some(place.remove(keep).await) }));
    }

    async fn forget(&mut self) {
        (self.pull, self.work, self.record, self.loaded) = (None, None, None, None);
        (self.goal_timer, self.unit_timer) = (None, None);
        let (shared, name) = (&self.place.shared, &self.place.name);
        shared.unwritten.forget(&shared.host, &shared.health, name).await;
        shared.tell_volumes(name, true);
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
