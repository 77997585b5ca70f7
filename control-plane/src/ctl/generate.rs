//! Completion scripts and manual pages, made from the command line itself.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::error::{CtlError, Exit};
use super::terminal::Terminal;

pub(super) fn completion(shell: Shell, terminal: &mut Terminal) -> Result<(), CtlError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fleetctl", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))
}

pub(super) fn man(dir: &Path, terminal: &mut Terminal) -> Result<(), CtlError> {
    let failed = |error: std::io::Error| {
        CtlError::new(
            Exit::Failed,
            format!("{} cannot be written", dir.display()),
            error.to_string(),
        )
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    terminal.line(&format!(
        "manual pages are in {}: man -l {}/fleetctl.1",
        dir.display(),
        dir.display()
    ))
}
