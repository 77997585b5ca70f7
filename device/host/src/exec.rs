//! The one place that starts processes.
//!
//! A tool is started by its absolute path, in a process group of its own, with an environment that holds
//! only what rootless podman needs, no standard input, a time limit and bounded output. When the future
//! is dropped the whole group is killed: rootless podman starts itself a second time inside its user
//! namespace, and killing the first one alone would leave the second one at work.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use crate::pause;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Most bytes of standard output that are kept; the rest is read and dropped.
const MAX_STDOUT: usize = 256 * 1024;
/// Most bytes of standard error that are kept: the last ones, since the cause comes last.
const MAX_STDERR: usize = 16 * 1024;
/// Most bytes of a line of standard output that are handed over by [`run_lines`].
const MAX_LINE: usize = 256 * 1024;

/// A program that this crate starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// podman(1).
    Podman,
    /// journalctl(1).
    Journalctl,
    /// Podman's generator for systemd user units, by the name that makes it one: generator(7).
    QuadletGenerator,
}

impl Tool {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Journalctl => "journalctl",
            Self::QuadletGenerator => "podman-user-generator",
        }
    }

    fn path(self, environment: &Environment) -> PathBuf {
        let folder = match self {
            Self::Podman | Self::Journalctl => &environment.tools,
            Self::QuadletGenerator => &environment.generators,
        };
        folder.join(self.name())
    }
}

/// What a tool gets to know, and where tools are.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `HOME`: podman keeps its storage below.
    pub home: PathBuf,
    /// `XDG_RUNTIME_DIR`: podman keeps its locks and namespaces below.
    pub runtime_dir: PathBuf,
    /// `DBUS_SESSION_BUS_ADDRESS`: podman asks systemd for cgroups over it.
    pub session_bus: String,
    /// Folder of the tools: `/usr/bin`. Tests put fakes elsewhere.
    pub tools: PathBuf,
    /// Folder of systemd's user generators: `/usr/lib/systemd/user-generators`. Tests put fakes elsewhere.
    pub generators: PathBuf,
}

/// Why the agent's own environment is not enough.
#[derive(Debug, thiserror::Error)]
#[error("the environment has no {0}: the agent must run as a systemd user unit")]
pub struct EnvironmentError(&'static str);

impl Environment {
    /// Takes `HOME`, `XDG_RUNTIME_DIR` and `DBUS_SESSION_BUS_ADDRESS` of this process. Without the last
    /// one the bus is where systemd puts it: `$XDG_RUNTIME_DIR/bus`.
    ///
    /// # Errors
    /// [`EnvironmentError`] names the variable that is missing.
    pub fn of_this_process() -> Result<Self, EnvironmentError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .ok_or(EnvironmentError(name))
        };
        let runtime_dir = PathBuf::from(variable("XDG_RUNTIME_DIR")?);
        let session_bus = std::env::var("DBUS_SESSION_BUS_ADDRESS")
            .ok()
            .filter(|address| !address.is_empty())
            .unwrap_or_else(|| format!("unix:path={}/bus", runtime_dir.display()));
        Ok(Self {
            home: variable("HOME")?.into(),
            runtime_dir,
            session_bus,
            tools: "/usr/bin".into(),
            generators: "/usr/lib/systemd/user-generators".into(),
        })
    }

    /// Where podman keeps the layers of a pull until they are complete. Its default is `/var/tmp`, which is on the
    /// root file system and counted by nobody; this is on `data`, whose room is checked before a pull.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.home.join(".cache/fleet-pull")
    }

    fn variables(&self) -> [(&'static str, OsString); 6] {
        [
            ("HOME", self.home.clone().into()),
            ("XDG_RUNTIME_DIR", self.runtime_dir.clone().into()),
            ("DBUS_SESSION_BUS_ADDRESS", self.session_bus.clone().into()),
            ("TMPDIR", self.staging().into()),
            // podman looks for conmon, crun, pasta and newuidmap here.
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()),
            // Messages are classified by their words.
            ("LC_ALL", "C.UTF-8".into()),
        ]
    }
}

/// What a tool printed before it ended with status 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// At most 256 KiB, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// The last 16 KiB.
    pub stderr: String,
}

/// A tool that failed.
#[derive(Debug, thiserror::Error)]
#[error("{tool} {args} {status}{}", last_words(stderr))]
pub struct ExecError {
    /// Its name.
    pub tool: &'static str,
    /// Its arguments, joined by spaces.
    pub args: String,
    /// How it ended.
    pub status: ExecStatus,
    /// The end of what it said on standard error.
    pub stderr: String,
}

/// How a tool ended.
#[derive(Debug, thiserror::Error)]
pub enum ExecStatus {
    /// It did not start.
    #[error("could not be started")]
    NotStarted(#[source] std::io::Error),
    /// It ended with another status than 0, or by a signal.
    #[error("ended with {0}")]
    Ended(ExitStatus),
    /// It was killed because its time was over.
    #[error("was killed after {0:?}")]
    TimedOut(Duration),
}

impl ExecError {
    /// The exit status, when it ended by itself.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match &self.status {
            ExecStatus::Ended(status) => status.code(),
            ExecStatus::NotStarted(_) | ExecStatus::TimedOut(_) => None,
        }
    }

    /// Whether it was killed because its time was over.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.status, ExecStatus::TimedOut(_))
    }
}

