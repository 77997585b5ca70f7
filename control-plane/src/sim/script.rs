//! What a simulated device does with one deployment: phases, and when the next one is due. Pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::cause::Exit;
use fleet_protocol::state::{CrashLoop, Cutover, InitProgress, MAX_MARKS, PhaseMark, PullProgress, Running};
use fleet_protocol::{Cause, DeploymentName, DeploymentState, PROTOCOL_VERSION, Phase, Score};

/// Layers of every simulated image.
const LAYERS: u32 = 4;
/// Failed tries after which systemd starts the container again and again by itself.
const CRASH_LOOP_AFTER: u32 = 2;

/// What a specification asks for, as far as a simulated device cares.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    image: String,
    inits: Vec<String>,
    grace: Duration,
}

impl Asked {
    /// From a score.
    #[must_use]
    pub fn of(score: &Score) -> Self {
        let Score::PodmanV0(score) = score;
        Self {
            image: score.image.to_string(),
            inits: score
                .init_containers
                .iter()
                .map(|init| init.name.clone())
                .collect(),
            grace: score.lifecycle().grace_period.duration(),
        }
    }
}

/// A deployment on a simulated device.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    name: DeploymentName,
    asked: Asked,
    state: DeploymentState,
    /// The version that is being replaced: its generation, and how long its end took.
    replaced: Option<(u64, Duration)>,
    /// Since when nothing serves.
    down_since: Option<DateTime<Utc>>,
    /// How often its main container was started, over all generations.
    runs: u32,
}

/// Chance, given from outside so that tests own it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dice {
    /// The start will fail.
    pub fails: bool,
    /// Which way of two or more, 0 to 1.
    pub way: f64,
    /// Time until the next step.
    pub wait: Duration,
}

impl Script {
    /// Takes up a desired state.
    #[must_use]
    pub fn new(name: DeploymentName, asked: Asked, generation: u64, now: DateTime<Utc>) -> Self {
        Self {
            name,
            asked,
            state: fresh(generation, None, now),
            replaced: None,
            down_since: None,
            runs: 0,
        }
    }

    /// One whose desired state cannot be read.
    #[must_use]
    pub fn refused(name: DeploymentName, now: DateTime<Utc>) -> Self {
        let asked = Asked {
            image: String::new(),
            inits: Vec::new(),
            grace: Duration::ZERO,
        };
        Self::new(name, asked, 0, now)
    }

    /// Takes up another generation; what runs goes on until it is replaced.
    pub fn change(&mut self, asked: Asked, generation: u64, now: DateTime<Utc>) {
        self.asked = asked;
        self.state = fresh(generation, self.state.running.take(), now);
    }

