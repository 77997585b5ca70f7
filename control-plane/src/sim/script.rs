//! What a simulated device does with one deployment: phases, and when the next one is due. Pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::state::{MAX_MARKS, PhaseMark, PullProgress, Running};
use fleet_protocol::{Cause, DeploymentName, DeploymentState, PROTOCOL_VERSION, Phase};

/// Layers of every simulated image.
const LAYERS: u32 = 4;

/// A deployment on a simulated device.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    name: DeploymentName,
    image: String,
    state: DeploymentState,
}

/// Chance, given from outside so that tests own it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dice {
    /// The start will fail.
    pub fails: bool,
    /// Time until the next step.
    pub wait: Duration,
}

impl Script {
    /// Takes up a desired state.
    #[must_use]
    pub fn new(name: DeploymentName, image: String, generation: u64, now: DateTime<Utc>) -> Self {
        Self {
            name,
            image,
            state: fresh(generation, None, now),
        }
    }

    /// Takes up another generation; what runs goes on until it is replaced.
    pub fn change(&mut self, image: String, generation: u64, now: DateTime<Utc>) {
        self.image = image;
        self.state = fresh(generation, self.state.running.take(), now);
    }

    /// What is reported.
    #[must_use]
    pub fn state(&self) -> &DeploymentState {
        &self.state
    }

    /// Does the next step; gives the time until the one after it, or nothing when it is at rest.
    pub fn step(&mut self, dice: Dice, now: DateTime<Utc>) -> Option<Duration> {
        let still_pulling = self.pull_goes_on();
        match self.state.phase {
            Phase::Pending => self.pull(now),
            Phase::Pulling if still_pulling => {}
            Phase::Pulling if self.state.running.is_some() => self.enter(Phase::Upgrading, now),
            Phase::Pulling | Phase::Upgrading => self.enter(Phase::Starting, now),
            Phase::Starting if dice.fails => self.fail(dice.wait * 8, now),
            Phase::Starting => self.run(now),
            Phase::Failed => {
                self.state.cause = None;
                self.state.next_try_at = None;
                self.enter(Phase::Starting, now);
            }
            Phase::Running | Phase::Finished | Phase::Removing | Phase::Unknown(_) => return None,
        }
        match self.state.phase {
            Phase::Running => None,
            Phase::Failed => Some(dice.wait * 8),
            _ => Some(dice.wait),
        }
    }

    fn pull(&mut self, now: DateTime<Utc>) {
        self.enter(Phase::Pulling, now);
        self.state.progress = Some(PullProgress {
            layers_done: 0,
            layers_total: LAYERS,
            bytes: None,
        });
    }

    fn pull_goes_on(&mut self) -> bool {
        match &mut self.state.progress {
            Some(progress) if progress.layers_done < progress.layers_total => {
                progress.layers_done += 2;
                true
            }
            _ => false,
        }
    }

    fn fail(&mut self, wait: Duration, now: DateTime<Utc>) {
        self.state.failed_tries += 1;
        self.state.cause = Some(Cause::new(
            "start-failed",
            "the container ended with status 1 right after its start (simulated): look at its log, then apply again",
        ));
        self.state.next_try_at = TimeDelta::from_std(wait).ok().map(|wait| now + wait);
        self.enter(Phase::Failed, now);
    }

    fn run(&mut self, now: DateTime<Utc>) {
        self.state.running = Some(Running {
            generation: self.state.observed_generation,
            image: self.image.clone(),
            digest: None,
            unit: format!("fleet-{}.service", self.name),
            invocation_id: format!("{:032x}", now.timestamp_micros()),
            started_at: now,
        });
        self.enter(Phase::Running, now);
    }

    fn enter(&mut self, phase: Phase, now: DateTime<Utc>) {
        self.state.progress = None;
        self.state.since = now;
        if self.state.marks.len() == MAX_MARKS {
            self.state.marks.remove(0);
        }
        self.state.marks.push(PhaseMark {
            phase: phase.clone(),
            at: now,
        });
        self.state.phase = phase;
    }
}

fn fresh(generation: u64, running: Option<Running>, now: DateTime<Utc>) -> DeploymentState {
    DeploymentState {
        protocol: PROTOCOL_VERSION,
        observed_generation: generation,
        phase: Phase::Pending,
        since: now,
        cause: None,
        progress: None,
        running,
        next_try_at: None,
        init: None,
        cutover: None,
        crash_loop: None,
        failed_tries: 0,
        marks: vec![PhaseMark {
            phase: Phase::Pending,
            at: now,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(10);

    fn phases(script: &Script) -> Vec<&str> {
        script
            .state()
            .marks
            .iter()
            .map(|mark| mark.phase.as_str())
            .collect()
    }

    fn drive(script: &mut Script, mut fails: u32) {
        while script
            .step(
                Dice {
                    fails: fails > 0,
                    wait: WAIT,
                },
                DateTime::UNIX_EPOCH,
            )
            .is_some()
        {
            if script.state().phase == Phase::Failed {
                fails -= 1;
            }
        }
    }

    #[test]
    fn a_first_start_pulls_and_starts_and_a_change_upgrades() {
        let mut script = Script::new("web".parse().unwrap(), "r/a:1".into(), 1, DateTime::UNIX_EPOCH);
        drive(&mut script, 0);
        assert_eq!(phases(&script), ["Pending", "Pulling", "Starting", "Running"]);
        script.change("r/a:2".into(), 2, DateTime::UNIX_EPOCH);
        assert_eq!(
            script.state().running.as_ref().map(|running| running.generation),
            Some(1)
        );
        drive(&mut script, 0);
        assert_eq!(
            phases(&script),
            ["Pending", "Pulling", "Upgrading", "Starting", "Running"]
        );
        assert_eq!(
            script.state().running.as_ref().map(|running| running.generation),
            Some(2)
        );
    }

    #[test]
    fn a_failure_says_why_and_is_tried_again() {
        let mut script = Script::new("web".parse().unwrap(), "r/a:1".into(), 1, DateTime::UNIX_EPOCH);
        while script.state().phase != Phase::Failed {
            script.step(
                Dice {
                    fails: true,
                    wait: WAIT,
                },
                DateTime::UNIX_EPOCH,
            );
        }
        assert!(script.state().cause.is_some() && script.state().next_try_at.is_some());
        drive(&mut script, 1);
        assert_eq!(script.state().phase, Phase::Running);
        assert_eq!(
            (script.state().failed_tries, script.state().cause.is_none()),
            (2, true)
        );
    }
}
