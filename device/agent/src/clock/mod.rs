//! Whether the device's clock can be trusted: checked before the agent begins, every few hours, when somebody sets the
//! clock, and, as long as nobody could say, when the device comes online.
//!
//! With a clock that servers call wrong the agent does not begin: every token it made would be refused with a reason that
//! leads nobody to the clock. Found later, the same is told and the agent goes on. What runs on the device is systemd's,
//! and goes on in either case.

mod record;
mod rests;
mod words;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_host::{Clock, Host, Reply, Said, Supervisor, TimeFloor, TimeServers};
use fleet_machine::clock::{Answer, Memo, Skew, Standing, next_check, weigh};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::random;
use crate::shared::Shared;
use record::Record;
pub use record::of_runtime;
pub(crate) use words::line;

/// Shortest time between two checks that nobody's timer asked for: a clock may be set many times in a row.
const SETTLE: Duration = Duration::from_secs(10);
/// The same for a connection, once more than one check has failed: one that breaks all the time must not become a query each time.
const SETTLE_ONLINE: Duration = Duration::from_mins(5);
/// The floor on the disk is moved in steps of this size, to spare the flash.
const FLOOR_STEP: Duration = Duration::from_hours(1);

/// How the clock stood when it was last checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// How it stood.
    pub standing: Standing,
    /// When, by the clock itself.
    pub checked_at: DateTime<Utc>,
}

/// The agent does not begin with this clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Skew(*offset_millis))]
pub struct Refusal {
    /// Milliseconds by which the servers are ahead of the device; negative when they are behind.
    pub offset_millis: i64,
}

/// What is known of the clock.
#[derive(Default)]
pub(crate) struct ClockState {
    record: RefCell<Record>,
    online: Notify,
}

impl ClockState {
    /// A connection was made: what could not be asked before may be asked now.
    pub(crate) fn online(&self) {
        self.online.notify_one();
    }

    /// How it stood last; `None` before the first check, and for ever where no servers are configured.
    pub(crate) fn status(&self) -> Option<ClockStatus> {
        self.record.borrow().status()
    }

    fn memo(&self) -> Option<Memo> {
        self.record.borrow().memo.clone()
    }

    fn is_right(&self) -> bool {
        self.memo().is_some_and(|memo| memo.standing.is_right())
    }
}

/// Says whether the agent may begin. Asks servers unless an agent before this one did, a while ago and in this boot.
///
/// # Errors
/// [`Refusal`], when servers call the clock wrong.
pub(crate) async fn admit<H: Host>(shared: &Shared<H>) -> Result<(), Refusal> {
    let tuning = &shared.settings.tuning;
    if tuning.clock_servers.is_empty() {
        tracing::info!("the clock is not checked: no time servers are configured");
        return Ok(());
    }
    shared
        .clock
        .record
        .replace(Record::read(&shared.settings.runtime).await);
    let known = shared.clock.memo().filter(|memo| {
        let clock = shared.host.clock();
        let holds = memo.holds(millis(clock.monotonic()), shared.at(), tuning.clock_check);
        holds.is_some() && !memo.standing.is_wrong()
    });
    match known {
        Some(memo) => words::tell(&shared.health, &memo.standing, None, &[]),
        None => check(shared).await,
    }
    match shared.clock.memo().map(|memo| memo.standing) {
        Some(Standing::Skewed { offset_millis }) => {
            let refusal = Refusal { offset_millis };
            if let Err(error) = shared
                .host
                .supervisor()
                .status(&format!("refuses to start: {refusal}"))
            {
                tracing::debug!("systemd was not told: {error}");
            }
            Err(refusal)
        }
        _ => Ok(()),
    }
}

/// Checks again when it is time to; ends by being dropped.
pub(crate) async fn keep<H: Host>(shared: Rc<Shared<H>>) {
    loop {
        let Some(memo) = shared.clock.memo() else {
            // Nobody is to be asked.
            return std::future::pending().await;
        };
        due(&shared, &memo).await;
        check(&shared).await;
    }
}