/// The last line that a tool wrote, as a tail of a sentence.
fn last_words(stderr: &str) -> String {
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}

/// Runs a tool to its end.
///
/// # Errors
/// [`ExecError`] when it does not start, does not end in time, or ends with another status than 0.
pub async fn run(
    environment: &Environment,
    tool: Tool,
    args: &[&str],
    within: Duration,
) -> Result<Output, ExecError> {
    run_watched(environment, tool, args, within, &mut |_| ()).await
}

/// [`run`], with a call for each line on standard error as it comes.
///
/// # Errors
/// As with [`run`].
pub async fn run_watched(
    environment: &Environment,
    tool: Tool,
    args: &[&str],
    within: Duration,
    line: &mut dyn FnMut(&str),
) -> Result<Output, ExecError> {
    let failed = |status, stderr: &[u8]| ExecError {
        tool: tool.name(),
        args: args.join(" "),
        status,
        stderr: String::from_utf8_lossy(stderr).into_owned(),
    };
    if tool == Tool::Podman {
        pause::forget_dead(environment);
    }
    let mut child =
        start(environment, tool, args).map_err(|error| failed(ExecStatus::NotStarted(error), b""))?;
    let mut group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let ended = tokio::time::timeout(within, async {
        tokio::join!(keep_first(out, &mut stdout), keep_last(err, &mut stderr, line));
        child.wait().await
    })
    .await;
    match ended {
        Ok(Ok(status)) => {
            group.is_over();
            if !status.success() {
                return Err(failed(ExecStatus::Ended(status), &stderr));
            }
        }
        Ok(Err(error)) => return Err(failed(ExecStatus::NotStarted(error), &stderr)),
        Err(_) => return Err(failed(ExecStatus::TimedOut(within), &stderr)),
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        stdout: text(&stdout),
        stderr: text(&stderr),
    })
}

/// The reader of a tool's lines wants no more of them.
struct Enough;

/// Runs a tool and hands over each line of its standard output as it comes (without its end, at most 256 KiB of it),
/// until the tool ends or `line` has had enough of it: then it is killed, and that is no failure. Standard error is for
/// [`ExecError`] alone.
///
/// # Errors
/// As with [`run`]; what was handed over until then was handed over.
pub async fn run_lines(
    environment: &Environment,
    tool: Tool,
    args: &[&str],
    within: Duration,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ExecError> {
    let failed = |status, stderr: &[u8]| ExecError {
        tool: tool.name(),
        args: args.join(" "),
        status,
        stderr: String::from_utf8_lossy(stderr).into_owned(),
    };
    let mut child =
        start(environment, tool, args).map_err(|error| failed(ExecStatus::NotStarted(error), b""))?;
    let mut group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut stderr = Vec::new();
    let ended = tokio::time::timeout(within, async {
        let read = async {
            match each_line(out, line).await {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Enough),
            }
        };
        let said = async {
            keep_last(err, &mut stderr, &mut |_| ()).await;
            Ok(())
        };
        match tokio::try_join!(read, said) {
            Ok(_) => Some(child.wait().await),
            Err(Enough) => None,
        }
    })
    .await;
    match ended {
        Ok(None) => Ok(()),
        Ok(Some(Ok(status))) => {
            group.is_over();
            match status.success() {
                true => Ok(()),
                false => Err(failed(ExecStatus::Ended(status), &stderr)),
            }
        }
        Ok(Some(Err(error))) => Err(failed(ExecStatus::NotStarted(error), &stderr)),
        Err(_) => Err(failed(ExecStatus::TimedOut(within), &stderr)),
    }
}

