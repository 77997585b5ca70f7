//! The task of one deployment: takes facts in, records, and runs what the machine asks for.
//!
//! Each `select!` arm is cancel-safe: channels and timers lose nothing when they are not chosen, and the two
//! slots keep their futures. Dropping the task drops pull and work where they stand; both are idempotent.
//!
//! `act` turns effects into work on the host, `tell` turns the state into words for others.

mod act;
mod tell;

use std::rc::Rc;

use fleet_host::{Host, Ledger, NameError, Shelf, UnitName};
use fleet_machine::deployment::{Digests, Event, Fact, Goal, Kept, Stage, State, Target, Timer, Unit, step};
use fleet_protocol::{DeploymentName, PodmanV0Score};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::effects::Place;
use super::record::{Latest, Record, Seen, Value};
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
    /// A look beside a start: whether the run that it replaces is down yet, which init container runs.
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
            let inits = self.inits_on_record();
            self.place.watch(&inits, true).await;
            self.take(Fact::Resumed).await;
        }
        let Some(record) = &self.record else { return };
        let fact = match &record.latest {
            Latest::Usable { generation, spec } => {
                let current = self.state.generation == *generation && self.pursues(spec);
                (!current).then(|| self.target(*generation, spec))
            }
            Latest::Rejected { generation, failure } => {
                let told = matches!(&self.state.goal, Goal::Rejected { failure: told } if told == failure);
                let current = told && generation.is_none_or(|generation| generation == self.state.generation);
                (!current).then(|| Fact::Rejected {
                    generation: *generation,
                    failure: failure.clone(),
                })
            }
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
        let score = self.score(spec);
        let images = &self.place.shared.images;
        let image = score.as_ref().map(|score| score.image.to_string());
        let others = score
            .iter()
            .flat_map(PodmanV0Score::images)
            .map(ToString::to_string);
        let others = others.filter(|other| Some(other) != image.as_ref());
        // One that is missing is one that has to be pulled: then all are looked through again.
        let others: Option<Digests> = others
            .map(|image| Some((image.clone(), images.digest(&image)?)))
            .collect();
        // Before something that runs is stopped, podman is asked.
        let at_hand = image.as_ref().filter(|_| self.state.running.is_none());
        let at_hand = at_hand.and_then(|image| images.digest(image));
        let (at_hand, others) = match at_hand.zip(others) {
            Some((digest, others)) => (Some(digest), others),
            None => (None, Digests::new()),
        };
        Fact::Desired(Target {
            generation,
            spec: spec.to_owned(),
            image: image.unwrap_or_default(),
            at_hand,
            others,
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
        if let (Fact::Installed { .. }, Some(of)) = (&fact, self.state.unit.installed()) {
            self.loaded = Some(of.spec.clone());
        }
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
        if !matches!(self.state.unit, Unit::Starting { .. } | Unit::StopIgnored { .. }) {
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
}
