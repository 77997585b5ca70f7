//! The main loop: news from the session and from systemd go to the task of their deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fleet_host::{Host, Ledger, Reading, Shelf, Supervisor, UnitFileName, UnitFiles, UnitName, Units};
use fleet_machine::deployment::{Kept, Stage, State};
use fleet_protocol::DeploymentName;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::deployment::record::{Record, Seen, Value, fingerprint, judge};
use crate::deployment::task::{Input, Task};
use crate::health::RECORD_DAMAGED;
use crate::images;
use crate::orphans;
use crate::random;
use crate::shared::Shared;
use crate::words::chain;

/// What a session learns about desired state.
#[derive(Debug)]
pub(crate) enum News {
    /// A key holds this.
    Value {
        /// Whose key.
        name: DeploymentName,
        /// Where and when.
        seen: Seen,
        /// Its bytes.
        bytes: bytes::Bytes,
    },
    /// A key was deleted or purged.
    Deleted {
        /// Whose key.
        name: DeploymentName,
        /// Where and when.
        seen: Seen,
    },
    /// All keys of this device in this store were told.
    Complete {
        /// Creation time of the store.
        store: String,
        /// Its last sequence when the snapshot began.
        last: u64,
        /// Which keys it has, marked as deleted or not.
        names: BTreeSet<DeploymentName>,
    },
}

struct Handle {
    inbox: UnboundedSender<Input>,
    seen: Option<Seen>,
    /// Fingerprint of the value seen there, once this process saw it.
    value: Option<[u8; 32]>,
    /// The record of what was asked for is lost, and nothing was asked for since.
    lost: bool,
}

/// The main loop's own state.
pub(crate) struct Dispatcher<H> {
    shared: Rc<Shared<H>>,
    news: UnboundedReceiver<News>,
    handles: BTreeMap<DeploymentName, Handle>,
    tasks: JoinSet<DeploymentName>,
    /// Deployments of which there are traces and no records: what they want to keep is not known.
    traces: BTreeSet<DeploymentName>,
    /// All keys of this device were told.
    complete: bool,
}

