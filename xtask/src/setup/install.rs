//! Carrying out a plan.

use std::io::{IsTerminal, stdin};
use std::path::Path;

use anyhow::{Result, bail};

use super::debian::Release;
use super::plan::Plan;
use super::programs;
use crate::process::Tool;
use crate::workspace::Workspace;

/// How packages can be installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Root,
    Sudo,
    Nobody,
}

/// Installs what the plan lists.
pub fn carry_out(workspace: &Workspace, plan: &Plan) -> Result<()> {
    if !plan.packages.is_empty() {
        let names: Vec<&str> = plan.package_names().collect();
        let right = permitted(plan.release, right(workspace)?, &names)?;
        apt_get(workspace, right, &["update", "--quiet"]).run_behind("apt-get update")?;
        let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
        let all: Vec<&str> = install.iter().copied().chain(names).collect();
        apt_get(workspace, right, &all).run_behind("apt-get install")?;
    }
    plan.programs
        .iter()
        .try_for_each(|needed| programs::provide(&needed.source))
}

fn right(workspace: &Workspace) -> Result<Right> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Right::Root);
    }
    if !Path::new("/usr/bin/sudo").exists() {
        return Ok(Right::Nobody);
    }
    let silent = workspace
        .tool("/usr/bin/sudo")
        .unguarded()
        .args(["-n", "true"])
        .output()?;
    Ok(if silent.status.success() || stdin().is_terminal() {
        Right::Sudo
    } else {
        Right::Nobody
    })
}

/// The right to install, or the sentence that says what a person has to do.
fn permitted(release: Release, right: Right, names: &[&str]) -> Result<Right> {
    let names = names.join(" ");
    if release == Release::Other {
        bail!(
            "this is neither Debian 12 nor 13, and nothing was changed: install what is called there {names}, so that \
             dpkg lists it, then run this again"
        );
    }
    if right == Right::Nobody {
        bail!(
            "installing needs root, and there is no sudo that works here; nothing was changed: run \
             `apt-get update && apt-get install --no-install-recommends {names}` as root, then run this again"
        );
    }
    Ok(right)
}

fn apt_get(workspace: &Workspace, right: Right, args: &[&str]) -> Tool {
    // Waits for another apt that runs at the same time instead of failing.
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    let (program, before): (&str, &[&str]) = match right {
        Right::Sudo => (
            "/usr/bin/sudo",
            &["DEBIAN_FRONTEND=noninteractive", "/usr/bin/apt-get"],
        ),
        Right::Root | Right::Nobody => ("/usr/bin/apt-get", &[]),
    };
    let tool = workspace
        .tool(program)
        .unguarded()
        .env("DEBIAN_FRONTEND", "noninteractive");
    tool.args(before).args(wait).args(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_install_is_told_what_to_run() {
        let error = permitted(Release::Bookworm, Right::Nobody, &["ovmf", "mtools"]).expect_err("no right");
        assert!(
            error
                .to_string()
                .contains("apt-get install --no-install-recommends ovmf mtools` as root"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_system_is_refused_even_for_root() {
        let error = permitted(Release::Other, Right::Root, &["ovmf"]).expect_err("unknown names");
        assert!(error.to_string().contains("neither Debian 12 nor 13"), "{error}");
    }

    #[test]
    fn sudo_hands_the_frontend_on() {
        let workspace = Workspace::find().expect("a checkout");
        let command = apt_get(&workspace, Right::Sudo, &["update"]).display();
        assert_eq!(
            command,
            "/usr/bin/sudo DEBIAN_FRONTEND=noninteractive /usr/bin/apt-get -o DPkg::Lock::Timeout=300 update"
        );
    }
}
