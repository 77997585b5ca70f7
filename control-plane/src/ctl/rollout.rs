//! `rollout status`: waits until a deployment runs everywhere, or cannot.

use std::time::{Duration, Instant};

use super::Context;
use super::args::{RolloutArgs, RolloutCommand};
use super::error::{CtlError, Exit};
use super::get;
use super::table::plural;
use crate::fleet::view::{DeploymentView, DeviceState, PairState};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two lines in a pipe.
const LINE_PAUSE: Duration = Duration::from_secs(5);
/// A failure counts when nothing else has moved for this long: the agent may just be trying again.
const SETTLED: Duration = Duration::from_secs(5);

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    Done,
    OnItsWay,
    /// Nothing moves any more, and some did not get through.
    Over,
}

pub(super) fn run(args: &RolloutArgs, context: &mut Context<'_>) -> Result<(), CtlError> {
    let RolloutCommand::Status { name, timeout, .. } = &args.command;
    let begun = Instant::now();
    let mut over_since: Option<Instant> = None;
    let mut told: Option<(Instant, String)> = None;
    loop {
        let view = get::deployment(&context.client, name)?;
        let text = words(&view);
        match stand(&view) {
            Stand::Done => return context.terminal.line(&format!("deployment/{name}: {text}")),
            Stand::OnItsWay => over_since = None,
            Stand::Over => {
                if over_since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                    return Err(stopped(&view, "nothing moves any more"));
                }
            }
        }
        if begun.elapsed() >= *timeout {
            return Err(stopped(&view, &format!("{} s are over", timeout.as_secs())));
        }
        let due = match &told {
            None => true,
            Some((at, last)) => {
                *last != text && (context.terminal.overwrites() || at.elapsed() >= LINE_PAUSE)
            }
        };
        if due {
            context.terminal.progress(&format!("deployment/{name}: {text}"))?;
            told = Some((Instant::now(), text));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether every pair of this generation runs. The counts are of all devices, the pairs of the most urgent ones.
fn stand(view: &DeploymentView) -> Stand {
    let counts = &view.summary.pairs;
    // Right after `apply`, pairs may still be those of the generation before.
    let taken_up = view
        .devices
        .iter()
        .all(|pair| pair.desired_generation == Some(view.summary.generation));
    if taken_up && counts.total > 0 && counts.total == counts.running && counts.total == view.summary.selected
    {
        return Stand::Done;
    }
    let bad = counts.failed + counts.stuck + counts.unreadable;
    let away = view
        .devices
        .iter()
        .filter(|pair| pair.state == PairState::Waiting && pair.device_state != DeviceState::Online)
        .count() as u64;
    if taken_up && bad > 0 && counts.running + bad + away == counts.total {
        Stand::Over
    } else {
        Stand::OnItsWay
    }
}

fn words(view: &DeploymentView) -> String {
    let counts = &view.summary.pairs;
    let mut text = format!(
        "generation {} runs on {} of {}",
        view.summary.generation,
        counts.running,
        plural(view.summary.selected, "device")
    );
    for state in PairState::ALL
        .iter()
        .filter(|state| **state != PairState::Running && counts.of(**state) > 0)
    {
        text.push_str(&format!(", {} {state}", counts.of(*state)));
    }
    text
}

fn stopped(view: &DeploymentView, why: &str) -> CtlError {
    let name = &view.summary.name;
    let cause = view.devices.iter().find_map(|pair| {
        pair.cause
            .as_ref()
            .map(|cause| format!("; {}: {cause}", pair.device))
    });
    let why = format!("{why}{}", super::terminal::safe(&cause.unwrap_or_default()));
    CtlError::new(Exit::Rollout, format!("deployment/{name}: {}", words(view)), why)
        .next(format!("fleetctl describe deployment {name}"))
}
