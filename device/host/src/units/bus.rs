//! The session bus: one connection, made when needed and again when it was lost, and the task that reads it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath};

use super::UnitsError;
use crate::names::UnitName;

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Longest wait for the bus to take us.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for an answer that is not a job: `Reload` runs every generator first.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Most results of jobs that are kept while somebody waits for one.
const MAX_RESULTS: usize = 256;

/// What the reading task and the callers share. The lock is held for a few instructions, never across an await.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// A watched unit may have changed, or the bus was lost.
    pub(super) news: Notify,
    /// A job ended.
    pub(super) jobs: Notify,
    /// A unit that a start looks at may have changed, or the bus was lost.
    pub(super) inits: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By the unit's object path.
    watched: BTreeMap<String, UnitName>,
    /// Units of init containers that starts look at, by object path: how many starts.
    looked_at: BTreeMap<String, usize>,
    changed: BTreeSet<UnitName>,
    waiting: usize,
    /// Results of jobs by their object path, in the order of the paths.
    results: BTreeMap<String, String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the watched units. A link learns of it by [`Link::follow`].
    pub(super) fn watch(&self, units: BTreeSet<UnitName>) {
        let mut state = self.state();
        state.changed.retain(|unit| units.contains(unit));
        state.watched = units
            .into_iter()
            .map(|unit| (unit_path(unit.as_str()), unit))
            .collect();
    }

    fn watched_paths(&self) -> BTreeSet<String> {
        let state = self.state();
        state
            .watched
            .keys()
            .chain(state.looked_at.keys())
            .cloned()
            .collect()
    }

    pub(super) fn take_changed(&self) -> BTreeSet<UnitName> {
        std::mem::take(&mut self.state().changed)
    }

    /// Signals may have been missed: every watched unit may have changed.
    pub(super) fn all_may_have_changed(&self) {
        let mut state = self.state();
        let all: Vec<UnitName> = state.watched.values().cloned().collect();
        state.changed.extend(all);
        drop(state);
        self.news.notify_waiters();
        self.inits.notify_waiters();
    }

    fn changed(&self, path: &str) {
        let mut state = self.state();
        if state.looked_at.contains_key(path) {
            self.inits.notify_waiters();
        }
        let Some(unit) = state.watched.get(path).cloned() else {
            return;
        };
        state.changed.insert(unit);
        drop(state);
        self.news.notify_waiters();
    }

    fn job_removed(&self, job: String, result: String) {
        let mut state = self.state();
        if state.waiting == 0 {
            return;
        }
        if state.results.len() >= MAX_RESULTS {
            // Whoever waits for it finds out by its poll.
            state.results.pop_first();
        }
        state.results.insert(job, result);
        drop(state);
        self.jobs.notify_waiters();
    }

    pub(super) fn result(&self, job: &str) -> Option<String> {
        self.state().results.get(job).cloned()
    }
}

/// As long as it lives, results of jobs are kept. Made before the job, since its result can come before its name.
pub(super) struct Waiting(Arc<Shared>);

impl Waiting {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.state().waiting += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.results.clear();
        }
    }
}

/// As long as it lives, these units are heard of, beside those that are watched. A link learns of it by [`Link::follow`]; what it
/// hears afterwards until its next call goes unheeded.
pub(super) struct Looking {
    shared: Arc<Shared>,
    paths: Vec<String>,
}

impl Looking {
    pub(super) fn new(shared: &Arc<Shared>, units: &[UnitName]) -> Self {
        let paths: Vec<String> = units.iter().map(|unit| unit_path(unit.as_str())).collect();
        let mut state = shared.state();
        for path in &paths {
            *state.looked_at.entry(path.clone()).or_default() += 1;
        }
        drop(state);
        Self {
            shared: Arc::clone(shared),
            paths,
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        for path in &self.paths {
            if let Some(count) = state.looked_at.get_mut(path) {
                *count -= 1;
                if *count == 0 {
                    state.looked_at.remove(path);
                }
            }
        }
    }
}

/// A connection and the task that reads its signals; the task ends with it.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    reader: JoinHandle<()>,
    /// Object paths of the units that this connection hears of. Never borrowed across an await.
    heard: RefCell<BTreeSet<String>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Link {
    /// Connects, subscribes to systemd's signals and asks for those of the watched units.
    pub(super) async fn connect(address: &str, shared: &Arc<Shared>) -> Result<Self, UnitsError> {
        let no_bus = |source: Box<dyn std::error::Error + Send + Sync>| UnitsError::NoBus {
            address: address.to_owned(),
            source,
        };
        let connecting = zbus::connection::Builder::address(address).build();
        let connection = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(no_bus(error.into())),
            Err(elapsed) => return Err(no_bus(elapsed.into())),
        };
        let reader = tokio::spawn(read(MessageStream::from(&connection), Arc::clone(shared)));
        let link = Self {
            connection,
            reader,
            heard: RefCell::default(),
        };
        link.add_match(&format!(
            "type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}',member='JobRemoved'"
        ))
        .await?;
        link.manager("Subscribe", &()).await?;
        // The last await before it is live: what is watched meanwhile is seen by it.
        link.follow(shared).await?;
        Ok(link)
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.connection.is_closed() && !self.reader.is_finished()
    }

    /// Calls a method of systemd's manager.
    pub(super) async fn manager<B>(&self, method: &'static str, body: &B) -> Result<Message, UnitsError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call(SYSTEMD, MANAGER_PATH, MANAGER, method, body).await
    }

