//! Debian file trees by mmdebstrap, cached.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Entry};
use crate::error::ImageError;
use crate::preflight;
use crate::process::Call;
use crate::progress::Progress;
use crate::recipe::{Recipe, SUITE};
use crate::tools::host_architecture;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Takes a recipe's tar from the cache, or makes it (which needs the network). `refresh` makes it anew.
pub(crate) fn provide(
    cache: &Cache,
    recipe: &Recipe,
    refresh: bool,
    progress: &dyn Progress,
) -> Result<Entry, ImageError> {
    let key = recipe.key()?;
    if let Some(entry) = cache.find(&recipe.name, &key).filter(|_| !refresh) {
        return Ok(entry);
    }
    progress.begin(&format!("Debian {SUITE} {}", recipe.name));
    let tar = make(cache.scratch(), recipe, progress)?;
    let entry = cache.keep(&recipe.name, &key, &tar)?;
    progress.end(&format!("{} packages asked for", recipe.packages.len()));
    Ok(entry)
}

/// Debian packages of the devices' release, unpacked and not set up, as a tar in `cache`: files for something else than a device,
/// such as a container image. `name` is the entry's, and unique to its packages.
///
/// # Errors
/// [`ImageError`] says what is missing, or that the network is.
pub fn unpacked_packages(
    name: &str,
    packages: &[&'static str],
    cache: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, ImageError> {
    preflight::debian()?;
    let recipe = Recipe::unpacked(name, host_architecture(), packages, EPOCH);
    let cache = Cache::open(cache, progress)?;
    Ok(provide(&cache, &recipe, false, progress)?.tar)
}

/// Time of files of which nobody reads the time.
const EPOCH: u64 = 0;

/// mmdebstrap mounts `/proc`, `/sys` and `/dev/pts` in its working folder. As root it would do so in the machine's own mount
/// table, and a kill (power button, out of memory) would leave them there, where the next `rm -r` of the folder follows them.
/// Here the mounts go with the process, whatever ends it, and the process goes with ours.
const ROOT_WRAPPER: &[&str] = &[
    "setpriv",
    "--pdeathsig=KILL",
    "unshare",
    "--mount",
    "--propagation=private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

fn make(scratch: &Path, recipe: &Recipe, progress: &dyn Progress) -> Result<PathBuf, ImageError> {
    recipe.seed.write_tar(&scratch.join("seed.tar"), recipe.epoch)?;
    let tar = scratch.join("files.tar");
    let call = Call {
        tool: "mmdebstrap",
        argv: arguments(recipe, &tar),
        env: vec![
            ("SOURCE_DATE_EPOCH", recipe.epoch.to_string()),
            ("TMPDIR", temporary().to_string_lossy().into_owned()),
        ],
        input: recipe.sources,
        purpose: "making a Debian file tree",
        next: "is deb.debian.org reachable over http, and is the disk not full? Then start again; finished parts are kept",
    };
    call.run(scratch, progress)?;
    Ok(tar)
}

/// Where mmdebstrap unpacks. Not `/tmp`, which is memory in Debian 13; not the cache, which the other users of an unprivileged build's
/// tree may not enter.
pub(crate) fn temporary() -> PathBuf {
    std::env::var_os("TMPDIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// Whether [`provide`] takes the recipe's tar from the cache.
pub(crate) fn is_cached(cache: &Cache, recipe: &Recipe) -> Result<bool, ImageError> {
    Ok(cache.find(&recipe.name, &recipe.key()?).is_some())
}

fn arguments(recipe: &Recipe, tar: &Path) -> Vec<OsString> {
    let (wrapper, mode): (&[&str], _) = if nix::unistd::geteuid().is_root() {
        (ROOT_WRAPPER, "root")
    } else {
        (&[], "unshare")
    };
    let mut arguments: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
    arguments.extend([
        "mmdebstrap".to_owned(),
        format!("--mode={mode}"),
        format!("--variant={}", recipe.variant),
        format!("--architectures={}", recipe.architecture),
        format!("--keyring={KEYRING}"),
        format!("--include={}", recipe.packages.join(",")),
        "--format=tar".to_owned(),
    ]);
    arguments.extend(
        recipe
            .dpkg_options
            .iter()
            .map(|option| format!("--dpkgopt={option}")),
    );
    if recipe.variant != "extract" {
        arguments.push("--essential-hook=tar-in seed.tar /".to_owned());
        arguments.push("--customize-hook=chroot \"$1\" systemd-sysusers".to_owned());
    }
    arguments.push(SUITE.to_owned());
    let mut arguments: Vec<OsString> = arguments.into_iter().map(OsString::from).collect();
    arguments.extend([tar.as_os_str().to_owned(), "-".into()]);
    arguments
}
