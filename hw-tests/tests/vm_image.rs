//! The same inputs make the same image, byte for byte. In the tier: from Debian trees that are there, which is what changes here
//! most. From nothing, Debian's packages fetched and unpacked twice: with the feature `matrix`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::image_difference::of_images;
#[cfg(feature = "matrix")]
use fleet_hw_tests::image_difference::of_tars;
use fleet_image::{BuildRequest, Plain, Profile, build, default_cache_dir};
use fleet_testbed::files::write_atomically;
use tempfile::TempDir;

/// Debian 13's day, as in the builder's own command line.
const EPOCH: u64 = 1_754_697_600;
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A folder on the disk of the cache, where there is room.
fn folder() -> Result<TempDir> {
    fs::create_dir_all(default_cache_dir())?;
    Ok(tempfile::tempdir_in(default_cache_dir())?)
}

/// The device's files are those of this checkout; its two programs are stand-ins, since the builder only copies them.
fn request(out: PathBuf, cache: PathBuf) -> Result<BuildRequest> {
    let program = out.with_extension("program");
    write_atomically(&program, 0o755, b"#!/bin/sh\nexit 0\n")?;
    Ok(BuildRequest {
        profile: Profile::Amd64Vm,
        out,
        size: 4 << 30,
        agent: program.clone(),
        agent_version: "0.0.1".to_owned(),
        provision: program,
        dist: Path::new(CHECKOUT).join("device/dist"),
        hooks: Path::new(CHECKOUT).join("initramfs-hooks"),
        cache,
        epoch: EPOCH,
        refresh: false,
    })
}

/// Builds with this cache; the image must be a new one.
fn built(folder: &Path, name: &str, cache: &Path) -> Result<PathBuf> {
    let out = folder.join(name);
    let result = build(&request(out.clone(), cache.to_owned())?, &Plain::default())?;
    ensure!(!result.unchanged, "{name} was not built");
    Ok(out)
}

/// The tars in a builder's cache, by the names of their entries.
fn trees(cache: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut trees = Vec::new();
    for entry in fs::read_dir(cache.join("image"))? {
        let path = entry?.path();
        let tar = path.join("files.tar");
        if tar.is_file() {
            let name = path.file_name().context("an entry has a name")?;
            trees.push((name.to_string_lossy().into_owned(), tar));
        }
    }
    trees.sort();
    Ok(trees)
}

fn require_same(one: &Path, other: &Path) -> Result<()> {
    let differences = of_images(one, other)?;
    ensure!(
        differences.is_empty(),
        "two builds of the same inputs differ:\n{}",
        differences.join("\n")
    );
    let manifests = [one, other].map(|image| fs::read_to_string(format!("{}.json", image.display())));
    let [first, second] = manifests;
    ensure!(first? == second?, "the manifests differ, the images do not");
    Ok(())
}

#[test]
fn two_images_of_the_same_debian_trees_are_the_same_byte_for_byte() -> Result<()> {
    let folder = folder()?;
    let one = built(folder.path(), "one.img", &default_cache_dir())?;
    // The same trees in another cache, at another path, a little later.
    let cache = folder.path().join("another-cache");
    for (name, tar) in trees(&default_cache_dir())? {
        let entry = cache.join("image").join(&name);
        fs::create_dir_all(&entry)?;
        fs::hard_link(&tar, entry.join("files.tar"))?;
        fs::copy(tar.with_file_name("sha256"), entry.join("sha256"))?;
    }
    let other = built(folder.path(), "other.img", &cache)?;
    require_same(&one, &other)?;

    // The comparison sees a single byte.
    let spoilt = fs::File::options().write(true).open(&other)?;
    spoilt.write_all_at(b"?", 4_000_000_000)?;
    let differences = of_images(&one, &other)?;
    ensure!(
        differences.len() == 1 && differences[0].contains("the pool's data"),
        "another byte in the pool is seen as {differences:?}"
    );
    Ok(())
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    /// Two builds from nothing, ten minutes and a few hundred MiB from Debian's mirror. A package that appears there in between is a
    /// difference, which is named like any other.
    #[test]
    fn two_images_from_nothing_are_the_same_byte_for_byte() -> Result<()> {
        let folder = folder()?;
        let caches = ["first-cache", "second-cache-with-a-longer-name"].map(|name| folder.path().join(name));
        let one = built(folder.path(), "one.img", &caches[0])?;
        let other = built(folder.path(), "other.img", &caches[1])?;
        let [left, right] = [trees(&caches[0])?, trees(&caches[1])?];
        ensure!(!left.is_empty() && left.len() == right.len());
        for ((name, left), (_, right)) in left.iter().zip(&right) {
            let differences = of_tars(left, right)?;
            ensure!(
                differences.is_empty(),
                "{name}: Debian's trees differ:\n{}",
                differences.join("\n")
            );
        }
        require_same(&one, &other)
    }
}
