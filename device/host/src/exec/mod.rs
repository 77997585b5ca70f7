//! The one place that starts processes.
//!
//! A tool is started by its absolute path, in a process group of its own, with an environment that holds
//! only what rootless podman needs, no standard input, a time limit and bounded output. When the future
//! is dropped the whole group is killed: rootless podman starts itself a second time inside its user
//! namespace, and killing the first one alone would leave the second one at work.

mod child;
mod environment;
mod error;
mod streams;

pub use environment::{Environment, EnvironmentError, Tool};
pub use error::{ExecError, ExecStatus};

use std::ops::ControlFlow;
use std::time::Duration;

use crate::pause;
use child::{Group, start};
use streams::{each_line, keep_first, keep_last};

/// What a tool printed before it ended with status 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// At most 256 KiB, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// The last 16 KiB.
    pub stderr: String,
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

#[cfg(test)]
mod tests {
    use super::streams::{MAX_LINE, MAX_STDERR, MAX_STDOUT};
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
