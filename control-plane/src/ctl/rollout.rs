//! `rollout status`: waits until a deployment runs everywhere, or cannot.

use std::time::{Duration, Instant};

use super::args::{AnswerFormat, RolloutArgs, RolloutCommand};
use super::client::Client;
use super::error::{CtlError, Exit};
use super::get;
use super::table::plural;
use super::{Context, json};
use crate::api::types::PairQuery;
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
    let RolloutCommand::Status {
        name,
        timeout,
        output,
        ..
    } = &args.command;
    let (view, ended) = wait(name, *timeout, context)?;
    let told = match (output, &ended) {
        // Well or not: a program finds there which devices it did not get through on, and why.
        (AnswerFormat::Json, _) => context.terminal.line(&json::pretty(&view)),
        (AnswerFormat::Text, Ok(())) => context
            .terminal
            .line(&format!("deployment/{name}: {}", words(&view))),
        (AnswerFormat::Text, Err(_)) => Ok(()),
    };
    ended.and(told)
}

/// A deployment as it was seen last, and whether its rollout got through.
type Ended = (DeploymentView, Result<(), CtlError>);

/// Looks until it is over or takes too long, and shows how far it is meanwhile.
fn wait(name: &str, timeout: Duration, context: &mut Context<'_>) -> Result<Ended, CtlError> {
    let begun = Instant::now();
    let mut over_since: Option<Instant> = None;
    let mut lost = false;
    let mut told: Option<(Instant, String)> = None;
    loop {
        let look = get::deployment(&context.client, name)
            .and_then(|view| stand(&view, || away(&context.client, name)).map(|stand| (view, stand)));
        let (view, stand) = match look {
            // An operator that starts anew is no reason to give a rollout up.
            Err(error) if error.is_temporary() && begun.elapsed() < timeout => {
                if !std::mem::replace(&mut lost, true) {
                    context
                        .terminal
                        .note(&format!("fleetctl: {}, trying again", error.what()))?;
                }
                std::thread::sleep(PAUSE);
                continue;
            }
            look => look?,
        };
        lost = false;
        let text = words(&view);
        match stand {
            Stand::Done => return Ok((view, Ok(()))),
            Stand::OnItsWay => over_since = None,
            Stand::Over => {
                if over_since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                    let error = stopped(&view, "nothing moves any more");
                    return Ok((view, Err(error)));
                }
            }
        }
        if begun.elapsed() >= timeout {
            let error = stopped(&view, &format!("{} s are over", timeout.as_secs()));
            return Ok((view, Err(error)));
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

/// Whether every pair of this generation runs or is done, by the counts of all devices. `away` counts those that wait on a device that is
/// not there; it is asked only when that decides.
fn stand(view: &DeploymentView, away: impl FnOnce() -> Result<u64, CtlError>) -> Result<Stand, CtlError> {
    let counts = &view.summary.pairs;
    // Right after `apply`, pairs may still be those of the generation before.
    let taken_up = view.summary.behind == 0;
    if taken_up && counts.total > 0 && counts.total == counts.well() && counts.total == view.summary.selected
    {
        return Ok(Stand::Done);
    }
    let bad = counts.failed + counts.stuck + counts.unreadable;
    let still = counts.well() + bad + counts.waiting == counts.total;
    if taken_up && bad > 0 && still && (counts.waiting == 0 || away()? == counts.waiting) {
        Ok(Stand::Over)
    } else {
        Ok(Stand::OnItsWay)
    }
}

fn away(client: &Client, name: &str) -> Result<u64, CtlError> {
    let mut away = 0;
    for state in [DeviceState::Offline, DeviceState::Unknown] {
        let query = PairQuery {
            deployment: Some(name.to_owned()),
            phase: Some(PairState::Waiting),
            state: Some(state),
            limit: Some(1),
            ..PairQuery::default()
        };
        away += client.pairs(&query)?.total;
    }
    Ok(away)
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
