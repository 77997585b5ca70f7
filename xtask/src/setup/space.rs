//! Room on the disks, looked at before anything is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fleet_testbed::tools;

use super::needs::Purpose;
use super::plan::Plan;
use crate::image::{self, Profile};
use crate::workspace::Workspace;

/// Downloaded packages and lists, beside the installed ones.
const APT_MARGIN_MIB: u64 = 300;
const TARGET_MIB: u64 = 6_000;
/// What a build takes where there was one before.
const REBUILD_MIB: u64 = 500;
/// A wheel and the program in it.
const PROGRAM_MIB: u64 = 100;
/// Debian's trees, file systems and the image itself.
const IMAGE_MIB: u64 = 3_000;
/// The same where Debian's trees and an earlier image are cached.
const REIMAGE_MIB: u64 = 2_000;
/// What mmdebstrap unpacks.
const UNPACKED_MIB: u64 = 1_500;
/// The disks of a virtual device and the memory of a prepared one.
const RIG_MIB: u64 = 4 << 10;

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

/// Where things are put.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where cargo puts what it builds.
    pub target: PathBuf,
    /// Whether something was built there before.
    pub was_built: bool,
    /// Whether an image was made before.
    pub was_imaged: bool,
    /// Where large temporary files go.
    pub temporary: PathBuf,
    /// The cache, with images and rigs in it.
    pub cache: PathBuf,
}

impl Places {
    /// Those of this machine and checkout.
    pub fn find(workspace: &Workspace) -> Result<Self> {
        let target = workspace.target_folder()?;
        let cache = tools::cache_folder()?;
        let temporary = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
        Ok(Self {
            was_built: was_built(&target),
            target,
            was_imaged: image::in_cache(Profile::Amd64Vm)?.exists(),
            cache,
            temporary: temporary.map_or_else(|| "/var/tmp".into(), PathBuf::from),
        })
    }
}

/// xtask itself has always been built there; this looks for a part of the product.
fn was_built(target: &Path) -> bool {
    std::fs::read_dir(target.join("debug/deps")).is_ok_and(|entries| {
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("libfleet_protocol-"))
    })
}

/// The room that this plan and the work of these purposes take; some is needed though nothing has to be installed.
pub fn needed(plan: &Plan, purposes: &[Purpose], places: &Places) -> Vec<Room> {
    let need = |wanted: Purpose| purposes.iter().any(|purpose| purpose.includes(wanted));
    let room = |folder: &Path, mib, what| Room {
        folder: folder.to_owned(),
        mib,
        what,
    };
    let packages = plan.packages_mib() + APT_MARGIN_MIB;
    let programs = PROGRAM_MIB * plan.programs.len() as u64;
    let image = if places.was_imaged { REIMAGE_MIB } else { IMAGE_MIB };
    let build = if places.was_built { REBUILD_MIB } else { TARGET_MIB };
    let all = [
        (
            !plan.packages.is_empty(),
            room(Path::new("/usr"), packages, "installing Debian's packages"),
        ),
        (
            !plan.programs.is_empty(),
            room(&places.cache, programs, "programs in the cache"),
        ),
        (need(Purpose::Build), room(&places.target, build, "the build")),
        (
            need(Purpose::Image),
            room(&places.cache, image, "the device image"),
        ),
        (
            need(Purpose::Image) && !places.was_imaged,
            room(&places.temporary, UNPACKED_MIB, "unpacking Debian for it"),
        ),
        (
            purposes.iter().any(|purpose| purpose.runs_a_device()),
            room(&places.cache, RIG_MIB, "virtual devices"),
        ),
    ];
    all.into_iter()
        .filter_map(|(is_needed, room)| is_needed.then_some(room))
        .collect()
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
        bail!(
            "not enough room, nothing was changed: {}; FLEET_CACHE and CARGO_TARGET_DIR move the two large ones",
            short.join("; ")
        )
    }
}

/// Free space of one file system.
#[derive(Debug, Clone, Copy)]
struct Free {
    file_system: u64,
    mib: u64,
}

