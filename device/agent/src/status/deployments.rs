//! The deployments of a status, for a person: a line for each, and below it what else is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use fleet_protocol::{DeploymentName, DeploymentState, Phase};

use super::age;
use crate::words::apart;

/// Writes the table; `runs` says that an agent runs, which alone tries anything again.
pub(super) fn table(
    text: &mut String,
    deployments: &BTreeMap<DeploymentName, DeploymentState>,
    runs: bool,
    now: DateTime<Utc>,
) {
    let _ = writeln!(
        text,
        "\n{:<24} {:<10} {:>10} {:>8}  CAUSE",
        "DEPLOYMENT", "PHASE", "GENERATION", "AGE"
    );
    for (name, state) in deployments {
        let cause = state.cause.as_ref().map(ToString::to_string).unwrap_or_default();
        let (cause, podmans) = apart(&cause);
        let line = format!(
            "{:<24} {:<10} {:>10} {:>8}  {}",
            name.as_str(),
            state.phase.as_str(),
            state.observed_generation,
            age(now, state.since),
            plain(cause)
        );
        let _ = writeln!(text, "{}", line.trim_end());
        let mut below = |words: &str| {
            let _ = writeln!(text, "{:<24} {}", "", plain(words));
        };
        if let Some(tries) = tries(state, runs, now) {
            below(&tries);
        }
        details(&mut below, state, now);
        if let Some(words) = podmans {
            below(&format!("podman: {words}"));
        }
        if let Some(running) = &state.running
            && running.generation != state.observed_generation
        {
            below(&format!("generation {} still runs", running.generation));
        }
    }
}

/// How often it failed, and when it is tried again: of what is not up.
fn tries(state: &DeploymentState, runs: bool, now: DateTime<Utc>) -> Option<String> {
    if matches!(state.phase, Phase::Running | Phase::Finished) {
        return None;
    }
    let failed = match state.failed_tries {
        0 => None,
        1 => Some("1 failed try".to_owned()),
        count => Some(format!("{count} failed tries")),
    };
    let next = state.next_try_at.map(|at| match at > now {
        _ if !runs => "when the agent runs again".to_owned(),
        true => format!("in {}", age(at, now)),
        false => "at once".to_owned(),
    });
    match (failed, next) {
        (Some(failed), Some(next)) => Some(format!("{failed}; the next {next}")),
        (None, Some(next)) => Some(format!("the next try {next}")),
        (failed, None) => failed,
    }
}

/// Its step, what goes wrong again and again, its last words.
fn details(below: &mut impl FnMut(&str), state: &DeploymentState, now: DateTime<Utc>) {
    if let Some(init) = &state.init {
        below(&format!(
            "init container {} runs ({} of {})",
            init.name, init.step, init.of
        ));
    }
    if let Some(crash_loop) = &state.crash_loop {
        let next = match crash_loop.next_restart_at {
            Some(at) if at > now => format!("; the next in {}", age(at, now)),
            _ => String::new(),
        };
        below(&format!(
            "crash loop: systemd started it again {} times{next}",
            crash_loop.restarts
        ));
    }
    for said in state.cause.iter().flat_map(|cause| &cause.log) {
        below(&format!("| {said}"));
    }
}

/// Whatever a container, a registry or podman wrote cannot steer the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_protocol::{Cause, PROTOCOL_VERSION};

    const NOW: i64 = 1_000;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn failed(failed_tries: u32, next_try_at: Option<i64>, cause: Cause) -> DeploymentState {
        DeploymentState {
            protocol: PROTOCOL_VERSION,
            observed_generation: 2,
            phase: Phase::Failed,
            since: at(NOW),
            cause: Some(cause),
            progress: None,
            running: None,
            next_try_at: next_try_at.map(at),
            init: None,
            cutover: None,
            crash_loop: None,
            failed_tries,
            marks: Vec::new(),
        }
    }

    /// The lines below the head of the table.
    fn lines(state: DeploymentState, runs: bool) -> Vec<String> {
        let mut text = String::new();
        let deployments = BTreeMap::from([("web".parse().unwrap(), state)]);
        table(&mut text, &deployments, runs, at(NOW));
        text.lines().skip(2).map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_failed_says_how_often_it_was_tried_and_when_it_is_tried_again() {
        let ended = || Cause::new("container-exited", "it ended");
        let below = |tries, next, runs| lines(failed(tries, next, ended()), runs)[1..].to_vec();
        assert_eq!(
            below(3, Some(NOW + 300), true),
            ["3 failed tries; the next in 5 min"]
        );
        assert_eq!(below(1, Some(NOW + 10), true), ["1 failed try; the next in 10 s"]);
        assert_eq!(below(0, Some(NOW + 10), true), ["the next try in 10 s"]);
        assert_eq!(below(2, Some(NOW), true), ["2 failed tries; the next at once"]);
        assert_eq!(below(2, None, true), ["2 failed tries"]);
        assert!(below(0, None, true).is_empty());
        // Its records say when, but there is nobody to do it.
        assert_eq!(
            below(2, Some(NOW + 10), false),
            ["2 failed tries; the next when the agent runs again"]
        );
    }

    #[test]
    fn what_is_up_has_no_tries_to_tell_of() {
        let mut state = failed(2, None, Cause::new("container-exited", "it ended"));
        state.phase = Phase::Running;
        assert_eq!(lines(state, true).len(), 1);
    }

    #[test]
    fn podmans_words_are_below_the_line_whose_sentence_was_made_from_them() {
        use crate::words::with_podmans;
        let detail = with_podmans(
            "r.io/a:1 could not be pulled: push it",
            "manifest \u{1b}[31munknown",
        );
        let lines = lines(failed(1, None, Cause::new("image-not-found", detail)), true);
        assert!(
            lines[0].ends_with("image-not-found: r.io/a:1 could not be pulled: push it"),
            "{lines:?}"
        );
        assert_eq!(lines[1..], ["1 failed try", "podman: manifest  [31munknown"]);
    }
}
