//! What the device answers without a network: a file in the runtime folder while the agent runs, the
//! ledger when it does not.

mod deployments;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_host::{Host, Ledger, LedgerError, Shelf, UnitFiles, durable};
use fleet_machine::deployment::State;
use fleet_protocol::{Cause, DeploymentName, DeploymentState, DeviceId};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::VERSION;
use crate::clock::{self, ClockStatus};
use crate::deployment::report::report;
use crate::health::RECORD_DAMAGED;
use crate::images;
use crate::orphans;
use crate::session::LinkState;
use crate::shared::Shared;
use crate::words::chain;

/// Largest status file, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// Changes within this time are one write.
const GATHER: Duration = Duration::from_millis(200);

/// What `fleet-agent status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The device.
    pub device: DeviceId,
    /// Version of the agent that says so.
    pub agent_version: String,
    /// Process id of the agent; absent when it does not run and its records speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whom it calls.
    pub server: String,
    /// Whether it is connected; absent when it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
    /// How its clock stood when it was last checked in this boot; absent when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockStatus>,
    /// What is wrong with the device itself.
    pub health: Vec<Cause>,
    /// Its deployments.
    pub deployments: BTreeMap<DeploymentName, DeploymentState>,
}

fn path(runtime: &Path) -> PathBuf {
    runtime.join("status.json")
}

/// Keeps the file right; ends by being dropped. The folder is in memory, so nothing wears.
pub(crate) async fn keep<H: Host>(shared: Rc<Shared<H>>) {
    let mut health = shared.health.changes();
    loop {
        write(&shared).await;
        sleep(GATHER).await;
        tokio::select! {
            () = shared.link.changed() => {}
            () = shared.outbox.shown() => {}
            () = health.next() => {}
        }
    }
}

async fn write<H: Host>(shared: &Shared<H>) {
    let status = Status {
        device: shared.settings.identity.enrolment.device_id.clone(),
        agent_version: VERSION.to_owned(),
        pid: Some(std::process::id()),
        server: shared.settings.identity.enrolment.nats.url.clone(),
        link: Some(shared.link.state()),
        clock: shared.clock.status(),
        health: shared.health.causes(),
        deployments: shared.outbox.shown_states(),
    };
    let path = path(&shared.settings.runtime);
    let bytes = match serde_json::to_vec(&status) {
        Ok(bytes) => bytes,
        Err(error) => return tracing::warn!("no status file: {error}"),
    };
    if let Err(error) = durable::blocking(move || durable::replace(&path, &bytes, 0o600)).await {
        tracing::debug!("no status file: {error}");
    }
}

/// Removes the file at the end, so that no one takes it for the truth.
pub(crate) fn remove(runtime: &Path) {
    if let Err(error) = durable::remove(&path(runtime)) {
        tracing::debug!("the status file stays: {error}");
    }
}

/// Reads what a running agent says; `None` when none runs.
#[must_use]
pub fn of_running_agent(runtime: &Path) -> Option<Status> {
    let bytes = durable::read_bounded(&path(runtime), MAX_BYTES).ok()??;
    let status: Status = serde_json::from_slice(&bytes).ok()?;
    let alive = status
        .pid
        .is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
    alive.then_some(status)
}

/// Puts together what the records of an agent say that does not run.
pub async fn of_records(
    ledger: &impl Ledger,
    unit_files: &impl UnitFiles,
    device: DeviceId,
    server: String,
) -> Status {
    let mut deployments = BTreeMap::new();
    let mut health = orphans_on_record(ledger, unit_files).await;
    health.extend(lost_on_record(ledger).await);
    let mut unreadable = |error: &LedgerError| health.push(RECORD_DAMAGED.cause(&chain(error)));
    let mut names = ledger.list(Shelf::Progress).await.unwrap_or_else(|error| {
        unreadable(&error);
        Vec::new()
    });
    names.retain(|name| *name != images::record_name());
    for name in names {
        // Only looked at: what is damaged is the agent's to move aside.
        let state = ledger.peek::<State>(Shelf::Progress, &name).await;
        let state = state.unwrap_or_else(|error| {
            unreadable(&error);
            None
        });
        if let Some(report) = state.as_ref().and_then(report) {
            deployments.insert(name, report);
        }
    }
    Status {
        device,
        agent_version: VERSION.to_owned(),
        pid: None,
        server,
        link: None,
        clock: None,
        health,
        deployments,
    }
}

/// Deployments whose record of what to run was moved aside by an agent, and that have no new one.
async fn lost_on_record(ledger: &impl Ledger) -> Option<Cause> {
    let on_record = ledger.list(Shelf::Desired).await.unwrap_or_default();
    let damaged = ledger.damaged().await.unwrap_or_default().into_iter();
    let lost: Vec<String> = damaged
        .filter(|name| !on_record.contains(name) && *name != images::record_name())
        .map(|name| name.to_string())
        .collect();
    let words = || format!("damaged and lost is what is to run of {}", lost.join(", "));
    (!lost.is_empty()).then(|| RECORD_DAMAGED.cause(&words()))
}

/// What is wrong with the files, as the running agent would tell it.
async fn orphans_on_record(ledger: &impl Ledger, unit_files: &impl UnitFiles) -> Vec<Cause> {
    let mut known: BTreeSet<DeploymentName> = BTreeSet::new();
    for shelf in Shelf::ALL {
        known.extend(ledger.list(shelf).await.unwrap_or_default());
    }
    let files = unit_files.list().await.unwrap_or_default().into_iter();
    let orphans = files.filter(|file| !known.contains(&file.deployment()));
    orphans::cause(orphans).into_iter().collect()
}