impl<H: Host + 'static> Dispatcher<H> {
    pub(crate) fn new(shared: &Rc<Shared<H>>, news: UnboundedReceiver<News>) -> Self {
        Self {
            shared: Rc::clone(shared),
            news,
            handles: BTreeMap::new(),
            tasks: JoinSet::new(),
            traces: BTreeSet::new(),
            complete: false,
        }
    }

    /// Starts a task for each deployment on record. No network is needed for it.
    pub(crate) async fn load(&mut self) {
        self.shared.images.load(&self.shared.host).await;
        for name in self.names_on_record().await {
            let record: Option<Record> = self.read(Shelf::Desired, &name).await;
            let state: Option<State> = self.read(Shelf::Progress, &name).await;
            if record.is_some() || state.is_some() {
                self.spawn(&name, record, state.unwrap_or_default());
            }
        }
        self.look_for_traces().await;
        self.look_for_orphans().await;
    }

    /// Notes the deployments whose records were moved aside, by this agent or an earlier one, and that have none now.
    async fn look_for_traces(&mut self) {
        match self.shared.host.ledger().damaged().await {
            Ok(names) => {
                let lost = |name: &DeploymentName| self.handles.get(name).is_none_or(|handle| handle.lost);
                for name in names.into_iter().filter(lost) {
                    self.unreadable(
                        name.as_str(),
                        &format!("the record of what {name} is to run was damaged and is lost"),
                    );
                    self.traces.insert(name);
                }
            }
            Err(error) => self.unreadable("", &chain(&error)),
        }
    }

    /// Tells of unit files that no deployment stands for. They stay: the agent removes only what it was told to, and
    /// one whose record was lost is adopted when its key is seen.
    async fn look_for_orphans(&mut self) {
        match self.shared.host.unit_files().list().await {
            Ok(files) => {
                let asked_for = |file: &UnitFileName| {
                    let handle = self.handles.get(&file.deployment());
                    handle.is_some_and(|handle| !(handle.lost && self.complete))
                };
                let orphans: Vec<UnitFileName> = files.into_iter().filter(|file| !asked_for(file)).collect();
                self.traces.extend(orphans.iter().map(UnitFileName::deployment));
                orphans::tell(&self.shared.health, orphans.into_iter());
            }
            Err(error) => tracing::debug!("no look for orphans: {}", chain(&error)),
        }
    }

    async fn names_on_record(&self) -> BTreeSet<DeploymentName> {
        let mut names = BTreeSet::new();
        for shelf in Shelf::ALL {
            match self.shared.host.ledger().list(shelf).await {
                Ok(found) => names.extend(found),
                Err(error) => self.unreadable(shelf.folder(), &chain(&error)),
            }
        }
        names.remove(&images::record_name());
        names
    }

    async fn read<T: DeserializeOwned>(&self, shelf: Shelf, name: &DeploymentName) -> Option<T> {
        match self.shared.host.ledger().read(shelf, name).await {
            Ok(Reading::Corrupt { moved_to, problem }) => {
                let path = moved_to.display();
                let words = format!("a record of {name} is damaged and now at {path}: {problem}");
                self.unreadable(name.as_str(), &words);
                None
            }
            Ok(reading) => reading.found(),
            Err(error) => {
                self.unreadable(name.as_str(), &chain(&error));
                None
            }
        }
    }

    fn unreadable(&self, subject: &str, problem: &str) {
        self.shared.health.wrong_for(&RECORD_DAMAGED, subject, problem);
    }

    fn spawn(&mut self, name: &DeploymentName, record: Option<Record>, state: State) {
        let (inbox, receiver) = unbounded_channel();
        let seen = record.as_ref().map(|record| record.seen.clone());
        // A removal that was cut has no record of what to run, as it ought to be.
        let lost = record.is_none() && !matches!(state.stage(), Stage::Absent | Stage::Removing);
        match Task::new(&self.shared, name, receiver, record, state) {
            Ok(task) => {
                self.shared.outbox.expect(name);
                self.tasks.spawn_local(task.run());
                self.handles.insert(
                    name.clone(),
                    Handle {
                        inbox,
                        seen,
                        value: None,
                        lost,
                    },
                );
            }
            Err(error) => self.unreadable(name.as_str(), &error.to_string()),
        }
    }

    /// Runs for ever; ends by being dropped.
    pub(crate) async fn run(&mut self) {
        let watchdog = self
            .shared
            .host
            .supervisor()
            .watchdog_interval()
            .map(|interval| interval / 2);
        let mut next_sign = watchdog.map(|_| Instant::now());
        let mut next_look = self.next_look();
        loop {
            // Every arm is cancel-safe: channels, a join set, timers, and `changed` by its contract.
            tokio::select! {
                Some(news) = self.news.recv() => {
                    let complete = matches!(news, News::Complete { .. });
                    self.told(news);
                    if complete {
                        self.look_for_orphans().await;
                    }
                }
                units = self.shared.host.units().changed() => self.look(&units),
                Some(over) = self.tasks.join_next() => self.over(over),
                () = sleep_until(next_look) => {
                    next_look = self.next_look();
                    self.look_at_all();
                    self.look_for_orphans().await;
                    self.write_rest().await;
                }
                () = until(next_sign) => {
                    self.sign_of_life();
                    next_sign = watchdog.map(|half| Instant::now() + half);
                }
            }
        }
    }

    fn next_look(&self) -> Instant {
        let each = self.shared.settings.tuning.drift_check;
        Instant::now() + each / 2 + random::up_to(each / 2)
    }

    /// Proves that this loop still turns; it is what the watchdog watches.
    fn sign_of_life(&self) {
        if let Err(error) = self.shared.host.supervisor().watchdog() {
            tracing::warn!("systemd was not told that the agent lives: {error}");
        }
    }

    fn over(&mut self, over: Result<DeploymentName, tokio::task::JoinError>) {
        match over {
            // A new task may have taken the name over already.
            Ok(name)
                if self
                    .handles
                    .get(&name)
                    .is_some_and(|handle| handle.inbox.is_closed()) =>
            {
                self.handles.remove(&name);
                self.traces.remove(&name);
                self.shared.health.right_for(&RECORD_DAMAGED, name.as_str());
            }
            Ok(_) => {}
            Err(error) => tracing::error!("a deployment's task ended by itself: {error}"),
        }
    }

    /// Writes what the disk refused before: each task its own, this one what has no task any more.
    async fn write_rest(&self) {
        let shared = &self.shared;
        shared.images.save_rest(&shared.host).await;
        for name in shared.unwritten.deployments() {
            if !self.handles.contains_key(&name) {
                shared.unwritten.forget(&shared.host, &shared.health, &name).await;
            }
        }
    }

    fn look(&self, units: &BTreeSet<UnitName>) {
        for unit in units {
            if let Some(handle) = self.handles.get(&unit.deployment()) {
                let _ = handle.inbox.send(Input::Look);
            }
        }
    }

    fn look_at_all(&self) {
        for handle in self.handles.values() {
            let _ = handle.inbox.send(Input::Look);
        }
    }

    fn told(&mut self, news: News) {
        match news {
            News::Value { name, seen, bytes } => self.value(&name, seen, &bytes),
            News::Deleted { name, seen } => self.told_deleted(&name, &seen),
            News::Complete { store, last, names } => self.complete(&store, last, &names),
        }
    }

    fn value(&mut self, name: &DeploymentName, seen: Seen, bytes: &[u8]) {
        let print = fingerprint(bytes);
        if self
            .handles
            .get(name)
            .is_some_and(|h| !h.inbox.is_closed() && h.seen.as_ref() == Some(&seen) && h.value == Some(print))
        {
            return;
        }
        let value = judge(name, bytes);
        if let Err(error) = UnitName::of(name) {
            return self.unreadable_key(name, &error.to_string(), &value);
        }
        if self
            .handles
            .get(name)
            .is_none_or(|handle| handle.inbox.is_closed())
        {
            let kept = match self.traces.remove(name) {
                true => Kept::Unknown,
                false => Kept::default(),
            };
            let state = State {
                kept,
                ..State::default()
            };
            self.spawn(name, None, state);
            self.shared.health.right_for(&RECORD_DAMAGED, name.as_str());
        }
        if let Some(handle) = self.handles.get_mut(name) {
            if std::mem::take(&mut handle.lost) {
                self.shared.health.right_for(&RECORD_DAMAGED, name.as_str());
            }
            handle.seen = Some(seen.clone());
            handle.value = Some(print);
            let _ = handle.inbox.send(Input::Desired(seen, value));
        }
    }

    /// A name that no unit can have: nothing is ever done for it but to say so.
    fn unreadable_key(&self, name: &DeploymentName, problem: &str, value: &Value) {
        let generation = match value {
            Value::Usable { generation, .. } => Some(*generation),
            Value::Rejected { generation, .. } => *generation,
        };
        tracing::warn!("{name} is refused: {problem}");
        let event = fleet_machine::deployment::Event {
            at: self.shared.at(),
            jitter: 0,
            fact: fleet_machine::deployment::Fact::Rejected {
                generation,
                failure: fleet_machine::deployment::Failure::new(
                    "name-reserved",
                    problem,
                    fleet_machine::deployment::Retry::Never,
                ),
            },
        };
        if let Ok((state, _)) = fleet_machine::deployment::step(&State::default(), event)
            && let Some(report) = crate::deployment::report::report(&state)
        {
            self.shared.outbox.state(name, report);
        }
    }

    /// A store that was brought back from a backup tells deletions that were overtaken long ago.
    fn told_deleted(&mut self, name: &DeploymentName, at: &Seen) {
        let handle = self.handles.get(name).filter(|handle| !handle.inbox.is_closed());
        let seen = handle.and_then(|handle| handle.seen.as_ref());
        if seen.is_some_and(|seen| seen.overtakes(at)) {
            tracing::warn!("{name} is kept: its deletion is older than what was asked for since");
            return;
        }
        self.deleted(name);
    }

    fn deleted(&mut self, name: &DeploymentName) {
        match self
            .handles
            .get_mut(name)
            .filter(|handle| !handle.inbox.is_closed())
        {
            Some(handle) => {
                (handle.seen, handle.lost) = (None, false);
                let _ = handle.inbox.send(Input::Deleted);
            }
            None => self.shared.outbox.delete(name),
        }
    }

    /// Absence deletes only what was seen in this very store.
    fn complete(&mut self, store: &str, last: u64, names: &BTreeSet<DeploymentName>) {
        let missing: Vec<DeploymentName> = self
            .handles
            .iter()
            .filter(|(name, _)| !names.contains(*name))
            .filter_map(|(name, handle)| {
                let seen = handle.seen.as_ref()?;
                if seen.store == store && seen.sequence <= last {
                    return Some(name.clone());
                }
                tracing::warn!("{name} is kept: the store that asked for it is not this one");
                None
            })
            .collect();
        for name in missing {
            tracing::info!("{name} is gone from the store that asked for it");
            self.deleted(&name);
        }
        self.complete = true;
        self.shared.outbox.all_known();
    }

    /// Lets every task come to its first await, so that each has begun.
    pub(crate) async fn begin(&self) {
        tokio::time::sleep(Duration::ZERO).await;
        tokio::task::yield_now().await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
