//! cargo-deny: neither Debian, PyPI nor npm has a current one, so it is built from crates.io once and kept in the cache.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fleet_testbed::tools;

use crate::workspace::Workspace;

/// The version that `deny.toml` is written for.
pub const DENY_VERSION: &str = "0.20.2";

/// The program in the cache, whether it is there or not.
pub fn path() -> Result<PathBuf> {
    Ok(root()?.join("bin/cargo-deny"))
}

/// Builds it. cargo puts the finished program in place with one rename.
pub fn install(workspace: &Workspace) -> Result<()> {
    let package = format!("cargo-deny@{DENY_VERSION}");
    // Unoptimised: it takes a third of the time to build, and still judges in two seconds.
    let install = ["install", "--locked", "--debug", &package, "--root"];
    let tool = workspace.cargo(install).args([root()?]);
    tool.run_behind("building cargo-deny")
        .context("cannot build cargo-deny (needed once, then it is cached)")
}

fn root() -> Result<PathBuf> {
    Ok(tools::cache_folder()?.join(format!("tools/cargo-deny-{DENY_VERSION}")))
}
