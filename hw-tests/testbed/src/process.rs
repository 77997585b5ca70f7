//! Starting a service as a child process, waiting until it is ready, and ending it for certain.
//!
//! The child is started through `setpriv --pdeathsig`: the kernel kills it when its parent is gone, also after a `kill -9` of
//! the test. "Parent" means the *thread* that forked, so every child is forked by one thread that lives as long as this
//! process; a child of a short-lived pool thread would vanish with it.

mod child;
mod run;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::files;
use crate::interrupt::Interrupted;
use crate::poll::{self, Unmet};
use child::{GuardedChild, guarded};

pub use run::{RunError, run_shown, run_to_end};

const PAUSE: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 30;

/// What a service could not do. Each text ends with the last lines of its log.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The process could not be started at all.
    #[error("cannot start {name} ({program})", program = program.display())]
    Start {
        /// The service's name.
        name: String,
        /// Its program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready, or when nobody asked it to.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// The service's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It runs, but did not do in time what was waited for.
    #[error("{name}: {timeout}; the end of its log:\n{log}")]
    Late {
        /// The service's name.
        name: String,
        /// What was waited for.
        timeout: poll::Timeout,
        /// The last lines of its log.
        log: String,
    },
    /// A signal could not be sent.
    #[error("cannot send {signal} to {name}")]
    Signal {
        /// The service's name.
        name: String,
        /// The signal.
        signal: Signal,
        /// Why.
        source: nix::Error,
    },
    /// Its state could not be asked for.
    #[error("cannot ask for the state of {name}")]
    State {
        /// The service's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody asked to stop while it was waited for.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// The name used in messages.
    pub name: String,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, besides PATH; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The file that its output is appended to.
    pub log: PathBuf,
}

impl ServiceSpec {
    /// A service without further environment.
    pub fn new<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env: Vec::new(),
            log: log.to_owned(),
        }
    }
}

/// A running child process; dropping it kills it.
#[derive(Debug)]
pub struct Service {
    spec: ServiceSpec,
    child: GuardedChild,
}

impl Service {
    /// Starts the process; it is in a process group of its own, so a Ctrl-C on the terminal reaches only us.
    pub fn start(spec: ServiceSpec) -> Result<Self, ServiceError> {
        let child = logged_command(&spec)
            .and_then(GuardedChild::start)
            .map_err(|source| ServiceError::Start {
                name: spec.name.clone(),
                program: spec.program.clone(),
                source,
            })?;
        Ok(Self { spec, child })
    }

    /// Polls `ready` until it answers `Ok`; ends early with the log when the process has ended meanwhile.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut ready: impl FnMut() -> Result<T, String>,
    ) -> Result<T, ServiceError> {
        let outcome = poll::until(what, deadline, || {
            Ok::<_, Unmet>(match self.child.try_wait() {
                Ok(Some(status)) => Ok(Err(status)),
                _ => ready().map(Ok),
            })
        });
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => Err(self.ended_error(status)),
            Err(unmet) => Err(self.unmet_error(unmet)),
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, what: &str, deadline: Duration) -> Result<ExitStatus, ServiceError> {
        let child = &mut self.child;
        let outcome = poll::until(what, deadline, || Ok::<_, Unmet>(has_ended(child)));
        outcome.map_err(|unmet| self.unmet_error(unmet))
    }

    /// An error when it has ended, though nobody asked it to.
    pub fn check(&mut self) -> Result<(), ServiceError> {
        match self.ended()? {
            Some(status) => Err(self.ended_error(status)),
            None => Ok(()),
        }
    }

    /// SIGTERM, then SIGKILL when it hasn't ended after `grace`, which is an error: it should have ended by itself.
    pub fn stop(mut self, grace: Duration) -> Result<(), ServiceError> {
        self.signal(Signal::SIGTERM)?;
        let child = &mut self.child;
        let waited: Result<_, Unmet> =
            poll::through_interrupts("end after SIGTERM", grace, || Ok(has_ended(child)));
        waited.map(drop).map_err(|unmet| self.unmet_error(unmet))
    }

    /// Sends a signal to the process, which must still run.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServiceError> {
        self.check()?;
        kill(self.pid(), signal).map_err(|source| ServiceError::Signal {
            name: self.name(),
            signal,
            source,
        })
    }

    /// Freezes it (SIGSTOP), and waits until each of its threads stands still: a thread that is at work sees the signal only
    /// some time after `kill` has returned.
    pub fn pause(&mut self) -> Result<(), ServiceError> {
        self.signal(Signal::SIGSTOP)?;
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        self.wait_until("stand still", PAUSE, || running_threads(&tasks))
    }

    /// Ends a [`Service::pause`].
    pub fn resume(&mut self) -> Result<(), ServiceError> {
        self.signal(Signal::SIGCONT)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, ServiceError> {
        self.child.try_wait().map_err(|source| ServiceError::State {
            name: self.spec.name.clone(),
            source,
        })
    }

    /// The process id. It is the program's own: `setpriv` replaces itself with it.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("Linux process ids fit in 22 bits"))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        files::tail(&self.spec.log, TAIL_LINES)
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    fn name(&self) -> String {
        self.spec.name.clone()
    }

    fn ended_error(&self, status: ExitStatus) -> ServiceError {
        ServiceError::Ended {
            name: self.name(),
            status,
            log: self.log_tail(),
        }
    }

    fn unmet_error(&self, unmet: Unmet) -> ServiceError {
        match unmet {
            Unmet::Late(timeout) => ServiceError::Late {
                name: self.name(),
                timeout,
                log: self.log_tail(),
            },
            Unmet::Interrupted(interrupted) => interrupted.into(),
        }
    }
}

