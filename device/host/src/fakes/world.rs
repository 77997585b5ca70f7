//! What the fakes share: disk, podman, systemd, power and faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::DeploymentName;
use fleet_protocol::score::ImageRef;
use tokio::sync::Notify;

use crate::images::ImageErrorKind;
use crate::ledger::Shelf;
use crate::names::{Digest, InvocationId, UnitFileName, UnitName};
use crate::time::Kiss;
use crate::units::UnitFacts;

/// What a container does when it is started. An init container that is not told otherwise ends well at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Comes up and stays up.
    Runs,
    /// Ends at once with this status, after printing these lines.
    Exits {
        /// Its exit status.
        status: i32,
        /// What it prints.
        lines: Vec<String>,
    },
    /// Never becomes ready: a start job waits for its deadline. An init container is ended at its own.
    Hangs,
    /// A condition of the unit does not hold.
    Skipped,
}

/// What a time server does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeServer {
    /// Tells the true time.
    Honest,
    /// Tells one that is ahead of the true one by so many milliseconds, or behind.
    Lies(i64),
    /// Wants to be left alone.
    Kisses(Kiss),
    /// Does not answer.
    Silent,
}

/// What a registry answers for one image.
#[derive(Debug, Clone)]
pub(super) enum Remote {
    Holds { digest: Digest, layers: u32 },
    Fails(ImageErrorKind),
}

#[derive(Debug, Default)]
pub(super) struct State {
    // Survives a power cut.
    pub(super) files: BTreeMap<UnitFileName, String>,
    pub(super) records: BTreeMap<(Shelf, DeploymentName), Vec<u8>>,
    /// Records that were moved aside.
    pub(super) aside: BTreeSet<(Shelf, DeploymentName)>,
    pub(super) images: BTreeMap<String, Digest>,
    pub(super) volumes: BTreeSet<String>,
    // Lost with the power.
    pub(super) loaded: BTreeMap<UnitName, String>,
    /// Wanted by `default.target`, which keeps them in systemd's memory: those that a reload or the boot has seen.
    pub(super) linked: BTreeSet<UnitName>,
    pub(super) units: BTreeMap<UnitName, UnitFacts>,
    pub(super) containers: BTreeSet<String>,
    pub(super) watched: BTreeSet<UnitName>,
    pub(super) changed: BTreeSet<UnitName>,
    pub(super) monotonic: Duration,
    // Outside the device.
    pub(super) registry: BTreeMap<String, Remote>,
    pub(super) registry_down: bool,
    /// Bytes that a pull needs, where the registry tells.
    pub(super) image_sizes: BTreeMap<String, u64>,
    pub(super) pull_time: Duration,
    pub(super) behaviours: BTreeMap<DeploymentName, Behaviour>,
    /// Of init containers, by their units.
    pub(super) init_behaviours: BTreeMap<UnitName, Behaviour>,
    /// Deployments whose container ignores its stop signal.
    pub(super) deaf: BTreeSet<DeploymentName>,
    pub(super) stuck: BTreeSet<String>,
    pub(super) now: DateTime<Utc>,
    pub(super) boots: u64,
    // Records of the test.
    pub(super) logs: BTreeMap<InvocationId, Vec<String>>,
    /// Every container that was started, in order, by its unit.
    pub(super) begun: Vec<UnitName>,
    pub(super) notes: Vec<String>,
    pub(super) journal: super::journal::Store,
    pub(super) watchdog: Option<Duration>,
    pub(super) data_free_mib: u64,
    pub(super) refused: BTreeSet<DeploymentName>,
    pub(super) podman_problem: Option<String>,
    /// Survives a power cut, as records do.
    pub(super) time_floor: Option<DateTime<Utc>>,
    pub(super) time_servers: Vec<TimeServer>,
    /// What the wall clock lacks to the true time.
    pub(super) behind: TimeDelta,
    podman_asked: u64,
    runs: u64,
    writes: u64,
    writes_left: Option<u64>,
    dark: bool,
    counts: BTreeMap<&'static str, u64>,
    faults: BTreeSet<(String, u64)>,
    fired: Vec<String>,
    calls: Vec<String>,
}

/// One device and its surroundings. Clones are handles to the same one.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) news: Rc<Notify>,
    pub(super) clock_set: Rc<Notify>,
}

/// The call does not happen: the power is off, or a fault was asked for.
pub(super) struct Denied;

impl From<Denied> for io::Error {
    fn from(_: Denied) -> Self {
        Self::other("injected fault")
    }
}

impl World {
    /// A device that was just flashed, on 2026-01-01, with an empty registry in reach.
    #[must_use]
    pub fn new() -> Self {
        let world = Self::default();
        {
            let mut state = world.state.borrow_mut();
            state.now = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default();
            state.data_free_mib = 4096;
            state.boots = 1;
            state.time_servers = vec![TimeServer::Honest];
        }
        world
    }