    pub(super) async fn call<B>(
        &self,
        to: &'static str,
        path: &str,
        interface: &'static str,
        method: &'static str,
        body: &B,
    ) -> Result<Message, UnitsError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let call = self
            .connection
            .call_method(Some(to), path, Some(interface), method, body);
        match tokio::time::timeout(ANSWER_WITHIN, call).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(refused(method, &error)),
            Err(_) => Err(UnitsError::NoAnswer {
                operation: method,
                within: ANSWER_WITHIN,
            }),
        }
    }

    async fn add_match(&self, rule: &str) -> Result<(), UnitsError> {
        self.bus("AddMatch", rule).await
    }

    async fn bus(&self, method: &'static str, rule: &str) -> Result<(), UnitsError> {
        const BUS: &str = "org.freedesktop.DBus";
        self.call(BUS, "/org/freedesktop/DBus", BUS, method, &rule)
            .await
            .map(|_| ())
    }

    /// Hears of the units that are watched, and of no others. Looks again after each answer, since others may have
    /// changed what is watched; a rule that was refused is asked for by the next call. The bus counts equal rules, so
    /// that two callers at once do no harm.
    pub(super) async fn follow(&self, shared: &Shared) -> Result<(), UnitsError> {
        while let Some((path, wanted)) = self.next_rule(&shared.watched_paths()) {
            if wanted {
                self.add_match(&unit_rule(&path)).await?;
                self.heard.borrow_mut().insert(path);
            } else {
                // Before the answer: a rule too many is silent, since its unit is not watched.
                self.heard.borrow_mut().remove(&path);
                self.bus("RemoveMatch", &unit_rule(&path)).await?;
            }
        }
        Ok(())
    }

    /// A rule that is missing (`true`) or too many (`false`).
    fn next_rule(&self, watched: &BTreeSet<String>) -> Option<(String, bool)> {
        let heard = self.heard.borrow();
        let missing = watched.difference(&heard).next().map(|path| (path.clone(), true));
        missing.or_else(|| heard.difference(watched).next().map(|path| (path.clone(), false)))
    }
}

/// systemd sends two signals for each change, one for each interface; the general one is enough.
fn unit_rule(path: &str) -> String {
    format!(
        "type='signal',sender='{SYSTEMD}',path='{path}',interface='{PROPERTIES}',member='PropertiesChanged',arg0='{SYSTEMD}.Unit'"
    )
}

/// The task: every signal of the connection, until it ends. Polled all the time, since a full queue would stop
/// the connection itself.
async fn read(mut messages: MessageStream, shared: Arc<Shared>) {
    while let Some(Ok(message)) = messages.next().await {
        if message.message_type() == Type::Signal {
            signal(&message, &shared);
        }
    }
    shared.all_may_have_changed();
    shared.jobs.notify_waiters();
}

fn signal(message: &Message, shared: &Shared) {
    let header = message.header();
    match header.member().map(zbus::names::MemberName::as_str) {
        Some("PropertiesChanged") => {
            if let Some(path) = header.path() {
                shared.changed(path.as_str());
            }
        }
        Some("JobRemoved") => {
            // One that does not parse is a lost one; the poll finds out.
            if let Ok((_, job, _, result)) = message
                .body()
                .deserialize::<(u32, OwnedObjectPath, String, String)>()
            {
                shared.job_removed(job.as_str().to_owned(), result);
            }
        }
        _ => {}
    }
}

/// systemd's object path of a unit: every byte outside `[A-Za-z0-9]` becomes `_xx`, also a leading digit
/// (`bus_label_escape` in systemd).
pub(super) fn unit_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (i, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

fn refused(operation: &'static str, error: &zbus::Error) -> UnitsError {
    use zbus::fdo;
    let refused = |name: &str, message: Option<&str>| UnitsError::Refused {
        operation,
        name: name.to_owned(),
        message: message.unwrap_or("no reason given").to_owned(),
    };
    match error {
        zbus::Error::MethodError(name, message, _) => refused(name.as_str(), message.as_deref()),
        zbus::Error::FDO(error) => match &**error {
            fdo::Error::NoReply(_)
            | fdo::Error::Disconnected(_)
            | fdo::Error::ServiceUnknown(_)
            | fdo::Error::NameHasNoOwner(_)
            | fdo::Error::Timeout(_)
            | fdo::Error::TimedOut(_) => UnitsError::Disconnected { operation },
            error => refused(
                zbus::DBusError::name(error).as_str(),
                zbus::DBusError::description(error),
            ),
        },
        zbus::Error::InputOutput(_) => UnitsError::Disconnected { operation },
        error => UnitsError::Malformed {
            operation,
            problem: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        assert_eq!(
            unit_path("fleet-web-2.service"),
            "/org/freedesktop/systemd1/unit/fleet_2dweb_2d2_2eservice"
        );
        assert_eq!(unit_path("9a"), "/org/freedesktop/systemd1/unit/_39a");
    }

    #[test]
    fn results_are_kept_only_while_somebody_waits_and_never_without_bound() {
        let shared = Arc::new(Shared::default());
        shared.job_removed("/job/1".into(), "done".into());
        assert_eq!(shared.result("/job/1"), None);
        let waiting = Waiting::new(&shared);
        for i in 0..2 * MAX_RESULTS {
            shared.job_removed(format!("/job/{i}"), "done".into());
        }
        assert_eq!(shared.state().results.len(), MAX_RESULTS);
        drop(waiting);
        assert!(shared.state().results.is_empty());
    }
}
