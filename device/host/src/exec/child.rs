//! The process of a tool, and all that it starts.

use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Environment, Tool};

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub(super) fn start(
    environment: &Environment,
    tool: Tool,
    args: &[&str],
) -> std::io::Result<tokio::process::Child> {
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
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &tokio::process::Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        )
    }

    /// There is nothing left to kill.
    pub(super) fn is_over(&mut self) {
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
