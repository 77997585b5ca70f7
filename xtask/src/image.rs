//! The device image, with the programs of this checkout in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use fleet_testbed::tools;

use crate::setup;
use crate::setup::needs::Purpose;
use crate::workspace::Workspace;

/// Machines that there is an image for. The builder knows more about each; here it is a name that is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// The virtual device of the rig and the demo
    Amd64Vm,
    /// A PC with UEFI
    Amd64Uefi,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64Vm => "amd64-vm",
            Self::Amd64Uefi => "amd64-uefi",
        }
    }
}

/// Sets up what the builder needs and builds the image, at `out` or else in the cache, where the rig looks for it.
pub fn run(workspace: &Workspace, profile: Profile, out: Option<PathBuf>) -> Result<()> {
    setup::ensure(workspace, &[Purpose::Image])?;
    let out = match out {
        Some(path) => path,
        None => in_cache(profile)?,
    };
    build(workspace, profile, &out)
}

/// Where the rig looks for the image.
pub fn in_cache(profile: Profile) -> Result<PathBuf> {
    Ok(tools::cache_folder()?.join(format!("images/{}.img", profile.name())))
}

/// Builds the programs as they ship, then the image; with the same inputs as last time nothing is built.
pub fn build(workspace: &Workspace, profile: Profile, out: &Path) -> Result<()> {
    let out = std::path::absolute(out).with_context(|| format!("cannot resolve {}", out.display()))?;
    let folder = out.parent().context("the image needs a file name")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let programs = [
        "build",
        "--locked",
        "--release",
        "--package",
        "fleet-agent",
        "--package",
        "fleet-provision",
    ];
    workspace.cargo(programs).run()?;
    let builder = [
        "run",
        "--locked",
        "--quiet",
        "--package",
        "fleet-image",
        "--",
        "build",
        "--profile",
        profile.name(),
    ];
    let shipped = workspace.target_folder()?.join("release");
    let paths = [
        ("--out", out),
        ("--agent", shipped.join("fleet-agent")),
        ("--provision", shipped.join("fleet-provision")),
    ];
    let paths = paths
        .into_iter()
        .flat_map(|(flag, path)| [flag.into(), path.into_os_string()]);
    workspace.cargo(builder).args(paths).run()
}
