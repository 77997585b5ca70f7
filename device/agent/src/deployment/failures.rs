//! The host's errors as failures: a word, a sentence that says what to do, and whether time can cure it.

use std::time::Duration;

use fleet_host::{
    ActiveState, ImageError, ImageErrorKind, LeftoversError, Remains, UnitFacts, UnitFilesError, UnitsError,
};
use fleet_machine::deployment::{Failure, Retry};
use fleet_protocol::score::RestartPolicy;

use crate::words::chain;

pub(super) fn failure(kind: &str, detail: impl Into<String>, retry: Retry) -> Failure {
    Failure {
        kind: kind.to_owned(),
        detail: detail.into(),
        retry,
    }
}

fn retry(transient: bool) -> Retry {
    if transient { Retry::Soon } else { Retry::Seldom }
}

pub(super) fn of_pull(image: &str, error: &ImageError) -> Failure {
    let advice = match error.image_kind() {
        ImageErrorKind::NotFound => "push it, or correct the name",
        ImageErrorKind::WrongArchitecture => "push it for this architecture",
        ImageErrorKind::Unauthorized => "give the device credentials, or check that the image exists",
        ImageErrorKind::RegistryUnreachable => "check the registry and the device's network",
        ImageErrorKind::Tls => "check the registry's certificate, or enrol it as insecure",
        ImageErrorKind::DiskFull => "free space on the device, or use a smaller image",
        ImageErrorKind::Corrupt => "the image is fetched again",
        ImageErrorKind::Timeout => "check the device's network",
        ImageErrorKind::Podman => "look at the agent's log on the device",
    };
    // Its kind is told beside it.
    let words = chain(error);
    let words = words
        .strip_prefix(error.kind())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&words);
    let detail = format!("{image} could not be pulled: {words}; {advice}");
    failure(error.kind(), detail, retry(error.is_transient()))
}

pub(super) fn of_files(error: &UnitFilesError) -> Failure {
    if error.is_disk_full() {
        let detail = format!("{}; free space on the device", chain(error));
        return failure("disk-full", detail, Retry::Soon);
    }
    failure("unit-files", chain(error), Retry::Soon)
}

pub(super) fn of_units(error: &UnitsError, last_words: &[String]) -> Failure {
    let mut detail = chain(error);
    if !last_words.is_empty() {
        detail.push_str("; its last words: ");
        detail.push_str(&last_words.join(" | "));
    }
    // A container that fails to start may well start later: its needs come and go.
    let soon = error.is_transient() || matches!(error, UnitsError::JobFailed { .. });
    failure(error.kind(), detail, retry(soon))
}

/// A unit at rest that asks for no other run. systemd forgets a unit that ended well, exit status and all, as soon as nothing
/// refers to it; one that failed it keeps.
pub(super) fn ended_well(facts: &UnitFacts, policy: RestartPolicy) -> bool {
    policy != RestartPolicy::Always
        && facts.active_state == ActiveState::Inactive
        && facts.result == "success"
}

/// Its container ran to its end, as far as systemd remembers.
pub(super) fn ran_well(facts: &UnitFacts) -> bool {
    (facts.exec_main_code, facts.exec_main_status) == (1, 0)
}

/// A start whose container was done before anybody could see it up.
pub(super) fn start_ended_well(error: &UnitsError, policy: RestartPolicy) -> bool {
    match error {
        UnitsError::JobFailed {
            facts, job_result, ..
        } => ended_well(facts, policy) && (job_result.as_deref() == Some("done") || ran_well(facts)),
        _ => false,
    }
}

/// A start that did not end with a container that is up. One that came as far as to end by itself is judged by its restart
/// policy, as a later end is: to run it again and again is what `never` forbids.
pub(super) fn of_start(error: &UnitsError, policy: RestartPolicy, last_words: &[String]) -> Failure {
    match error {
        UnitsError::JobFailed { facts, .. }
            if policy != RestartPolicy::Always && !error.is_transient() && ended_by_itself(facts) =>
        {
            of_stop(facts, policy, last_words)
        }
        _ => of_units(error, last_words),
    }
}

/// The container ran and ended, by an exit or a signal. Not one that systemd gave up on, nor podman's own failures: 125 is
/// podman's, 126 and 127 say that the command in the container could not be run (podman-run(1)).
fn ended_by_itself(facts: &UnitFacts) -> bool {
    let by_podman = facts.exec_main_code == 1 && matches!(facts.exec_main_status, 125..=127);
    let results = [
        "success",
        "exit-code",
        "protocol",
        "signal",
        "core-dump",
        "oom-kill",
    ];
    !by_podman && facts.is_down() && facts.exec_main_code != 0 && results.contains(&facts.result.as_str())
}

pub(super) fn of_removal(error: &LeftoversError) -> Failure {
    failure("removal-failed", chain(error), Retry::Soon)
}

/// `known` says that it was known which volumes to keep.
pub(super) fn of_remains(remains: &Remains, known: bool) -> Failure {
    let names: Vec<&str> = remains
        .containers
        .iter()
        .chain(&remains.volumes)
        .map(String::as_str)
        .collect();
    let names = names.join(", ");
    let detail = match known {
        true => format!("podman did not remove {names}"),
        false => format!(
            "the device lost its record of which volumes to keep and removed none: save what is needed of \
             {names} and remove them by hand"
        ),
    };
    failure("removal-incomplete", detail, Retry::Soon)
}

