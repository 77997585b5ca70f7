//! Everything that can be judged without running the product. Each check runs, whatever the others found.

mod licences;
mod links;
mod shell;

use anyhow::Result;
use clap::ValueEnum;

use crate::setup;
use crate::setup::needs::Purpose;
use crate::stages::Stages;
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
    /// Each dependency has a licence of the list and comes from crates.io
    Licences,
    /// cargo-deny has nothing to say, where it is installed
    Deny,
}

impl Check {
    fn carry_out(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Fmt => workspace.cargo(["fmt", "--all", "--", "--check"]).run(),
            Self::Clippy => clippy(workspace),
            Self::Docs => docs(workspace),
            Self::Shellcheck => shell::check(workspace),
            Self::Links => links::check(workspace),
            Self::Licences => licences::check(workspace),
            Self::Deny => workspace.cargo(["deny", "--locked", "check"]).run(),
        }
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
            if *check == Check::Deny && !cargo_deny_is_installed(workspace)? {
                eprintln!(
                    "!! cargo-deny is NOT installed: advisories and bans are NOT judged (cargo install --locked cargo-deny)"
                );
                stages.not_run(&name);
            } else {
                stages.run(&name, || check.carry_out(workspace))?;
            }
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

/// Setup doesn't install it: neither Debian, PyPI nor npm has a current one, and building it takes longer than all the rest.
/// Where it is missing, our own check still judges licences and sources, and a loud line says what nobody judged.
fn cargo_deny_is_installed(workspace: &Workspace) -> Result<bool> {
    Ok(workspace.cargo(["deny", "--version"]).output()?.status.success())
}