    /// The fakes of this world.
    #[must_use]
    pub fn device(&self) -> super::Device {
        super::Device::new(self.clone())
    }

    // --- faults ---

    /// The `nth` call (from 1, counted from now) of `operation` fails and has no effect. Operations are `units.start`,
    /// `unit-files.write`, `images.pull`, `ledger.write`, …: the trait's name and the method's.
    pub fn fail_nth(&self, operation: &'static str, nth: u64) {
        let mut state = self.state.borrow_mut();
        let so_far = state.counts.get(operation).copied().unwrap_or(0);
        state.faults.insert((operation.to_owned(), so_far + nth));
    }

    /// After `writes` more durable writes the power goes: the next write does not happen, and every call
    /// fails until [`World::reboot`].
    pub fn cut_power_after(&self, writes: u64) {
        self.state.borrow_mut().writes_left = Some(writes);
    }

    /// The power goes now.
    pub fn cut_power(&self) {
        self.state.borrow_mut().dark = true;
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.state.borrow().dark
    }

    /// The power is back: what was volatile is gone, and systemd starts every unit that has a file, without
    /// any agent.
    pub fn reboot(&self) {
        let names = {
            let mut state = self.state.borrow_mut();
            state.dark = false;
            state.writes_left = None;
            state.boots += 1;
            state.monotonic = Duration::ZERO;
            state.loaded.clear();
            state.linked.clear();
            state.units.clear();
            state.containers.clear();
            state.watched.clear();
            state.changed.clear();
            state.load();
            let main = state.loaded.keys().filter(|unit| unit.init_name().is_none());
            main.cloned().collect::<Vec<_>>()
        };
        for unit in names {
            let mut state = self.state.borrow_mut();
            if state.run_inits(&unit).is_ok() {
                state.run(&unit);
            }
        }
    }

    /// Faults that happened, as `operation#n`.
    #[must_use]
    pub fn fired(&self) -> Vec<String> {
        self.state.borrow().fired.clone()
    }