/// Waits for the next reason to check.
async fn due<H: Host>(shared: &Shared<H>, memo: &Memo) {
    let age = || {
        let age = millis(shared.host.clock().monotonic()).saturating_sub(memo.monotonic_millis);
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    };
    let wait = next_check(&memo.standing, memo.failed, shared.settings.tuning.clock_check);
    // A fleet that was switched on together must not ask together for ever.
    let wait = wait.saturating_sub(age()) + random::up_to(wait / 20);
    let ahead = memo.wall_millis.saturating_sub(memo.monotonic_millis);
    let ahead = Duration::from_millis(u64::try_from(ahead).unwrap_or(0));
    let online = async {
        shared.clock.online.notified().await;
        let settle = if memo.failed > 1 { SETTLE_ONLINE } else { SETTLE };
        sleep(settle.saturating_sub(age())).await;
    };
    tokio::select! {
        () = sleep(wait) => {}
        () = online, if !shared.clock.is_right() => {}
        () = was_set(shared, ahead) => {
            tracing::info!("the clock was set: it is checked again");
            sleep(SETTLE.saturating_sub(age())).await;
        }
    }
}

async fn was_set<H: Host>(shared: &Shared<H>, ahead: Duration) {
    if let Err(error) = shared.host.clock().was_set(ahead).await {
        tracing::warn!("a clock that is set will be noticed late: {error}");
        std::future::pending::<()>().await;
    }
}

/// Asks the servers, judges, and tells.
async fn check<H: Host>(shared: &Shared<H>) {
    let clock = shared.host.clock();
    let resting = shared.clock.record.borrow().rests.now(millis(clock.monotonic()));
    let replies = shared.host.time_servers().ask(&resting).await;
    let (now, monotonic) = (shared.at(), millis(clock.monotonic()));
    let answers: Vec<Answer> = replies.iter().filter_map(answer).collect();
    let finding = weigh(&answers);
    let floor = floor(shared).await;
    let tolerance = shared.settings.tuning.clock_tolerance;
    let standing = Standing::judge(&finding, now, floor.map(|at| at.timestamp_millis()), tolerance);
    words::tell(&shared.health, &standing, Some(&finding), &replies);
    if standing.is_right() {
        raise_floor(shared, floor).await;
    }
    let record = {
        let mut record = shared.clock.record.borrow_mut();
        record.rests.note(&replies, monotonic);
        let before = record.memo.as_ref().map_or(0, |memo| memo.failed);
        record.memo = Some(Memo {
            failed: if standing.is_right() {
                0
            } else {
                before.saturating_add(1)
            },
            standing,
            monotonic_millis: monotonic,
            wall_millis: now,
        });
        record.clone()
    };
    record.write(&shared.settings.runtime).await;
}

fn answer(reply: &Reply) -> Option<Answer> {
    match reply.said {
        Said::Time {
            offset_millis,
            error_millis,
        } => Some(Answer {
            offset_millis,
            error_millis,
        }),
        Said::Kiss(_) | Said::Nothing(_) => None,
    }
}

async fn floor<H: Host>(shared: &Shared<H>) -> Option<DateTime<Utc>> {
    let floor = shared.host.time_floor().floor().await;
    floor.unwrap_or_else(|error| {
        tracing::warn!("the newest time that was known to be right cannot be read: {error}");
        None
    })
}

/// The clock is right now, so this is the newest time; an older one that is later was a mistake.
async fn raise_floor<H: Host>(shared: &Shared<H>, floor: Option<DateTime<Utc>>) {
    let now = shared.host.clock().now();
    let near = floor.is_some_and(|floor| (now - floor).abs().to_std().is_ok_and(|apart| apart < FLOOR_STEP));
    if near {
        return;
    }
    if let Err(error) = shared.host.time_floor().set_floor(now).await {
        tracing::warn!("the newest time that was known to be right cannot be kept: {error}");
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