/// A unit that is down, or waits for its next automatic restart.
pub(super) fn of_stop(facts: &UnitFacts, policy: RestartPolicy, last_words: &[String]) -> Failure {
    let words = match last_words {
        [] => String::new(),
        lines => format!("; its last words: {}", lines.join(" | ")),
    };
    let how = facts.describe();
    if facts.is_restarting() {
        let times = facts.n_restarts;
        let detail = format!("the container {how}; systemd starts it again (restart {times}){words}");
        return failure("container-exited", detail, Retry::Soon);
    }
    let well = facts.result == "success";
    match policy {
        RestartPolicy::Never if !well => failure(
            "container-failed",
            format!("the container {how}, and its restart policy does not ask for another run{words}"),
            Retry::Never,
        ),
        _ if well => failure(
            "unit-stopped",
            "the unit was stopped on the device, though it is to run; it is started again",
            Retry::Soon,
        ),
        _ => failure(
            "container-exited",
            format!("the container {how}{words}"),
            Retry::Soon,
        ),
    }
}

pub(super) fn of_drift(file: &str, gone: bool) -> Failure {
    let what = if gone { "was removed" } else { "was changed" };
    failure(
        if gone {
            "unit-file-removed"
        } else {
            "unit-file-changed"
        },
        format!("{file} {what} on the device; it is written again"),
        Retry::Soon,
    )
}

/// How long to wait for a job beyond systemd's own time limit.
pub(super) const GRACE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(result: &str, code: i32, status: i32) -> UnitsError {
        UnitsError::JobFailed {
            unit: fleet_host::UnitName::of(&"web".parse().unwrap()).unwrap(),
            job_result: Some("failed".to_owned()),
            facts: Box::new(UnitFacts {
                load_state: fleet_host::LoadState::Loaded,
                active_state: fleet_host::ActiveState::Failed,
                sub_state: "failed".to_owned(),
                result: result.to_owned(),
                invocation_id: None,
                n_restarts: 0,
                exec_main_code: code,
                exec_main_status: status,
                state_change_monotonic: Duration::ZERO,
                active_enter: Duration::ZERO,
                active_exit: Duration::ZERO,
                inactive_enter: Duration::ZERO,
                next_restart: None,
                condition_result: true,
                job_pending: false,
            }),
        }
    }

    #[test]
    fn a_container_that_ends_during_its_start_is_run_again_only_if_its_policy_says_so() {
        let retry = |error: UnitsError, policy| of_start(&error, policy, &[]).retry;
        let failed = || ended("exit-code", 1, 3);
        assert_eq!(retry(failed(), RestartPolicy::Never), Retry::Never);
        assert_eq!(retry(failed(), RestartPolicy::OnFailure), Retry::Soon);
        assert_eq!(retry(failed(), RestartPolicy::Always), Retry::Soon);
        assert_eq!(retry(ended("oom-kill", 2, 9), RestartPolicy::Never), Retry::Never);
    }

    #[test]
    fn a_container_that_is_done_is_told_from_one_that_failed_and_from_one_that_never_ran() {
        let start = |code, job: &str, policy| {
            let UnitsError::JobFailed { unit, mut facts, .. } = ended("success", code, 0) else {
                unreachable!("made so");
            };
            facts.active_state = ActiveState::Inactive;
            let error = UnitsError::JobFailed {
                unit,
                job_result: Some(job.to_owned()),
                facts,
            };
            start_ended_well(&error, policy)
        };
        assert!(start(1, "done", RestartPolicy::Never));
        assert!(start(1, "done", RestartPolicy::OnFailure));
        assert!(!start(1, "done", RestartPolicy::Always));
        // Forgotten by systemd, which keeps what failed.
        assert!(start(0, "done", RestartPolicy::Never));
        assert!(!start(0, "canceled", RestartPolicy::Never));
        assert!(!start_ended_well(&ended("exit-code", 1, 3), RestartPolicy::Never));
    }

    #[test]
    fn what_kept_a_container_from_running_at_all_is_tried_again_under_any_policy() {
        for status in 125..=127 {
            let failure = of_start(&ended("exit-code", 1, status), RestartPolicy::Never, &[]);
            assert_eq!(failure.retry, Retry::Soon, "{status}");
        }
        for error in [ended("timeout", 2, 15), ended("resources", 0, 0)] {
            assert_eq!(of_start(&error, RestartPolicy::Never, &[]).retry, Retry::Soon);
        }
    }

    #[test]
    fn the_detail_of_a_failed_pull_does_not_repeat_its_kind() {
        let error = ImageError::Podman {
            kind: ImageErrorKind::NotFound,
            detail: "manifest unknown".to_owned(),
        };
        let failure = of_pull("r.io/a:1", &error);
        assert_eq!(failure.kind, "image-not-found");
        assert_eq!(
            failure.detail,
            "r.io/a:1 could not be pulled: manifest unknown; push it, or correct the name"
        );
    }
}
