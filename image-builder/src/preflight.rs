//! What must be there before anything is done.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bake::BuildRequest;
use crate::error::ImageError;
use crate::layout::MIB;
use crate::process::in_path;

/// Programs that only an ordinary user's build needs are checked for that user.
const TOOLS: &[(&str, &str)] = &[("mmdebstrap", "mmdebstrap"), ("gpgv", "gpgv"), ("tar", "tar")];
const UNPRIVILEGED_TOOLS: &[(&str, &str)] = &[("newuidmap", "uidmap")];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The unpacked Debian tree, its tar, and file systems.
const CACHE_NEED_MIB: u64 = 3500;
const OUT_NEED_MIB: u64 = 1500;

/// Checks tools, files and room for a build; changes nothing.
pub fn preflight(request: &BuildRequest) -> Result<(), ImageError> {
    tools(TOOLS)?;
    if !nix::unistd::geteuid().is_root() {
        tools(UNPRIVILEGED_TOOLS)?;
        subordinate_ids()?;
    }
    let inputs = [
        (
            "the agent's binary",
            &request.agent,
            "build it, or name it with `--agent`",
        ),
        (
            "the provisioning tool",
            &request.provision,
            "build it, or name it with `--provision`",
        ),
        ("the device's file tree", &request.dist, "name it with `--dist`"),
        ("the initramfs hooks", &request.hooks, "name them with `--hooks`"),
    ];
    for (what, path, next) in inputs {
        exists(what, path, next)?;
    }
    exists(
        "Debian's keyring",
        Path::new(KEYRING),
        "run `apt-get install debian-archive-keyring`",
    )?;
    room(&request.cache, CACHE_NEED_MIB)?;
    room(request.out.parent().unwrap_or(Path::new(".")), OUT_NEED_MIB)
}

fn tools(tools: &[(&'static str, &'static str)]) -> Result<(), ImageError> {
    match tools.iter().find(|(tool, _)| !in_path(tool)) {
        Some((tool, package)) => Err(ImageError::MissingTool { tool, package }),
        None => Ok(()),
    }
}

fn exists(what: &'static str, path: &Path, next: &'static str) -> Result<(), ImageError> {
    if path.exists() {
        Ok(())
    } else {
        Err(ImageError::MissingFile {
            what,
            path: path.to_owned(),
            next,
        })
    }
}

fn subordinate_ids() -> Result<(), ImageError> {
    let uid = nix::unistd::geteuid();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or(uid.to_string(), |user| user.name);
    let listed = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| {
            line.split(':')
                .next()
                .is_some_and(|who| who == name || who == uid.to_string())
        })
    };
    if listed("/etc/subuid") && listed("/etc/subgid") {
        Ok(())
    } else {
        Err(ImageError::NoSubordinateIds { user: name })
    }
}

/// Measures the nearest folder above `path` that exists.
fn room(path: &Path, need_mib: u64) -> Result<(), ImageError> {
    let absolute = std::path::absolute(path).map_err(ImageError::io("examine", path))?;
    let folder: PathBuf = absolute
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned();
    let facts = nix::sys::statvfs::statvfs(&folder)
        .map_err(|error| ImageError::io("measure", &folder)(error.into()))?;
    let have_mib = facts.blocks_available() * facts.fragment_size() / MIB;
    if have_mib < need_mib {
        Err(ImageError::NoSpace {
            path: folder,
            need_mib,
            have_mib,
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named_with_its_package() {
        let error = tools(&[("no-such-program", "some-package")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no-such-program") && error.contains("apt-get install some-package"),
            "{error}"
        );
    }

    #[test]
    fn room_is_measured_where_the_folder_will_be() {
        room(Path::new("/nonexistent/folder"), 0).expect("room for nothing");
        let error = room(Path::new("/nonexistent/folder"), u64::MAX).unwrap_err();
        assert!(matches!(error, ImageError::NoSpace { .. }), "{error}");
    }
}
