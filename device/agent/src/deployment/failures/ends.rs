//! How runs end, as failures: of the main container at its start or later, and of an init container.

use std::time::Duration;

use fleet_host::{ActiveState, UnitFacts, UnitsError};
use fleet_machine::deployment::{At, End, Exit, Failure, Restarts, Retry};
use fleet_protocol::PodmanV0Score;
use fleet_protocol::score::RestartPolicy;

use super::{failure, of_units};

/// An end within this time after the start is an early one: the start had proved nothing.
const EARLY: Duration = Duration::from_secs(5);
/// Status by which conmon tells that the container was killed.
const KILLED: i32 = 137;

/// A run that ended, with what else is known of it.
pub(in crate::deployment) struct RunEnd<'a> {
    /// What systemd knows.
    pub(in crate::deployment) facts: &'a UnitFacts,
    /// Its last lines.
    pub(in crate::deployment) log: Vec<String>,
    /// When systemd starts it again.
    pub(in crate::deployment) next_restart: Option<At>,
}

impl RunEnd<'_> {
    fn end(self, early: bool) -> End {
        let facts = self.facts;
        let again = facts.is_restarting() && facts.n_restarts > 0;
        End {
            exit: match facts.exec_main_code {
                1 => Some(Exit::Status(facts.exec_main_status)),
                2 | 3 => Some(Exit::Signal(facts.exec_main_status)),
                _ => None,
            },
            init: None,
            log: self.log,
            early,
            restarts: again.then_some(Restarts {
                count: facts.n_restarts,
                next_at: self.next_restart,
            }),
        }
    }
}

/// A unit at rest that asks for no other run. systemd forgets a unit that ended well, exit status and all, as soon as nothing
/// refers to it; one that failed it keeps.
pub(in crate::deployment) fn ended_well(facts: &UnitFacts, policy: RestartPolicy) -> bool {
    policy != RestartPolicy::Always
        && facts.active_state == ActiveState::Inactive
        && facts.result == "success"
}

/// Its container ran to its end, as far as systemd remembers.
pub(in crate::deployment) fn ran_well(facts: &UnitFacts) -> bool {
    (facts.exec_main_code, facts.exec_main_status) == (1, 0)
}

/// A start whose container was done before anybody could see it up.
pub(in crate::deployment) fn start_ended_well(error: &UnitsError, policy: RestartPolicy) -> bool {
    match error {
        UnitsError::JobFailed {
            facts, job_result, ..
        } => ended_well(facts, policy) && (job_result.as_deref() == Some("done") || ran_well(facts)),
        _ => false,
    }
}

/// A start that did not end with a container that is up, after `took`. One whose container ended by itself is judged by its
/// restart policy, as a later end is: to run it again and again is what `never` forbids.
pub(in crate::deployment) fn of_start(
    error: &UnitsError,
    score: &PodmanV0Score,
    took: Duration,
    end: RunEnd<'_>,
) -> Failure {
    let (facts, checked) = (end.facts, score.health.is_some());
    let job = match error {
        UnitsError::InitFailed { .. } => return of_init(error, end),
        UnitsError::JobFailed { job_result, .. } => job_result.as_deref(),
        _ => None,
    };
    if facts.result == "timeout" || job == Some("timeout") {
        return of_timeout(checked, end);
    }
    // Without a run of its own, what systemd knows is of an older one.
    if error.is_transient() || job == Some("dependency") || facts.exec_main_code == 0 {
        return of_units(error);
    }
    let status = (facts.exec_main_code == 1).then_some(facts.exec_main_status);
    // 125 is podman's own, 126 and 127 say that the command in the container could not be run (podman-run(1)).
    if matches!(status, Some(125..=127)) {
        let detail = format!("the container could not be run: podman {}", facts.describe());
        return failure("exec-failed", detail, Retry::Soon).with_end(end.end(false));
    }
    let killed = status == Some(KILLED) || (status.is_none() && facts.exec_main_status == 9);
    if checked && killed && facts.result != "oom-kill" {
        return unhealthy("its health check failed, and it was killed", end);
    }
    // By the container's own life, where systemd tells it: what it replaced, and init containers, took their time before.
    let early = match facts.lived() {
        Some(lived) => (lived < EARLY).then_some(Some(lived)),
        None => (!checked || took < EARLY).then_some(None),
    };
    stopped(score.restart, early, end)
}

