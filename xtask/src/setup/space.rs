//! Room on the disks, looked at before anything is changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fleet_testbed::tools;

use super::plan::Plan;
use crate::workspace::Workspace;

/// Downloaded packages and lists, beside the installed ones.
const APT_MARGIN_MIB: u64 = 300;
const TARGET_MIB: u64 = 6_000;
/// What cargo leaves in the temporary folder until the program is built.
const DENY_MIB: u64 = 1_500;
const CACHE_MIB: u64 = 100;

/// Room that will be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Where; it need not exist yet.
    pub folder: PathBuf,
    /// How much, in MiB.
    pub mib: u64,
    /// What for.
    pub what: &'static str,
}

/// The room that this plan and a first build take.
pub fn needed(workspace: &Workspace, plan: &Plan) -> Result<Vec<Room>> {
    let mut rooms = Vec::new();
    if !plan.packages.is_empty() {
        let mib = plan.packages.iter().map(|(_, package)| package.mib).sum::<u64>() + APT_MARGIN_MIB;
        rooms.push(Room {
            folder: "/usr".into(),
            mib,
            what: "Debian packages",
        });
    }
    if plan.nats {
        rooms.push(Room {
            folder: tools::cache_folder()?,
            mib: CACHE_MIB,
            what: "the cache",
        });
    }
    if plan.cargo_deny {
        rooms.push(Room {
            folder: std::env::temp_dir(),
            mib: DENY_MIB,
            what: "building cargo-deny",
        });
    }
    let target = workspace.root().join("target");
    if !target.exists() {
        rooms.push(Room {
            folder: target,
            mib: TARGET_MIB,
            what: "the first build",
        });
    }
    Ok(rooms)
}

/// An error that names every folder that hasn't the room. Folders of one file system share what is free there.
pub fn check(rooms: &[Room]) -> Result<()> {
    let measured = rooms
        .iter()
        .map(|room| Ok((room, free(&room.folder)?)))
        .collect::<Result<Vec<_>>>()?;
    let short = shortfalls(&measured);
    if short.is_empty() {
        Ok(())
    } else {
        bail!("not enough room, nothing was changed: {}", short.join("; "))
    }
}

/// Free space of one file system.
#[derive(Debug, Clone, Copy)]
struct Free {
    file_system: u64,
    mib: u64,
}

fn shortfalls(rooms: &[(&Room, Free)]) -> Vec<String> {
    let on_same = |id: u64| rooms.iter().filter(move |(_, free)| free.file_system == id);
    let is_short = |free: &Free| on_same(free.file_system).map(|(room, _)| room.mib).sum::<u64>() > free.mib;
    let tell = |(room, free): &(&Room, Free)| {
        format!(
            "{} in {} takes {} MiB, {} MiB are free",
            room.what,
            room.folder.display(),
            room.mib,
            free.mib
        )
    };
    rooms
        .iter()
        .filter(|(_, free)| is_short(free))
        .map(tell)
        .collect()
}

fn free(folder: &Path) -> Result<Free> {
    let there = folder
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(there)
        .with_context(|| format!("cannot ask for room in {}", there.display()))?;
    let mib = stat.blocks_available() * stat.fragment_size() / (1 << 20);
    Ok(Free {
        file_system: stat.filesystem_id(),
        mib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(folder: &str, mib: u64) -> Room {
        Room {
            folder: folder.into(),
            mib,
            what: "something",
        }
    }

    #[test]
    fn folders_of_one_file_system_share_its_room() {
        let (usr, cache) = (room("/usr", 600), room("/cache", 600));
        let free = |file_system| Free {
            file_system,
            mib: 1000,
        };
        assert!(shortfalls(&[(&usr, free(1)), (&cache, free(2))]).is_empty());
        let short = shortfalls(&[(&usr, free(1)), (&cache, free(1))]);
        assert_eq!(short.len(), 2);
        assert_eq!(short[0], "something in /usr takes 600 MiB, 1000 MiB are free");
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_room_of_its_parent() {
        assert!(check(&[room("/nonexistent/folder", 1)]).is_ok());
        let error = check(&[room("/nonexistent/folder", u64::MAX / 4)]).expect_err("no disk is that large");
        assert!(
            error
                .to_string()
                .starts_with("not enough room, nothing was changed"),
            "{error}"
        );
    }
}
