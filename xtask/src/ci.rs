//! All that has to pass before a change lands.

use anyhow::Result;

use crate::setup::needs::Purpose;
use crate::stages::Stages;
use crate::test::Scope;
use crate::tier::Tier;
use crate::workspace::Workspace;
use crate::{check, setup, test};

/// Sets up, checks, and runs the tiers; everything runs, whatever failed before, but nothing runs without its setup.
pub fn run(workspace: &Workspace, tiers: &[Tier]) -> Result<()> {
    let mut stages = Stages::default();
    let purposes: Vec<Purpose> = [Purpose::Build, Purpose::Check]
        .into_iter()
        .chain(tiers.iter().copied().map(Purpose::from))
        .collect();
    if stages.run("setup", || setup::ensure(workspace, &purposes))? {
        stages.adopt("check", check::stages(workspace, &[])?);
        for tier in tiers {
            test::run_tier(workspace, &mut stages, *tier, &Scope::default())?;
        }
    }
    println!("{}", stages.table());
    stages.verdict()
}
