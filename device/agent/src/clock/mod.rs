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
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_host::{Clock, Host, Reply, Said, Supervisor, TimeFloor, TimeServers};
use fleet_machine::clock::{Answer, Finding, Memo, Moment, Skew, Standing, next_check, weigh_servers};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::random;
use crate::shared::Shared;
pub use record::of_runtime;
use record::{Record, Terms};
pub(crate) use words::line;

/// Shortest time between two checks that no timer asked for; a server may be asked every 15 s at most (RFC 4330 section 10).
const SETTLE: Duration = Duration::from_secs(15);
/// The same for a clock that is set again and again, and for a connection after more than one check that failed.
const SETTLE_LONG: Duration = Duration::from_mins(5);
/// A person may set it this often until it is right.
const SETS_IN_A_ROW: u32 = 4;
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
    let runtime = &shared.settings.runtime;
    if tuning.clock_servers.is_empty() {
        tracing::info!("the clock is not checked: no time servers are configured");
        Record::remove(runtime).await;
        return Ok(());
    }
    let record = Record::read(runtime, Terms::of(tuning)).await;
    shared.clock.record.replace(record);
    let now = moment(shared);
    match shared
        .clock
        .memo()
        .filter(|memo| memo.holds(&now, tuning.clock_check))
    {
        // A refusal too: an agent that is started again and again must not ask each time.
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
    let mut sets = 0_u32;
    loop {
        let Some(memo) = shared.clock.memo() else {
            // Nobody is to be asked.
            return std::future::pending().await;
        };
        sets = match due(&shared, &memo, sets).await {
            Due::WasSet => sets.saturating_add(1),
            Due::Time | Due::Online => 0,
        };
        check(&shared).await;
    }
}

/// Why the clock is checked again.
enum Due {
    Time,
    Online,
    WasSet,
}

/// Waits for the next reason to check; `sets` counts how often in a row it was that the clock was set.
async fn due<H: Host>(shared: &Shared<H>, memo: &Memo, sets: u32) -> Due {
    let age = || memo.age(&moment(shared)).unwrap_or_default();
    let wait = next_check(&memo.standing, memo.failed, shared.settings.tuning.clock_check);
    // A fleet that was switched on together must not ask together for ever.
    let wait = wait.saturating_sub(age()) + random::up_to(wait / 20);
    let ahead = memo.at.wall_millis.saturating_sub(memo.at.monotonic_millis);
    let ahead = Duration::from_millis(u64::try_from(ahead).unwrap_or(0));
    let online = async {
        shared.clock.online.notified().await;
        let settle = if memo.failed > 1 { SETTLE_LONG } else { SETTLE };
        sleep(settle.saturating_sub(age())).await;
    };
    tokio::select! {
        () = sleep(wait) => Due::Time,
        () = online, if !shared.clock.is_right() => Due::Online,
        () = was_set(shared, ahead) => {
            tracing::info!("the clock was set: it is checked again");
            let settle = if sets > SETS_IN_A_ROW { SETTLE_LONG } else { SETTLE };
            sleep(settle.saturating_sub(age())).await;
            Due::WasSet
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
    let (replies, at) = ask(shared).await;
    let finding = weigh(&replies);
    let floor = floor(shared).await;
    let tolerance = shared.settings.tuning.clock_tolerance;
    let judged = Standing::judge(
        &finding,
        at.wall_millis,
        floor.map(|at| at.timestamp_millis()),
        tolerance,
    );
    let record = {
        let mut record = shared.clock.record.borrow_mut();
        record.rests.note(&replies, at.monotonic_millis);
        record.memo = Some(Memo::after(record.memo.as_ref(), judged, at));
        record.clone()
    };
    if let Some(memo) = &record.memo {
        words::tell(&shared.health, &memo.standing, Some(&finding), &replies);
        if memo.standing.is_right() {
            raise_floor(shared, floor).await;
        }
    }
    record.write(&shared.settings.runtime).await;
}

/// What the servers say, and when they said it. An answer says by how much the clock was off at its moment: when somebody sets it
/// meanwhile, all are asked once more, and those of the second time count for nothing either if it happens again.
async fn ask<H: Host>(shared: &Shared<H>) -> (Vec<Reply>, Moment) {
    let mut before = moment(shared);
    for _ in 0..2 {
        let resting = shared.clock.record.borrow().rests.now(before.monotonic_millis);
        let replies = shared.host.time_servers().ask(&resting).await;
        let after = moment(shared);
        if !before.was_set_until(&after) {
            return (replies, after);
        }
        before = after;
    }
    (Vec::new(), before)
}

/// Each server is one voice, and an address that two of them share is the first one's.
fn weigh(replies: &[Reply]) -> Finding {
    let mut addresses = BTreeSet::new();
    let mut servers: BTreeMap<&str, Vec<Answer>> = BTreeMap::new();
    for reply in replies {
        if let Some(answer) = answer(reply)
            && reply.address.is_none_or(|address| addresses.insert(address))
        {
            servers.entry(&reply.server).or_default().push(answer);
        }
    }
    weigh_servers(servers.values().map(Vec::as_slice))
}

fn moment<H: Host>(shared: &Shared<H>) -> Moment {
    Moment {
        wall_millis: shared.at(),
        monotonic_millis: millis(shared.host.clock().monotonic()),
    }
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
        Said::Kiss(_) | Said::Rests | Said::Nothing(_) => None,
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
    let near = floor.is_some_and(|floor| (now - floor).to_std().is_ok_and(|passed| passed < FLOOR_STEP));
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
