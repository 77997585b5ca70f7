//! The one place of this crate that starts programs. A child ends when this process is interrupted or dies.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fleet_testbed::progress::Progress;
use fleet_testbed::{files, interrupt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SETPRIV: &str = "/usr/bin/setpriv";
const LOOK: Duration = Duration::from_millis(20);
/// A Ctrl-C on the terminal reaches the child as well: it gets this long to act on it before it gets SIGTERM.
const BY_ITSELF: Duration = Duration::from_secs(1);
/// Long, since a package manager that is in the middle of something must not be killed lightly.
const AFTER_TERM: Duration = Duration::from_secs(60);
const TAIL_LINES: usize = 30;

/// A program with its arguments.
#[derive(Debug, Clone)]
pub struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: PathBuf,
    guarded: bool,
}

impl Tool {
    /// A program, found on the PATH unless it is a path, that will run in `folder`.
    pub fn new(program: impl AsRef<OsStr>, folder: &Path) -> Self {
        let program = program.as_ref().to_owned();
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.to_owned(),
            guarded: true,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment; the rest is inherited.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Lets it finish when this process is killed: for a package manager.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.guarded = false;
        self
    }

    /// The command as a person would type it.
    pub fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it with our own output: for programs that show their own progress.
    pub fn run(&self) -> Result<()> {
        let mut child = self.spawn(self.command())?;
        let status = wait(&mut child, || {})?;
        if status.success() {
            Ok(())
        } else {
            bail!("`{}` failed ({status})", self.display())
        }
    }

    /// Runs it with its output in a log, and shows `title` with the log's last line meanwhile. The log is shown on failure.
    pub fn run_behind(&self, title: &str) -> Result<()> {
        let log = tempfile::NamedTempFile::new().context("cannot make a file for the log")?;
        let mut command = self.command();
        let output = |file: &File| file.try_clone().context("cannot share the log");
        command
            .stdin(Stdio::null())
            .stdout(output(log.as_file())?)
            .stderr(output(log.as_file())?);
        let mut progress = Progress::start(title);
        let mut child = self.spawn(command)?;
        let status = wait(&mut child, || progress.tick(|| files::tail(log.path(), 1)))?;
        progress.finish(if status.success() { "done" } else { "failed" });
        if status.success() {
            return Ok(());
        }
        bail!(
            "`{}` failed ({status}):\n{}",
            self.display(),
            files::tail(log.path(), TAIL_LINES)
        )
    }

    /// Runs it and gives its standard output, whatever its status; its standard error is part of a failure.
    pub fn output(&self) -> Result<Output> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.cannot_start(error))?;
        interrupt::check()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output {
            status: output.status,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        })
    }

    /// Runs it and gives its standard output; a status other than 0 is an error.
    pub fn text(&self) -> Result<String> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        bail!(
            "`{}` failed ({}): {}",
            self.display(),
            output.status,
            output.stderr.trim()
        )
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place of this crate that starts programs"
    )]
    fn command(&self) -> Command {
        let mut command = if self.guarded && Path::new(SETPRIV).exists() {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        for (name, _) in std::env::vars_os() {
            if is_of_cargo_run(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        command
    }

    fn spawn(&self, mut command: Command) -> Result<Child> {
        interrupt::check()?;
        command.spawn().map_err(|error| self.cannot_start(error))
    }

    fn cannot_start(&self, error: io::Error) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("cannot start `{}`", self.display()))
    }
}

/// Whether `cargo run` set it for this program. A cargo that we start would take it for a person's setting: ring's build script looks
/// at these, so each `cargo xtask` would build ring, and all that stands on it, twice.
fn is_of_cargo_run(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    prefixes.iter().any(|prefix| variable.starts_with(prefix))
        || ["CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&variable)
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

fn wait(child: &mut Child, mut meanwhile: impl FnMut()) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("cannot ask for the state of a child")? {
            interrupt::check()?;
            return Ok(status);
        }
        if interrupt::requested() {
            end(child)?;
            bail!("interrupted");
        }
        meanwhile();
        sleep(LOOK);
    }
}

fn end(child: &mut Child) -> Result<()> {
    if ends_within(child, BY_ITSELF)? {
        return Ok(());
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids fit in 22 bits"));
    // Fails for a child with other rights (sudo), which passes on the terminal's signal itself.
    let _ = kill(pid, Signal::SIGTERM);
    if ends_within(child, AFTER_TERM)? {
        return Ok(());
    }
    child.kill().context("cannot kill a child that does not end")?;
    child.wait().map(drop).context("cannot wait for a killed child")
}

fn ends_within(child: &mut Child, time: Duration) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < time {
        if child
            .try_wait()
            .context("cannot ask for the state of a child")?
            .is_some()
        {
            return Ok(true);
        }
        sleep(LOOK);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool::new("/bin/sh", Path::new("/")).args(["-c", script])
    }

    #[test]
    fn a_failure_names_the_command_the_status_and_what_it_said() {
        let error = shell("echo no such disk >&2; exit 4")
            .text()
            .expect_err("it fails")
            .to_string();
        assert!(
            error.contains("exit 4` failed (exit status: 4): no such disk"),
            "{error}"
        );
        let error = shell("echo half done; exit 5")
            .run_behind("a step")
            .expect_err("it fails")
            .to_string();
        assert!(
            error.contains("exit status: 5") && error.contains("half done"),
            "{error}"
        );
    }

    #[test]
    fn variables_are_handed_on() {
        assert_eq!(
            shell("printf %s \"$WORD\"")
                .env("WORD", "two words")
                .text()
                .expect("it runs"),
            "two words"
        );
    }

    #[test]
    fn what_cargo_run_set_for_us_is_not_handed_on() {
        assert!(
            std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
            "cargo runs this test"
        );
        let seen = shell("printf '%s' \"$CARGO_MANIFEST_DIR$CARGO_PKG_NAME\"");
        assert_eq!(seen.text().expect("it runs"), "");
        assert!(
            !is_of_cargo_run("CARGO_HOME")
                && !is_of_cargo_run("CARGO_TARGET_DIR")
                && !is_of_cargo_run("CARGO")
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Tool::new("/nonexistent/tool", Path::new("/"))
            .unguarded()
            .run()
            .expect_err("it is not there");
        assert!(
            error.to_string().contains("cannot start `/nonexistent/tool`"),
            "{error}"
        );
    }
}