/// Breaks when `line` does.
async fn each_line(
    from: Option<impl AsyncRead + Unpin>,
    line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(from) = from else {
        return ControlFlow::Continue(());
    };
    let mut from = BufReader::with_capacity(16 * 1024, from);
    let mut kept = Vec::new();
    loop {
        let (used, ended) = match from.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(chunk) => {
                let end = chunk.iter().position(|byte| *byte == b'\n');
                let part = &chunk[..end.unwrap_or(chunk.len())];
                let room = MAX_LINE - kept.len();
                kept.extend_from_slice(&part[..part.len().min(room)]);
                (part.len() + usize::from(end.is_some()), end.is_some())
            }
        };
        from.consume(used);
        if ended {
            line(&kept)?;
            kept.clear();
        }
    }
    match kept.is_empty() {
        true => ControlFlow::Continue(()),
        false => line(&kept),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
fn start(environment: &Environment, tool: Tool, args: &[&str]) -> std::io::Result<tokio::process::Child> {
    tokio::process::Command::new(tool.path(environment))
        .args(args)
        .env_clear()
        .envs(environment.variables())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// The process group of a tool; killed when dropped before the tool is over.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        )
    }

    fn is_over(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails only when nothing is left in the group.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn keep_first(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = MAX_STDOUT - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

async fn keep_last(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, line: &mut dyn FnMut(&str)) {
    let Some(from) = from else { return };
    let mut from = BufReader::with_capacity(4096, from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        // `take` bounds a line that never ends.
        match (&mut from)
            .take(MAX_STDERR as u64)
            .read_until(b'\n', &mut bytes)
            .await
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        line(String::from_utf8_lossy(&bytes).trim_end());
        kept.extend_from_slice(&bytes);
        if kept.len() > MAX_STDERR {
            kept.drain(..kept.len() - MAX_STDERR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::podman;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_environment_holds_what_podman_needs_and_nothing_else() {
        let (_dir, environment) =
            podman("/usr/bin/env | /usr/bin/cut -d= -f1 | /usr/bin/sort | /usr/bin/tr '\\n' ' '");
        let names = run(&environment, Tool::Podman, &[], LONG).await.unwrap().stdout;
        let names: Vec<&str> = names
            .split_whitespace()
            .filter(|n| !["PWD", "SHLVL", "_", "OLDPWD"].contains(n))
            .collect();
        assert_eq!(
            names,
            [
                "DBUS_SESSION_BUS_ADDRESS",
                "HOME",
                "LC_ALL",
                "PATH",
                "TMPDIR",
                "XDG_RUNTIME_DIR"
            ]
        );
    }

    #[tokio::test]
    async fn a_failure_says_tool_arguments_status_and_the_last_line() {
        let (_dir, environment) = podman("echo first >&2; echo 'Error: no' >&2; exit 125");
        let error = run(&environment, Tool::Podman, &["pull", "x"], LONG)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(125));
        assert_eq!(
            error.to_string(),
            "podman pull x ended with exit status: 125: Error: no"
        );
    }

    #[tokio::test]
    async fn output_beyond_the_bound_is_dropped_and_does_not_block_the_tool() {
        let (_dir, environment) = podman(
            "/usr/bin/head -c 1000000 /dev/zero; /usr/bin/head -c 1000000 /dev/zero >&2; echo end >&2",
        );
        let output = run(&environment, Tool::Podman, &[], LONG).await.unwrap();
        assert_eq!(output.stdout.len(), MAX_STDOUT);
        assert!(output.stderr.len() <= MAX_STDERR && output.stderr.ends_with("end\n"));
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_a_long_one_is_cut() {
        let (_dir, environment) =
            podman("printf 'one\\n\\n'; /usr/bin/head -c 300000 /dev/zero; printf '\\ntwo'; exit 3");
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut keep = |line: &[u8]| {
            lines.push(line.to_vec());
            ControlFlow::Continue(())
        };
        let error = run_lines(&environment, Tool::Podman, &[], LONG, &mut keep)
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(3));
        assert_eq!((lines.len(), lines[2].len()), (4, MAX_LINE));
        assert_eq!(
            (&lines[0][..], &lines[1][..], &lines[3][..]),
            (&b"one"[..], &b""[..], &b"two"[..])
        );
    }

    #[tokio::test]
    async fn a_tool_of_which_enough_was_read_is_killed_and_that_is_no_failure() {
        let (dir, environment) = podman("echo $$ > $HOME; while :; do echo line; done");
        let mut seen = 0;
        let mut ten = |_: &[u8]| {
            seen += 1;
            match seen < 10 {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        run_lines(&environment, Tool::Podman, &[], LONG, &mut ten)
            .await
            .unwrap();
        assert_eq!(seen, 10);
        is_gone(&dir).await;
    }

    #[tokio::test]
    async fn a_tool_that_takes_too_long_is_killed_with_its_children() {
        let (dir, environment) = podman("/usr/bin/sleep 60 & echo $! > $HOME; wait");
        let error = run(&environment, Tool::Podman, &[], Duration::from_millis(500))
            .await
            .unwrap_err();
        assert!(error.is_timeout(), "{error}");
        is_gone(&dir).await;
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_tool_and_its_children() {
        let (dir, environment) = podman("/usr/bin/sleep 60 & echo $! > $HOME; echo up >&2; wait");
        let (up, seen) = tokio::sync::oneshot::channel();
        let mut up = Some(up);
        let mut line = |_: &str| {
            if let Some(up) = up.take() {
                let _ = up.send(());
            }
        };
        tokio::select! {
            ended = run_watched(&environment, Tool::Podman, &[], LONG, &mut line) => panic!("{ended:?}"),
            up = seen => up.unwrap(),
        }
        is_gone(&dir).await;
    }

    /// Waits until the process whose id the script left in `home` has ended.
    async fn is_gone(dir: &tempfile::TempDir) {
        let id = std::fs::read_to_string(dir.path().join("home")).unwrap();
        let status = format!("/proc/{}/status", id.trim());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let state = std::fs::read_to_string(&status).unwrap_or_default();
            if state.is_empty() || state.contains("State:\tZ") {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