fn has_ended(child: &mut GuardedChild) -> Result<ExitStatus, String> {
    match child.try_wait() {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err("it still runs".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn logged_command(spec: &ServiceSpec) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(&spec.log)?;
    let mut command = guarded(&spec.program, &spec.args);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(spec.env.iter().map(|(k, v)| (k, v)));
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// The state is the first field after the program's name, which stands in parentheses and can hold anything.
fn running_threads(tasks: &Path) -> Result<(), String> {
    let entries = fs::read_dir(tasks).map_err(|error| error.to_string())?;
    let is_stopped = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
    let stats = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    match stats.filter(|stat| !is_stopped(stat)).count() {
        0 => Ok(()),
        running => Err(format!("{running} threads still run")),
    }
}

#[cfg(test)]
mod tests {
    use super::child::SETPRIV;
    use super::*;

    fn shell(script: &str, folder: &Path) -> Service {
        let spec = ServiceSpec::new(
            "a shell",
            Path::new("/bin/sh"),
            ["-c", script],
            &folder.join("log"),
        );
        Service::start(spec).expect("the shell starts")
    }

    fn is_alive(pid: Pid) -> bool {
        kill(pid, None).is_ok()
    }

    #[test]
    fn a_dropped_service_is_gone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let service = shell("trap '' TERM; while :; do sleep 1; done", folder.path());
        let pid = service.pid();
        assert!(is_alive(pid));
        drop(service);
        assert!(!is_alive(pid));
    }

    #[test]
    fn the_kernel_ends_a_service_whose_parent_was_killed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let spec = ServiceSpec::new(
            "a look",
            Path::new(SETPRIV),
            ["--dump"],
            &folder.path().join("log"),
        );
        let mut service = Service::start(spec).expect("it starts");
        service
            .wait("end", Duration::from_secs(5))
            .expect("it only looks and ends");
        let seen = service.log_tail();
        assert!(seen.contains("Parent death signal: KILL"), "{seen}");
    }

    #[test]
    fn a_service_outlives_the_thread_that_started_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().to_owned();
        let mut service = std::thread::spawn(move || shell("echo up; exec sleep 60", &path))
            .join()
            .expect("the starting thread ends well");
        let log = service.log().to_owned();
        service
            .wait_until("the line", Duration::from_secs(5), || {
                let text = files::tail(&log, 1);
                if text == "up" { Ok(()) } else { Err(text) }
            })
            .expect("it says that it is up");
        assert!(service.ended().expect("its state").is_none());
    }

    #[test]
    fn a_service_that_dies_early_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut service = shell("echo no such setting >&2; exit 3", folder.path());
        let error = service
            .wait_until::<()>("be ready", Duration::from_secs(5), || Err("not ready".into()))
            .expect_err("it ended");
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("no such setting"),
            "{text}"
        );
    }

    #[test]
    fn a_service_that_ignores_sigterm_is_killed_and_reported() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut service = shell("trap '' TERM; echo up; while :; do sleep 1; done", folder.path());
        let log = service.log().to_owned();
        service
            .wait_until("the trap", Duration::from_secs(5), || {
                if files::tail(&log, 1) == "up" {
                    Ok(())
                } else {
                    Err("no line yet".into())
                }
            })
            .expect("it traps");
        let pid = service.pid();
        let error = service
            .stop(Duration::from_millis(50))
            .expect_err("it does not end");
        assert!(error.to_string().contains("end after SIGTERM"), "{error}");
        assert!(!is_alive(pid));
    }
}
