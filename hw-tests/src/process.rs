//! The one place of this crate that starts processes.
//!
//! Every lasting child is started through `setpriv --pdeathsig KILL`, so the kernel ends it when we are gone, also after a
//! `kill -9` of the test. The kernel takes "parent" to be the *thread* that forked, therefore one thread that lives as
//! long as the process forks them all; a child of a short-lived test thread would vanish with that thread.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use crate::error::Fault;
use crate::poll;

const SETPRIV: &str = "/usr/bin/setpriv";
const TAIL_BYTES: usize = 2000;

/// A running child; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    program: String,
    log: PathBuf,
}

impl Guarded {
    /// Starts `program` (absolute) in its own process group, so that a Ctrl-C on the terminal reaches only us. Its output
    /// is appended to `log`.
    pub(crate) fn start(program: &Path, args: &[OsString], log: &Path) -> Result<Self, Fault> {
        let name = program.display().to_string();
        let child = guarded(program, args, log)
            .and_then(fork)
            .map_err(|source| Fault::Start {
                program: name.clone(),
                source,
            })?;
        Ok(Self {
            child,
            program: name,
            log: log.to_owned(),
        })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Fault> {
        self.child.try_wait().map_err(|source| Fault::Start {
            program: self.program.clone(),
            source,
        })
    }

    /// Kills it and waits for its end; files it held locked are free afterwards.
    pub(crate) fn kill(&mut self) {
        // Either fails only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ended by itself.
    pub(crate) fn wait(&mut self, what: &str, deadline: Duration) -> Result<ExitStatus, Fault> {
        poll::until(what, deadline, || {
            Ok(self
                .ended()?
                .ok_or_else(|| format!("process {} still runs", self.child.id())))
        })
    }

    /// The last lines it wrote.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `program` to its end; gives its standard output.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place of this crate that starts processes"
)]
pub(crate) fn run(program: &Path, args: &[OsString]) -> Result<Vec<u8>, Fault> {
    let name = program.display().to_string();
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Fault::Start {
            program: name.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Fault::Tool {
        program: name,
        status: output.status,
        said,
    })
}

/// Runs `program` to its end with both its outputs on our standard error, for a person to follow.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place of this crate that starts processes"
)]
pub(crate) fn run_shown(program: &Path, args: &[OsString]) -> Result<(), Fault> {
    let name = program.display().to_string();
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()))
        .status()
        .map_err(|source| Fault::Start {
            program: name.clone(),
            source,
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Fault::Tool {
        program: name,
        status,
        said: "see above".to_owned(),
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place of this crate that starts processes"
)]
fn guarded(program: &Path, args: &[OsString], log: &Path) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(SETPRIV);
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(args);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

type Order = (Command, Sender<io::Result<Child>>);

fn fork(command: Command) -> io::Result<Child> {
    static FORKER: OnceLock<Sender<Order>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (orders, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // The asker blocks on the answer; it can only be gone when the whole process is ending.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    forker
        .send((command, answer))
        .expect("the forking thread lasts: its sender is static");
    child.recv().expect("the forking thread answers each order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Guarded {
        let args = ["-c".into(), script.into()];
        Guarded::start(Path::new("/bin/sh"), &args, &folder.join("log")).expect("a shell starts")
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = shell("trap '' TERM; while :; do sleep 1; done", folder.path());
        let process = PathBuf::from(format!("/proc/{}", child.child.id()));
        assert!(process.exists());
        drop(child);
        assert!(!process.exists());
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_owned();
        let mut child = std::thread::spawn(move || shell("exec sleep 60", &path))
            .join()
            .expect("the thread ends well");
        let early = child.wait("an early death", Duration::from_millis(300));
        assert!(matches!(early, Err(Fault::Late { .. })), "{early:?}");
    }

    #[test]
    fn a_failed_tool_is_reported_with_its_words() {
        let error = run(
            Path::new("/bin/sh"),
            &["-c".into(), "echo no such image >&2; exit 3".into()],
        )
        .expect_err("3");
        assert!(error.to_string().contains("no such image"), "{error}");
    }
}