fn of_timeout(checked: bool, end: RunEnd<'_>) -> Failure {
    if checked {
        return unhealthy("it did not become healthy in time", end);
    }
    let detail = "the container did not start in time; it is tried again";
    failure("start-timeout", detail, Retry::Soon).with_end(end.end(false))
}

fn unhealthy(what: &str, end: RunEnd<'_>) -> Failure {
    let detail = format!("the container started, and {what}: look at its log, or correct the health check");
    failure("unhealthy", detail, Retry::Soon).with_end(end.end(false))
}

fn of_init(error: &UnitsError, end: RunEnd<'_>) -> Failure {
    let init = match error {
        UnitsError::InitFailed { unit, .. } => unit.init_name().map(str::to_owned),
        _ => None,
    };
    let detail = format!("{error}; the container waits for it, and systemd runs it again by itself");
    let end = End {
        init,
        ..end.end(false)
    };
    failure(error.kind(), detail, Retry::Soon).with_end(end)
}

/// A unit that was up and is down, or waits for its next automatic restart.
pub(in crate::deployment) fn of_stop(policy: RestartPolicy, end: RunEnd<'_>) -> Failure {
    let facts = end.facts;
    let was_up = facts.active_exit.checked_sub(facts.active_enter);
    let was_up = was_up.filter(|_| !facts.active_enter.is_zero());
    // A run that never came up may find the stamps of one before it.
    let ran = was_up.filter(|_| facts.came_up()).or(facts.lived());
    let ran = ran.filter(|ran| *ran < EARLY);
    stopped(policy, ran.map(Some), end)
}

