//! Making this machine ready: what is needed and why ([`needs`]), what of it is missing ([`plan`]), and installing it
//! ([`install`]). With everything there, nothing is asked of the network.

pub mod debian;
pub mod install;
pub mod needs;
pub mod plan;
pub mod programs;
pub mod space;
pub mod user;

use anyhow::Result;

use crate::workspace::Workspace;
use needs::{Purpose, Source};
use plan::Plan;
use space::Places;

/// Says what would be installed for these purposes.
pub fn show(workspace: &Workspace, purposes: &[Purpose]) -> Result<()> {
    let plan = missing(workspace, purposes)?;
    println!("{}", plan.describe(purposes));
    Ok(())
}

/// Installs what is missing for these purposes, after saying what and why. What can't work is refused before anything is
/// changed or built: no room on a disk, no subordinate ids, no right to install, a system whose packages aren't known. That is
/// looked at also when nothing is missing: a build that fails for want of room after ten minutes is what this is to prevent.
pub fn ensure(workspace: &Workspace, purposes: &[Purpose]) -> Result<()> {
    let plan = missing(workspace, purposes)?;
    eprintln!("{}", plan.describe(purposes));
    user::check(purposes)?;
    space::check(&space::needed(&plan, purposes, &Places::find(workspace)?))?;
    install::carry_out(workspace, &plan)
}

fn missing(workspace: &Workspace, purposes: &[Purpose]) -> Result<Plan> {
    let release = debian::release();
    let installed = debian::installed_packages(workspace, needs::PACKAGES)?;
    Ok(plan::plan(
        release,
        purposes,
        |package| installed.contains(package),
        Source::is_cached,
    ))
}