    /// What is reported.
    #[must_use]
    pub fn state(&self) -> &DeploymentState {
        &self.state
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DeploymentName {
        &self.name
    }

    /// The names of its init containers, in order.
    #[must_use]
    pub fn inits(&self) -> &[String] {
        &self.asked.inits
    }

    /// How often its main container was started.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Does the next step; gives the time until the one after it, or nothing when it is at rest.
    pub fn step(&mut self, dice: Dice, now: DateTime<Utc>) -> Option<Duration> {
        let still_pulling = self.pull_goes_on();
        match self.state.phase {
            Phase::Pending => self.pull(now),
            Phase::Pulling if still_pulling => {}
            Phase::Pulling if self.state.running.is_some() => self.enter(Phase::Upgrading, now),
            Phase::Pulling => self.start(now),
            Phase::Upgrading => {
                self.stop(dice, now);
                self.start(now);
            }
            Phase::Starting if dice.fails => self.fail(dice, now),
            Phase::Starting if self.state.init.is_some() => self.next_init(),
            Phase::Starting => self.run(now),
            Phase::Failed => self.start(now),
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

    /// The old container ends: most at once, some only when they are killed.
    fn stop(&mut self, dice: Dice, now: DateTime<Utc>) {
        let Some(old) = self.state.running.take() else {
            return;
        };
        let took = if dice.way < 0.05 {
            self.asked.grace
        } else {
            (dice.wait / 10).min(self.asked.grace)
        };
        self.replaced = Some((old.generation, took));
        self.down_since = Some(now);
    }

    fn start(&mut self, now: DateTime<Utc>) {
        self.state.cause = None;
        self.state.next_try_at = None;
        self.enter(Phase::Starting, now);
        self.state.init = self.init(0);
    }

    fn init(&self, index: usize) -> Option<InitProgress> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(InitProgress {
            name: self.asked.inits.get(index)?.clone(),
            step: count(index + 1),
            of: count(self.asked.inits.len()),
        })
    }

    /// Goes on to the next init container, or to the main one.
    fn next_init(&mut self) {
        let done = self.state.init.take().map_or(0, |init| init.step);
        self.state.init = self.init(done as usize);
    }

    /// What is being started fails: an init container if one runs, else the main container, in one of a few ways.
    fn fail(&mut self, dice: Dice, now: DateTime<Utc>) {
        self.state.failed_tries += 1;
        self.state.next_try_at = TimeDelta::from_std(dice.wait * 8).ok().map(|wait| now + wait);
        self.state.cause = Some(match &self.state.init {
            Some(init) => init_failure(&init.name, dice.way),
            None => main_failure(dice.way),
        });
        if self.state.init.is_none() && self.state.failed_tries >= CRASH_LOOP_AFTER {
            self.state.crash_loop = Some(CrashLoop {
                restarts: self.state.failed_tries,
                next_restart_at: self.state.next_try_at,
            });
        }
        self.enter(Phase::Failed, now);
    }

    fn run(&mut self, now: DateTime<Utc>) {
        self.runs += 1;
        self.state.running = Some(Running {
            generation: self.state.observed_generation,
            image: self.asked.image.clone(),
            digest: None,
            unit: format!("fleet-{}.service", self.name),
            invocation_id: format!("{:032x}", now.timestamp_micros()),
            started_at: now,
        });
        let down = self.down_since.take().map(|since| now - since);
        if let (Some((from_generation, stop)), Some(down)) = (self.replaced.take(), down) {
            self.state.cutover = Some(Cutover {
                from_generation,
                stop_millis: u64::try_from(stop.as_millis()).unwrap_or(u64::MAX),
                down_millis: u64::try_from(down.num_milliseconds()).unwrap_or(0),
            });
        }
        self.state.crash_loop = None;
        self.enter(Phase::Running, now);
    }

    fn enter(&mut self, phase: Phase, now: DateTime<Utc>) {
        self.state.progress = None;
        self.state.init = None;
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

fn init_failure(name: &str, way: f64) -> Cause {
    let mut cause = if way < 0.8 {
        Cause::new(
            "init-failed",
            format!(
                "the init container {name} ended with exit status 1, so the main container was not started (simulated): look at its log, \
                 then correct the specification; it is run again by itself"
            ),
        )
    } else {
        Cause::new(
            "init-timeout",
            format!(
                "the init container {name} took longer than its timeout and was killed (simulated): look at its log, or give it more time"
            ),
        )
    };
    cause.exit = Some(if way < 0.8 {
        Exit::Status(1)
    } else {
        Exit::Signal(9)
    });
    cause.init = Some(name.to_owned());
    cause.with_log(&[
        format!("{name}: opening the database"),
        "error: column \"price\" of relation \"items\" already exists".to_owned(),
    ])
}

fn main_failure(way: f64) -> Cause {
    let (kind, detail, exit) = if way < 0.6 {
        (
            "exited-early",
            "the container ended with exit status 1 right after its start (simulated): look at its log, then apply again",
            Some(Exit::Status(1)),
        )
    } else if way < 0.8 {
        (
            "exec-failed",
            "the container's program cannot be run: /app/server is not there (simulated): correct args or image, then apply again",
            Some(Exit::Status(127)),
        )
    } else {
        (
            "unhealthy",
            "the container's health check failed three times (simulated): look at its log, then apply again",
            None,
        )
    };
    let mut cause = Cause::new(kind, detail);
    cause.exit = exit;
    cause.with_log(&[
        "starting".to_owned(),
        "\u{1b}[31merror\u{1b}[0m: cannot bind port 8080: address in use".to_owned(),
    ])
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
mod tests;