/// `early` is there when it ended early, with the time that it ran, if that is known.
fn stopped(policy: RestartPolicy, early: Option<Option<Duration>>, end: RunEnd<'_>) -> Failure {
    let facts = end.facts;
    let well = facts.result == "success";
    if well && !facts.is_restarting() {
        let detail = "the unit was stopped on the device, though it is to run; it is started again";
        return failure("unit-stopped", detail, Retry::Soon);
    }
    let after = match early {
        Some(Some(ran)) => format!(" {:.1} s after its start", ran.as_secs_f64()),
        Some(None) => " right after its start".to_owned(),
        None => String::new(),
    };
    let (late, then, retry) = match facts.is_restarting() {
        true => ("container-exited", "; systemd starts it again", Retry::Soon),
        false if policy == RestartPolicy::Never => (
            "container-failed",
            ", and its restart policy does not ask for another run",
            Retry::Never,
        ),
        false => ("container-exited", "", Retry::Soon),
    };
    let kind = if early.is_some() { "exited-early" } else { late };
    let detail = format!("the container {}{after}{then}", facts.describe());
    failure(kind, detail, retry).with_end(end.end(early.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_host::{LoadState, UnitName};

    fn facts(result: &str, code: i32, status: i32) -> UnitFacts {
        UnitFacts {
            load_state: LoadState::Loaded,
            active_state: ActiveState::Failed,
            sub_state: "failed".to_owned(),
            result: result.to_owned(),
            invocation_id: None,
            n_restarts: 0,
            exec_main_code: code,
            exec_main_status: status,
            exec_main_start: Duration::ZERO,
            exec_main_exit: Duration::ZERO,
            state_change_monotonic: Duration::ZERO,
            active_enter: Duration::ZERO,
            active_exit: Duration::ZERO,
            inactive_enter: Duration::ZERO,
            next_restart: None,
            condition_result: true,
            job_pending: false,
        }
    }

    fn failed(facts: &UnitFacts, job: &str) -> UnitsError {
        UnitsError::JobFailed {
            unit: UnitName::of(&"web".parse().unwrap()).unwrap(),
            job_result: Some(job.to_owned()),
            facts: Box::new(facts.clone()),
        }
    }

    fn score(more: &str) -> PodmanV0Score {
        serde_json::from_str(&format!(r#"{{"image":"r.io/a:1"{more}}}"#)).unwrap()
    }

    fn end(facts: &UnitFacts) -> RunEnd<'_> {
        RunEnd {
            facts,
            log: vec!["bad luck".to_owned()],
            next_restart: Some(7),
        }
    }

    /// Of a start that took so many seconds.
    fn start(facts: &UnitFacts, more: &str, took: u64) -> Failure {
        let error = failed(facts, "failed");
        of_start(&error, &score(more), Duration::from_secs(took), end(facts))
    }

    const HEALTH: &str = r#","health":{"command":["/bin/check"]}"#;

    #[test]
    fn a_container_that_ends_during_its_start_is_run_again_only_if_its_policy_says_so() {
        let of = |policy: &str, result, code, status| {
            let more = format!(r#","restart":"{policy}""#);
            let failure = start(&facts(result, code, status), &more, 1);
            (failure.kind.clone(), failure.retry)
        };
        let early = |retry| ("exited-early".to_owned(), retry);
        assert_eq!(of("never", "exit-code", 1, 3), early(Retry::Never));
        assert_eq!(of("on-failure", "exit-code", 1, 3), early(Retry::Soon));
        assert_eq!(of("always", "exit-code", 1, 3), early(Retry::Soon));
        assert_eq!(of("never", "oom-kill", 2, 9), early(Retry::Never));
    }

    #[test]
    fn a_failure_says_how_the_process_ended_and_what_it_said_last() {
        let failure = start(&facts("exit-code", 1, 3), "", 1);
        assert_eq!(
            failure.detail,
            "the container exited with status 3 right after its start"
        );
        let end = failure.end.unwrap();
        assert_eq!(
            (end.exit, end.log.as_slice()),
            (Some(Exit::Status(3)), &["bad luck".to_owned()][..])
        );
        assert!(end.early && end.restarts.is_none() && end.init.is_none());
        let killed = start(&facts("signal", 2, 9), "", 1).end.unwrap();
        assert_eq!(killed.exit, Some(Exit::Signal(9)));
    }

    #[test]
    fn an_end_is_early_by_the_units_stamps() {
        let ran = |seconds: u64| {
            let mut facts = facts("exit-code", 1, 3);
            facts.active_enter = Duration::from_secs(100);
            facts.active_exit = Duration::from_secs(100 + seconds);
            of_stop(RestartPolicy::Always, end(&facts))
        };
        let (early, late) = (ran(4), ran(5));
        assert_eq!(early.kind, "exited-early");
        assert!(early.detail.contains("4.0 s after its start"), "{}", early.detail);
        assert!(early.end.unwrap().early);
        assert_eq!(
            (late.kind.as_str(), late.end.unwrap().early),
            ("container-exited", false)
        );
    }

    #[test]
    fn an_end_is_early_by_the_containers_own_life_whatever_came_before_it() {
        let secs = Duration::from_secs;
        let lived = |seconds: u64| {
            let mut facts = facts("exit-code", 1, 3);
            // An older run was up for long; this one never came up.
            (facts.active_enter, facts.active_exit) = (secs(10), secs(80));
            (facts.exec_main_start, facts.exec_main_exit) = (secs(100), secs(100 + seconds));
            facts
        };
        // The old container's grace period and init containers took most of the start.
        let kind = |facts: &UnitFacts| start(facts, HEALTH, 60).kind;
        assert_eq!(kind(&lived(1)), "exited-early");
        assert_eq!(kind(&lived(6)), "container-exited");
        let stop = |facts: &UnitFacts| of_stop(RestartPolicy::Always, end(facts)).kind;
        assert_eq!(stop(&lived(1)), "exited-early");
        assert_eq!(stop(&lived(6)), "container-exited");
    }

    #[test]
    fn a_crash_loop_is_told_with_its_count_and_next_try() {
        let mut facts = facts("exit-code", 1, 3);
        (facts.active_state, facts.sub_state) = (ActiveState::Activating, "auto-restart".to_owned());
        let restarts = |facts: &UnitFacts| of_stop(RestartPolicy::Always, end(facts)).end.unwrap().restarts;
        assert_eq!(restarts(&facts), None, "one end is no loop");
        facts.n_restarts = 4;
        let told = restarts(&facts).unwrap();
        assert_eq!((told.count, told.next_at), (4, Some(7)));
    }

    #[test]
    fn a_container_that_is_done_is_told_from_one_that_failed_and_from_one_that_never_ran() {
        let start = |code, job: &str, policy| {
            let mut facts = facts("success", code, 0);
            facts.active_state = ActiveState::Inactive;
            start_ended_well(&failed(&facts, job), policy)
        };
        assert!(start(1, "done", RestartPolicy::Never));
        assert!(start(1, "done", RestartPolicy::OnFailure));
        assert!(!start(1, "done", RestartPolicy::Always));
        // Forgotten by systemd, which keeps what failed.
        assert!(start(0, "done", RestartPolicy::Never));
        assert!(!start(0, "canceled", RestartPolicy::Never));
        let error = failed(&facts("exit-code", 1, 3), "failed");
        assert!(!start_ended_well(&error, RestartPolicy::Never));
    }

    #[test]
    fn what_kept_a_container_from_running_at_all_is_tried_again_under_any_policy() {
        let never = r#","restart":"never""#;
        for status in 125..=127 {
            let failure = start(&facts("exit-code", 1, status), never, 1);
            assert_eq!(
                (failure.kind.as_str(), failure.retry),
                ("exec-failed", Retry::Soon)
            );
        }
        let late = start(&facts("timeout", 2, 15), never, 120);
        assert_eq!((late.kind.as_str(), late.retry), ("start-timeout", Retry::Soon));
        let other = start(&facts("resources", 0, 0), never, 1);
        assert_eq!(
            (other.kind.as_str(), other.retry),
            ("container-failed", Retry::Soon)
        );
    }

    #[test]
    fn a_health_check_that_fails_is_told_from_a_container_that_ends() {
        let kind = |facts: &UnitFacts, took| start(facts, HEALTH, took).kind;
        assert_eq!(kind(&facts("exit-code", 1, 137), 60), "unhealthy");
        assert_eq!(kind(&facts("timeout", 2, 15), 60), "unhealthy");
        assert_eq!(kind(&facts("exit-code", 1, 1), 2), "exited-early");
        assert_eq!(kind(&facts("exit-code", 1, 1), 60), "container-exited");
    }

    #[test]
    fn an_init_container_is_named() {
        for (result, code, status, kind) in [
            ("exit-code", 1, 4, "init-failed"),
            ("timeout", 2, 15, "init-timeout"),
        ] {
            let facts = facts(result, code, status);
            let error = UnitsError::InitFailed {
                unit: UnitName::init(&"web".parse().unwrap(), "migrate").unwrap(),
                facts: Box::new(facts.clone()),
            };
            let failure = of_start(&error, &score(""), Duration::ZERO, end(&facts));
            assert_eq!((failure.kind.as_str(), failure.retry), (kind, Retry::Soon));
            assert!(failure.detail.contains("migrate"), "{}", failure.detail);
            let end = failure.end.unwrap();
            assert_eq!((end.init.as_deref(), end.early), (Some("migrate"), false));
        }
    }
}
