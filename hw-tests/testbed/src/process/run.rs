//! Programs that run to their end.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use super::child::{GuardedChild, guarded};
use crate::files;
use crate::poll::{self, Unmet};

/// A program that fails repeats itself; what counts is said last.
const SAID_LINES: usize = 3;

/// A program that runs to its end did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start {name}")]
    Start {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{name} failed ({status}): {said}")]
    Failed {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its standard error.
        said: String,
    },
    /// It took too long or was interrupted, and was killed.
    #[error(transparent)]
    Unmet(#[from] Unmet),
}

/// Runs a short program to its end with the caller's environment, and gives its standard output.
pub fn run_to_end<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> Result<Vec<u8>, RunError> {
    let name = program.display().to_string();
    let output = guarded(program, args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| RunError::Start {
            name: name.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RunError::Failed {
        name,
        status: output.status,
        said: files::last_lines(&said, SAID_LINES),
    })
}

/// Runs a program to its end with the caller's environment and both its outputs on our standard error, live, for a person to
/// follow. It is killed when it takes longer than `deadline`, or when somebody asks us to stop.
pub fn run_shown<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    deadline: Duration,
) -> Result<(), RunError> {
    let name = program.display().to_string();
    let mut command = guarded(program, args);
    command.stdout(io::stderr());
    let mut child = GuardedChild::start(command).map_err(|source| RunError::Start {
        name: name.clone(),
        source,
    })?;
    let status = poll::until(format!("the end of {name}"), deadline, || {
        Ok::<_, RunError>(match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    })?;
    if status.success() {
        return Ok(());
    }
    let said = "see above".to_owned();
    Err(RunError::Failed { name, status, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &str = "/bin/sh";
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_that_ended_well_gives_its_output_and_a_failed_one_its_words() {
        let output = run_to_end(Path::new(SHELL), ["-c", "echo done"]).expect("it ends well");
        assert_eq!(output, b"done\n");
        let error = run_to_end(Path::new(SHELL), ["-c", "echo no such image >&2; exit 3"]).expect_err("3");
        assert!(error.to_string().contains("no such image"), "{error}");
    }

    #[test]
    fn a_shown_program_dies_with_us_and_its_status_counts() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("state");
        // In place of the shell, since the signal is not handed on to children.
        let script = format!("exec /usr/bin/setpriv --dump >{}", file.display());
        run_shown(Path::new(SHELL), ["-c", &script], LONG).expect("it ends well");
        let state = std::fs::read_to_string(&file).expect("it wrote");
        assert!(state.contains("Parent death signal: KILL"), "{state}");
        let error = run_shown(Path::new(SHELL), ["-c", "exit 3"], LONG).expect_err("3");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_shown_program_that_takes_too_long_is_killed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("pid");
        let script = format!("echo $$ >{}; exec sleep 60", file.display());
        let error = run_shown(Path::new(SHELL), ["-c", &script], Duration::from_secs(1)).expect_err("late");
        assert!(matches!(error, RunError::Unmet(Unmet::Late(_))), "{error}");
        let pid = std::fs::read_to_string(&file).expect("it came that far");
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }
}