    /// Durable writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state.borrow().writes
    }

    // --- what happens behind the agent's back ---

    /// The container ends by itself; systemd starts it again, and its init containers before it. Where one of those has failed, it
    /// is systemd's next try of that one.
    pub fn crash(&self, unit: &UnitName) {
        let restarts = self
            .state
            .borrow()
            .units
            .get(unit)
            .map_or(0, |facts| facts.n_restarts);
        let inits = {
            let mut state = self.state.borrow_mut();
            if state.try_inits_again(unit).is_ok() {
                state.run(unit);
                if let Some(facts) = state.units.get_mut(unit) {
                    facts.n_restarts = restarts + 1;
                }
            }
            state.inits_of(unit)
        };
        for unit in inits.iter().chain([unit]) {
            self.tell(unit);
        }
    }

    /// Somebody stops the unit by hand.
    pub fn stop_by_hand(&self, unit: &UnitName) {
        self.state.borrow_mut().halt(unit);
        self.tell(unit);
    }

    /// Somebody edits or (with `None`) removes a unit file.
    pub fn edit_by_hand(&self, file: &UnitFileName, text: Option<&str>) {
        let mut state = self.state.borrow_mut();
        match text {
            Some(text) => state.files.insert(file.clone(), text.to_owned()),
            None => state.files.remove(file),
        };
    }

    /// Somebody removes an image by hand.
    pub fn remove_image_by_hand(&self, image: &str) {
        self.state.borrow_mut().images.remove(image);
    }

    /// Overwrites the bytes of a record, as a worn-out card does.
    pub fn damage_record(&self, shelf: Shelf, deployment: &DeploymentName, bytes: &[u8]) {
        self.state
            .borrow_mut()
            .records
            .insert((shelf, deployment.clone()), bytes.to_vec());
    }

    /// A watched unit changed.
    pub(super) fn tell(&self, unit: &UnitName) {
        let mut state = self.state.borrow_mut();
        if state.watched.contains(unit) {
            state.changed.insert(unit.clone());
            self.news.notify_one();
        }
    }

    // --- what is there ---

    /// Every call so far, as `operation subject`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state.borrow().calls.clone()
    }

    /// Text of a unit file.
    #[must_use]
    pub fn file(&self, name: &UnitFileName) -> Option<String> {
        self.state.borrow().files.get(name).cloned()
    }

    /// Bytes of a record.
    #[must_use]
    pub fn record(&self, shelf: Shelf, deployment: &DeploymentName) -> Option<Vec<u8>> {
        self.state
            .borrow()
            .records
            .get(&(shelf, deployment.clone()))
            .cloned()
    }

    /// The image that the unit's running container was started from.
    #[must_use]
    pub fn running_image(&self, unit: &UnitName) -> Option<String> {
        let state = self.state.borrow();
        let up = state.units.get(unit).is_some_and(UnitFacts::is_up);
        up.then(|| image_of(state.loaded.get(unit)?)).flatten()
    }

    /// Units whose containers were started so far, in order: one entry for each start.
    #[must_use]
    pub fn begun(&self) -> Vec<String> {
        self.state
            .borrow()
            .begun
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Names of containers and volumes in podman.
    #[must_use]
    pub fn podman_holds(&self) -> BTreeSet<String> {
        let state = self.state.borrow();
        state.containers.union(&state.volumes).cloned().collect()
    }

    /// What the agent told systemd: `ready`, `status …`, `watchdog`, `stopping`.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.state.borrow().notes.clone()
    }

    // --- for the fakes ---

    /// Counts a call and says whether it happens.
    pub(super) fn call(&self, operation: &'static str, subject: &str) -> Result<(), Denied> {
        let mut state = self.state.borrow_mut();
        state
            .calls
            .push(format!("{operation} {subject}").trim_end().to_owned());
        let count = state.counts.entry(operation).or_insert(0);
        *count += 1;
        let fault = (operation.to_owned(), *count);
        if state.faults.remove(&fault) {
            state.fired.push(format!("{operation}#{}", fault.1));
            return Err(Denied);
        }
        if state.dark { Err(Denied) } else { Ok(()) }
    }

    /// Whether the disk takes records of this deployment.
    pub(super) fn takes_records(&self, deployment: &DeploymentName) -> Result<(), Denied> {
        match self.state.borrow().refused.contains(deployment) {
            true => Err(Denied),
            false => Ok(()),
        }
    }

    pub(super) fn next_podman_problem(&self) -> Option<String> {
        let mut state = self.state.borrow_mut();
        state.podman_asked += 1;
        let words = state.podman_problem.as_ref()?;
        Some(format!("{words} ({})", state.podman_asked))
    }

    pub(super) fn boot_id(&self) -> String {
        format!("00000000-0000-0000-0000-{:012}", self.state.borrow().boots)
    }

    /// A durable write is about to happen.
    pub(super) fn write(&self) -> Result<(), Denied> {
        let mut state = self.state.borrow_mut();
        match &mut state.writes_left {
            Some(0) => {
                state.dark = true;
                state.fired.push("power".to_owned());
                return Err(Denied);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        state.writes += 1;
        Ok(())
    }
}

impl State {
    /// systemd's generator: what a reload makes of the files.
    pub(super) fn load(&mut self) {
        self.loaded = self
            .files
            .iter()
            .map(|(file, text)| (file.unit(), text.clone()))
            .collect();
        self.linked = self.loaded.keys().cloned().collect();
    }

    /// Loads one unit that is not loaded, with its init containers; whether that could be done.
    pub(super) fn load_new(&mut self, unit: &UnitName) -> bool {
        if self.loaded.contains_key(unit) {
            return false;
        }
        let ours = |name: &UnitName| name.deployment() == unit.deployment();
        let files = self.files.iter().map(|(file, text)| (file.unit(), text.clone()));
        let ours: BTreeMap<UnitName, String> = files.filter(|(name, _)| ours(name)).collect();
        if !ours.contains_key(unit) {
            return false;
        }
        self.loaded.extend(ours);
        true
    }

    /// Drops one unit that is down and that nothing links to, with its init containers; whether it is gone.
    pub(super) fn unload(&mut self, unit: &UnitName) -> bool {
        let up = self.units.get(unit).is_some_and(|facts| !facts.is_down());
        if up || self.linked.contains(unit) {
            return false;
        }
        self.loaded
            .retain(|name, _| name.deployment() != unit.deployment());
        true
    }

    pub(super) fn next_run(&mut self) -> InvocationId {
        self.runs += 1;
        InvocationId::parse(&format!("{:032x}", self.runs)).expect("32 hex digits")
    }

    /// Whether the image of a loaded unit is there.
    pub(super) fn has_image(&self, unit: &UnitName) -> bool {
        let Some(image) = self.loaded.get(unit).and_then(|text| image_of(text)) else {
            return false;
        };
        if self.images.contains_key(&image) {
            return true;
        }
        let pinned = image
            .split_once('@')
            .and_then(|(name, digest)| Some((name, Digest::parse(digest).ok()?)));
        pinned.is_some_and(|(name, digest)| {
            self.images.iter().any(|(image, found)| {
                *found == digest && image.parse::<ImageRef>().is_ok_and(|image| image.name() == name)
            })
        })
    }
}

/// The image in a unit file's text.
fn image_of(text: &str) -> Option<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("Image="))
        .map(str::to_owned)
}
