//! Everything that can be judged without running the product. Each check runs, whatever the others found.

mod links;
mod shell;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process::Tool;
use crate::setup;
use crate::setup::needs::Purpose;
use crate::setup::programs::DENY;
use crate::stages::{Outcome, Stages};
use crate::workspace::Workspace;

/// One of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// The sources are formatted by rustfmt
    Fmt,
    /// clippy has nothing to say
    Clippy,
    /// The API's documentation builds, and its links lead somewhere
    Docs,
    /// shellcheck has nothing to say
    Shellcheck,
    /// Links between Markdown files lead somewhere
    Links,
    /// Dependencies: licences of the list, from crates.io, none that is banned
    Deny,
    /// No dependency has a known hole; needs the network
    Advisories,
}

impl Check {
    fn carry_out(self, workspace: &Workspace) -> Result<Outcome> {
        let done = match self {
            Self::Fmt => workspace.cargo(["fmt", "--all", "--", "--check"]).run(),
            Self::Clippy => clippy(workspace),
            Self::Docs => docs(workspace),
            Self::Shellcheck => shell::check(workspace),
            Self::Links => links::check(workspace),
            Self::Deny => deny(workspace, &["bans", "licenses", "sources"])?.run(),
            Self::Advisories => return advisories(workspace),
        };
        done.map(|()| Outcome::Ok)
    }
}

/// Sets up what the checks need, runs them (all when none is named), and fails when one failed.
pub fn run(workspace: &Workspace, only: &[Check]) -> Result<()> {
    setup::ensure(workspace, &[Purpose::Check])?;
    let stages = stages(workspace, only)?;
    println!("{}", stages.table());
    stages.verdict()
}

/// Runs the checks; an error only when the run was interrupted.
pub fn stages(workspace: &Workspace, only: &[Check]) -> Result<Stages> {
    let mut stages = Stages::default();
    for check in Check::value_variants() {
        if only.is_empty() || only.contains(check) {
            let name = check
                .to_possible_value()
                .expect("no check is hidden")
                .get_name()
                .to_owned();
            stages.judge(&name, || check.carry_out(workspace))?;
        }
    }
    Ok(stages)
}

fn clippy(workspace: &Workspace) -> Result<()> {
    workspace
        .cargo([
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
        .run()
}

/// The API's pages are built for their links: one that leads nowhere is an error.
fn docs(workspace: &Workspace) -> Result<()> {
    let build = [
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ];
    workspace.cargo(build).env("RUSTDOCFLAGS", "-D warnings").run()
}

fn deny(workspace: &Workspace, what: &[&str]) -> Result<Tool> {
    let program = DENY.path()?;
    let quiet = [
        "--locked",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
    ];
    Ok(Tool::new(program, workspace.root()).args(quiet).args(what))
}

/// The list of known holes lies on GitHub, which not every machine reaches; that is neither a pass nor a failure.
fn advisories(workspace: &Workspace) -> Result<Outcome> {
    let output = deny(workspace, &["advisories"])?.output()?;
    if output.status.success() {
        return Ok(Outcome::Ok);
    }
    if output.stderr.contains("failed to fetch advisory database") {
        eprintln!("!! advisories were NOT judged: the list of known holes can't be fetched from here");
        return Ok(Outcome::NotRun);
    }
    bail!("{}", output.stderr.trim())
}