/// The status for a person.
#[must_use]
pub fn text(status: &Status, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "device      {}", status.device);
    let _ = match status.pid {
        Some(pid) => writeln!(text, "agent       {} (pid {pid})", status.agent_version),
        None => writeln!(
            text,
            "agent       not running, so the device is not online; what follows is from its records\n            next: journalctl -b _SYSTEMD_USER_UNIT=fleet-agent.service says why it ended; systemd starts it again"
        ),
    };
    let _ = writeln!(text, "server      {}", status.server);
    let _ = match &status.link {
        None => Ok(()),
        Some(LinkState::Connecting) => writeln!(text, "connection  connecting"),
        Some(LinkState::Connected { since }) => {
            writeln!(text, "connection  connected for {}", age(now, *since))
        }
        Some(LinkState::Offline {
            since,
            reason,
            next_try_at,
        }) => writeln!(
            text,
            "connection  offline for {}: {reason}; next try in {}",
            age(now, *since),
            age(*next_try_at, now)
        ),
    };
    if let Some(clock) = &status.clock {
        let _ = writeln!(
            text,
            "clock       {}; checked {} ago",
            clock::line(&clock.standing, status.pid.is_some()),
            age(now, clock.checked_at)
        );
    }
    for cause in &status.health {
        let _ = writeln!(text, "health      {cause}");
    }
    if status.deployments.is_empty() {
        text.push_str("\nno deployments\n");
        return text;
    }
    deployments::table(&mut text, &status.deployments, status.pid.is_some(), now);
    text
}

/// Time from `then` to `now` in one unit; a clock that jumped back shows as 0 s.
fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_machine::clock::Standing;
    use fleet_protocol::{PROTOCOL_VERSION, Phase};

    #[tokio::test]
    async fn looking_at_the_records_changes_none_of_them_and_tells_of_damaged_ones() {
        use fleet_host::{FileLedger, QuadletDir};
        let dir = tempfile::tempdir().unwrap();
        let shelf = dir.path().join(Shelf::Progress.folder());
        std::fs::create_dir_all(&shelf).unwrap();
        let images = r#"{"images":{"r.io/a:1":"sha256:aa"}}"#;
        let _ = durable::replace(&shelf.join("agent.json"), images.as_bytes(), 0o600).unwrap();
        let _ = durable::replace(&shelf.join("web.json"), b"{", 0o600).unwrap();
        let aside = dir.path().join("desired/old.json.corrupt");
        let _ = durable::replace(&aside, b"{", 0o600).unwrap();
        let status = of_records(
            &FileLedger::new(dir.path()),
            &QuadletDir::new(dir.path().join("units")),
            "pi-1".parse().unwrap(),
            "tls://h:4222".to_owned(),
        )
        .await;
        let kinds: Vec<&str> = status.health.iter().map(|cause| cause.kind.as_str()).collect();
        assert_eq!(kinds, ["record-damaged", "record-damaged"]);
        let details: Vec<&str> = status.health.iter().map(|cause| cause.detail.as_str()).collect();
        assert!(
            details[0].contains("what is to run of old") && details[1].contains("web.json"),
            "{details:?}"
        );
        let bytes = |name: &str| std::fs::read_to_string(shelf.join(name)).unwrap();
        assert_eq!(
            (bytes("agent.json").as_str(), bytes("web.json").as_str()),
            (images, "{")
        );
    }

    #[test]
    fn a_person_reads_phase_age_and_cause_and_what_still_runs() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let state = DeploymentState {
            protocol: PROTOCOL_VERSION,
            observed_generation: 2,
            phase: Phase::Failed,
            since: at(1_000),
            cause: Some(
                Cause::new("image-not-found", "push it").with_log(&["bad \u{1b}[31mluck".to_owned()]),
            ),
            progress: None,
            running: Some(fleet_protocol::state::Running {
                generation: 1,
                image: "r.io/a:1".to_owned(),
                digest: None,
                unit: "fleet-web.service".to_owned(),
                invocation_id: "x".to_owned(),
                started_at: at(0),
            }),
            next_try_at: None,
            init: None,
            cutover: None,
            crash_loop: Some(fleet_protocol::state::CrashLoop {
                restarts: 4,
                next_restart_at: Some(at(1_270)),
            }),
            failed_tries: 1,
            marks: Vec::new(),
        };
        let status = Status {
            device: "pi-1".parse().unwrap(),
            agent_version: "0.3.0".to_owned(),
            pid: Some(7),
            server: "tls://h:4222".to_owned(),
            link: Some(LinkState::Offline {
                since: at(940),
                reason: "connection refused".to_owned(),
                next_try_at: at(1_250),
            }),
            clock: Some(ClockStatus {
                standing: Standing::Skewed {
                    offset_millis: 872_000,
                },
                checked_at: at(1_000),
            }),
            health: Vec::new(),
            deployments: BTreeMap::from([("web".parse().unwrap(), state)]),
        };
        let text = text(&status, at(1_240));
        assert!(
            text.contains("offline for 5 min: connection refused; next try in 10 s"),
            "{text}"
        );
        assert!(
            text.contains("clock       wrong by 14m32s; checked 4 min ago"),
            "{text}"
        );
        assert!(
            text.contains(
                "web                      Failed              2    4 min  image-not-found: push it"
            ),
            "{text}"
        );
        assert!(text.contains("generation 1 still runs"), "{text}");
        assert!(
            text.contains("started it again 4 times; the next in 30 s"),
            "{text}"
        );
        assert!(
            text.contains("| bad  [31mluck") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
