//! The one place where this crate starts programs: absolute paths, an empty environment.

use std::io;
use std::process::{Command, Stdio};

/// Runs a program to its end and returns what it printed.
///
/// There is no timeout here: the unit has one, and a storage tool that is killed half-way is worse than a slow one.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the crate's one place where processes start"
)]
pub(crate) fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("LC_ALL", "C.UTF-8")
        // systemd passes descriptors that LVM would complain about.
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!(
        "`{program} {}` ended with {}: {said}",
        arguments.join(" "),
        output.status
    )))
}
