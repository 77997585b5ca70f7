//! What must be there before anything is done. `cargo xtask` asks for the same before it builds this crate, in its own words; here it
//! is asked for those who start the builder by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};

use crate::bake::BuildRequest;
use crate::debian::temporary;
use crate::error::ImageError;
use crate::layout::MIB;
use crate::process::in_path;

/// Programs that only an ordinary user's build needs are checked for that user.
const TOOLS: &[(&str, &str)] = &[("mmdebstrap", "mmdebstrap"), ("gpgv", "gpgv"), ("tar", "tar")];
const UNPRIVILEGED_TOOLS: &[(&str, &str)] = &[("newuidmap", "uidmap")];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Debian's trees as mmdebstrap unpacks them, one after the other, with the packages they are made of.
const UNPACKED_MIB: u64 = 1500;
/// Their tars.
const TARS_MIB: u64 = 700;
/// Root tar with the overlay in it, and the file systems made from it.
const SCRATCH_MIB: u64 = 1200;
const OUT_MIB: u64 = 800;

/// Checks what Debian's trees are made with; changes nothing.
pub(crate) fn debian() -> Result<(), ImageError> {
    tools(TOOLS)?;
    if !nix::unistd::geteuid().is_root() {
        tools(UNPRIVILEGED_TOOLS)?;
        subordinate_ids()?;
    }
    exists(
        "Debian's keyring",
        Path::new(KEYRING),
        "run `apt-get install debian-archive-keyring`",
    )
}

/// Checks tools and files for a build; changes nothing.
pub(crate) fn tools_and_files(request: &BuildRequest) -> Result<(), ImageError> {
    debian()?;
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
    Ok(())
}

/// Room for a build that begins with Debian's packages.
pub(crate) fn room_for_debian(request: &BuildRequest) -> Result<(), ImageError> {
    room(&[
        (&temporary(), UNPACKED_MIB),
        (&request.cache, TARS_MIB + SCRATCH_MIB),
        (folder_of(&request.out), OUT_MIB),
    ])
}

/// Room for a build that has Debian's packages in the cache.
pub(crate) fn room_for_image(request: &BuildRequest) -> Result<(), ImageError> {
    room(&[(&request.cache, SCRATCH_MIB), (folder_of(&request.out), OUT_MIB)])
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
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

/// Folders of one file system share what is free there: the first that no longer fits is named, with the need of all.
fn room(needs: &[(&Path, u64)]) -> Result<(), ImageError> {
    let mut by_system: BTreeMap<u64, u64> = BTreeMap::new();
    for (path, mib) in needs {
        let (folder, facts) = measure(path)?;
        let need_mib = by_system.entry(facts.filesystem_id()).or_default();
        *need_mib += mib;
        let have_mib = facts.blocks_available() * facts.fragment_size() / MIB;
        if have_mib < *need_mib {
            return Err(ImageError::NoSpace {
                path: folder,
                need_mib: *need_mib,
                have_mib,
            });
        }
    }
    Ok(())
}

/// Measures the nearest folder above `path` that exists.
fn measure(path: &Path) -> Result<(PathBuf, Statvfs), ImageError> {
    let absolute = std::path::absolute(path).map_err(ImageError::io("examine", path))?;
    let folder = absolute
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned();
    let facts = statvfs(&folder).map_err(|error| ImageError::io("measure", &folder)(error.into()))?;
    Ok((folder, facts))
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
        let folder = Path::new("/nonexistent/folder");
        room(&[(folder, 0)]).expect("room for nothing");
        let error = room(&[(folder, u64::MAX / 4)]).unwrap_err();
        assert!(matches!(error, ImageError::NoSpace { .. }), "{error}");
    }

    #[test]
    fn folders_of_one_file_system_need_their_room_together() {
        let (_, facts) = measure(Path::new("/")).expect("it can be measured");
        let most = facts.blocks_available() * facts.fragment_size() / MIB * 3 / 4;
        let (one, two) = (Path::new("/nonexistent/one"), Path::new("/nonexistent/two"));
        room(&[(one, most)]).expect("one alone fits");
        let error = room(&[(one, most), (two, most)]).unwrap_err();
        assert!(
            matches!(error, ImageError::NoSpace { need_mib, .. } if need_mib == 2 * most),
            "{error}"
        );
    }
}
