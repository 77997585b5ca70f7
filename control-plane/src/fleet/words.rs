//! What a report says, in plain words: the same in API, dashboard and terminal.

use chrono::{DateTime, Utc};
use fleet_protocol::state::{CrashLoop, Cutover, InitProgress, PullProgress};
use fleet_protocol::{Cause, DeploymentState, Phase};

use super::view::PairView;

/// Where it is, and what goes on running meanwhile.
pub(super) fn phase(report: &DeploymentState) -> String {
    let text = match &report.phase {
        Phase::Pending => "taken up; work begins".to_owned(),
        Phase::Pulling => format!("pulling the image{}", progress(report.progress)),
        Phase::Upgrading => "replacing the old container".to_owned(),
        Phase::Starting => match &report.init {
            Some(step) => format!("Starting · {}", init(step)),
            None => "starting; not proven yet".to_owned(),
        },
        Phase::Running => match &report.cutover {
            Some(cutover) => format!("running; {}", replaced(cutover)),
            None => "running".to_owned(),
        },
        Phase::Finished => "ended well; its restart policy asks for no other run".to_owned(),
        Phase::Failed if report.failed_tries > 1 => format!("failed {} times", report.failed_tries),
        Phase::Failed => "failed".to_owned(),
        Phase::Removing => "being removed".to_owned(),
        Phase::Unknown(word) => format!("the agent says {word:?}, a word of a newer version"),
    };
    match older(report) {
        Some(generation) if report.phase == Phase::Upgrading => {
            format!("{text}: generation {generation} is being stopped")
        }
        Some(generation) => format!("{text}; generation {generation} goes on running"),
        None => text,
    }
}

/// The generation that runs although another one was taken up.
fn older(report: &DeploymentState) -> Option<u64> {
    let running = report.running.as_ref()?.generation;
    (running != report.observed_generation).then_some(running)
}

/// Whose the lines of the newest run of the main container are, while a newer generation was taken up and has no container yet.
#[must_use]
pub fn lines_of_older(view: &PairView) -> Option<String> {
    let (newer, older) = (view.observed_generation?, view.running.as_ref()?.generation);
    (newer != older).then(|| {
        format!("generation {newer}'s container was not started yet; these lines are of generation {older}")
    })
}

/// `init container migrate (2 of 3)`.
#[must_use]
pub fn init(step: &InitProgress) -> String {
    format!("init container {} ({} of {})", step.name, step.step, step.of)
}

/// `replaced generation 3: 2.3 s to stop, 0.9 s down`.
#[must_use]
pub fn replaced(cutover: &Cutover) -> String {
    format!(
        "replaced generation {}: {} to stop, {} down",
        cutover.from_generation,
        millis(cutover.stop_millis),
        millis(cutover.down_millis)
    )
}

/// `restarted 12 times`.
#[must_use]
pub fn restarts(crash_loop: &CrashLoop) -> String {
    let s = if crash_loop.restarts == 1 { "" } else { "s" };
    format!("restarted {} time{s}", crash_loop.restarts)
}

/// `0.9 s`, `41 s`, `3 min 20 s`.
fn millis(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{seconds}.{} s", millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn progress(progress: Option<PullProgress>) -> String {
    match progress {
        Some(p) if p.layers_total > 0 => format!(": {} of {} layers", p.layers_done, p.layers_total),
        Some(_) | None => String::new(),
    }
}

/// The init container that ran and did not end well. One whose image could not be had is named too, but it never ran.
#[must_use]
pub fn failed_init(cause: &Cause) -> Option<&str> {
    let ran = matches!(cause.kind.as_str(), "init-failed" | "init-timeout");
    cause.init.as_deref().filter(|_| ran)
}

/// What systemd does for it, and whether that is well; nothing where no unit is concerned yet.
pub(super) fn unit(deployment: &str, report: &DeploymentState) -> Option<(String, bool)> {
    let main = report.running.as_ref().map_or_else(
        || format!("fleet-{deployment}.service"),
        |running| running.unit.clone(),
    );
    let cause = report.cause.as_ref();
    if let Some(init) = cause.and_then(failed_init) {
        let exit = cause.and_then(|cause| cause.exit);
        let how = exit.map_or_else(
            || "did not end well".to_owned(),
            |exit| format!("ended with {exit}"),
        );
        return Some((
            format!(
                "`fleet-{deployment}.init-{init}.service` {how}, so `fleet-{deployment}.service` was not started"
            ),
            false,
        ));
    }
    if let Some(step) = &report.init {
        let name = &step.name;
        return Some((
            format!(
                "`fleet-{deployment}.init-{name}.service` runs; `fleet-{deployment}.service` waits for it"
            ),
            false,
        ));
    }
    if let Some(crash_loop) = &report.crash_loop {
        let exit = cause
            .and_then(|cause| cause.exit)
            .map_or_else(String::new, |exit| format!(" with {exit}"));
        let next = if crash_loop.next_restart_at.is_some() {
            "; systemd starts it again"
        } else {
            ""
        };
        return Some((
            format!(
                "`{main}` ends again and again{exit}, {}{next}",
                restarts(crash_loop)
            ),
            false,
        ));
    }
    if let Some(running) = &report.running {
        return Some((
            format!("`{main}` is active with generation {}", running.generation),
            true,
        ));
    }
    let exit = cause.and_then(|cause| cause.exit)?;
    Some((format!("`{main}` ended with {exit}"), false))
}

/// When that came about, or comes about.
pub(super) fn unit_at(report: &DeploymentState) -> Option<DateTime<Utc>> {
    let again = report
        .crash_loop
        .as_ref()
        .map(|crash_loop| crash_loop.next_restart_at);
    let broken = report.cause.as_ref().and_then(failed_init).is_some() || report.init.is_some();
    match again {
        _ if broken => Some(report.since),
        Some(next) => next,
        None => report
            .running
            .as_ref()
            .map_or(Some(report.since), |running| Some(running.started_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts_read_as_a_person_would_say_them() {
        let times = [0, 940, 9_999, 10_000, 59_999, 60_000, 200_000].map(millis);
        let words = [
            "0.0 s",
            "0.9 s",
            "9.9 s",
            "10 s",
            "59 s",
            "1 min 0 s",
            "3 min 20 s",
        ];
        assert_eq!(times, words);
        let restarted = |times| {
            restarts(&CrashLoop {
                restarts: times,
                next_restart_at: None,
            })
        };
        assert_eq!([1, 2].map(restarted), ["restarted 1 time", "restarted 2 times"]);
    }
}