fn shortfalls(rooms: &[(&Room, Free)]) -> Vec<String> {
    let mut by_system: BTreeMap<u64, (u64, Vec<&Room>)> = BTreeMap::new();
    for (room, free) in rooms {
        let (_, on_it) = by_system
            .entry(free.file_system)
            .or_insert((free.mib, Vec::new()));
        on_it.push(room);
    }
    let taken = |on_it: &[&Room]| on_it.iter().map(|room| room.mib).sum::<u64>();
    by_system
        .into_values()
        .filter(|(free, on_it)| taken(on_it) > *free)
        .map(|(free, on_it)| {
            let each: Vec<_> = on_it
                .iter()
                .map(|room| format!("{} MiB in {} for {}", room.mib, room.folder.display(), room.what))
                .collect();
            let (each, all) = (each.join(", "), taken(&on_it));
            format!("{each}: {all} MiB in all, {free} MiB are free there")
        })
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
    use crate::setup::debian::Release;
    use crate::tier::Tier;

    fn room(folder: &str, mib: u64) -> Room {
        Room {
            folder: folder.into(),
            mib,
            what: "something",
        }
    }

    const NOTHING: Plan = Plan {
        release: Release::Trixie,
        packages: Vec::new(),
        programs: Vec::new(),
    };

    fn places(was_built: bool) -> Places {
        Places {
            target: "/elsewhere/target".into(),
            was_built,
            was_imaged: false,
            temporary: "/var/tmp".into(),
            cache: "/cache".into(),
        }
    }

    fn in_folder(rooms: &[Room], folder: &str) -> u64 {
        let there = rooms.iter().filter(|room| room.folder == Path::new(folder));
        there.map(|room| room.mib).sum()
    }

    #[test]
    fn room_for_image_and_devices_is_needed_though_nothing_has_to_be_installed() {
        let image = needed(&NOTHING, &[Purpose::Image], &places(true));
        assert_eq!(in_folder(&image, "/cache"), IMAGE_MIB);
        for purpose in [Purpose::Field, Purpose::Tests(Tier::Vm)] {
            let device = needed(&NOTHING, &[purpose], &places(true));
            assert_eq!(in_folder(&device, "/cache"), IMAGE_MIB + RIG_MIB);
        }
        let unit = needed(&NOTHING, &[Purpose::Tests(Tier::Unit)], &places(true));
        assert_eq!(in_folder(&unit, "/cache"), 0);
    }

    #[test]
    fn an_image_that_was_made_before_needs_less() {
        let again = Places {
            was_imaged: true,
            ..places(true)
        };
        let first = needed(&NOTHING, &[Purpose::Image], &places(true));
        assert_eq!(in_folder(&first, "/var/tmp"), UNPACKED_MIB);
        let again = needed(&NOTHING, &[Purpose::Image], &again);
        assert_eq!(
            (in_folder(&again, "/cache"), in_folder(&again, "/var/tmp")),
            (REIMAGE_MIB, 0)
        );
    }

    #[test]
    fn a_first_build_needs_its_room_in_the_real_target_folder() {
        let first = needed(&NOTHING, &[Purpose::Build], &places(false));
        assert_eq!(in_folder(&first, "/elsewhere/target"), TARGET_MIB);
        let next = needed(&NOTHING, &[Purpose::Build], &places(true));
        assert_eq!(in_folder(&next, "/elsewhere/target"), REBUILD_MIB);
    }

    #[test]
    fn a_target_folder_with_nothing_but_xtask_in_it_awaits_its_first_build() {
        let target = tempfile::tempdir().expect("a folder");
        let deps = target.path().join("debug/deps");
        std::fs::create_dir_all(&deps).expect("created");
        std::fs::File::create(deps.join("libxtask-12ab.rlib")).expect("created");
        assert!(!was_built(target.path()));
        std::fs::File::create(deps.join("libfleet_protocol-34cd.rlib")).expect("created");
        assert!(was_built(target.path()));
    }

    #[test]
    fn two_tiers_that_run_devices_need_their_room_once() {
        let both = needed(
            &NOTHING,
            &[Purpose::Field, Purpose::Tests(Tier::Vm), Purpose::Image],
            &places(true),
        );
        assert_eq!(in_folder(&both, "/cache"), IMAGE_MIB + RIG_MIB);
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
        assert_eq!(
            short,
            [
                "600 MiB in /usr for something, 600 MiB in /cache for something: 1200 MiB in all, 1000 MiB are free there"
            ]
        );
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
