//! The build from end to end.

use std::fs;
use std::path::{Path, PathBuf};

use crate::boot;
use crate::cache::Cache;
use crate::debian;
use crate::disk::Disk;
use crate::error::ImageError;
use crate::identity::InputDigest;
use crate::layout::Layout;
use crate::manifest::Manifest;
use crate::overlay;
use crate::preflight;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::tools::{Tools, host_architecture};

/// Raised when this crate lays out the same inputs in a new way.
const LAYOUT_FORMAT: &str = "2";

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Kind of machine.
    pub profile: Profile,
    /// The image's file; the manifest goes beside it, with `.json` added.
    pub out: PathBuf,
    /// Bytes of the disk. The device grows to the disk it is flashed on.
    pub size: u64,
    /// The agent's binary.
    pub agent: PathBuf,
    /// Version of the agent, the name of its folder.
    pub agent_version: String,
    /// The provisioning tool.
    pub provision: PathBuf,
    /// Files laid out as installed.
    pub dist: PathBuf,
    /// The initramfs-tools tree.
    pub hooks: PathBuf,
    /// Where results are kept.
    pub cache: PathBuf,
    /// Time of everything, seconds since 1970.
    pub epoch: u64,
    /// Take Debian's packages anew even when they are cached.
    pub refresh: bool,
}

/// What a build gave.
#[derive(Debug, Clone)]
pub struct Built {
    /// What is in the image.
    pub manifest: Manifest,
    /// Whether the image was there already, made of the same inputs.
    pub unchanged: bool,
}

/// Parts of the Debian tree that go on the ESP.
#[derive(Default)]
pub(crate) struct BootFiles {
    pub(crate) kernel_version: String,
    pub(crate) kernel: Vec<u8>,
    pub(crate) initrd: Vec<u8>,
    pub(crate) loader: Vec<u8>,
}

/// Builds an image. It appears at its name complete or not at all; an interrupted build leaves the old one.
pub fn build(request: &BuildRequest, progress: &dyn Progress) -> Result<Built, ImageError> {
    preflight::tools_and_files(request)?;
    let layout = Layout::of_disk(request.size)?;
    let cache = Cache::open(&request.cache, progress)?;
    let tools = Recipe::tools(host_architecture(), request.epoch);
    let root = Recipe::device(request.profile, &request.dist, &request.hooks, request.epoch)?;
    if request.refresh || !(debian::is_cached(&cache, &tools)? && debian::is_cached(&cache, &root)?) {
        preflight::room_for_debian(request)?;
    }
    let tools = debian::provide(&cache, &tools, request.refresh, progress)?;
    let root = debian::provide(&cache, &root, request.refresh, progress)?;
    let tree = overlay::overlay(request)?;
    let overlay_digest = tree.digest()?;
    let inputs = inputs(request, &layout, [&tools.digest, &root.digest, &overlay_digest]);
    if let Some(manifest) = same_image(&request.out, &inputs) {
        return Ok(Built {
            manifest,
            unchanged: true,
        });
    }

    preflight::room_for_image(request)?;
    progress.begin("device files");
    let scratch = cache.scratch();
    let (root_tar, data_tar) = (scratch.join("root.tar"), scratch.join("data.tar"));
    let merged = overlay::merge(&root.tar, &tree, request.epoch, &root_tar)?;
    overlay::data_tar(&data_tar, request.epoch)?;
    progress.end(&format!(
        "kernel {}, {} packages",
        merged.boot.kernel_version,
        merged.packages.len()
    ));

    progress.begin("disk");
    let unpacked = Tools::unpack(&tools, scratch, request.epoch)?;
    let disk = Disk {
        layout,
        inputs: &inputs,
        epoch: request.epoch,
        scratch,
        tools: &unpacked,
        progress,
    };
    let root_fs = disk.ext4("root", layout.root, &root_tar)?;
    let data_fs = disk.ext4("data", layout.data, &data_tar)?;
    let esp = disk.esp(&boot::esp_files(request.profile, &merged.boot))?;
    let partial = beside(&request.out);
    disk.assemble(&partial, &esp, &root_fs, &data_fs)?;
    fs::rename(&partial, &request.out).map_err(ImageError::io("place", &request.out))?;
    progress.end(&format!("{} MiB", layout.disk / crate::MIB));

    let manifest = Manifest {
        format: 1,
        profile: request.profile.to_string(),
        size: layout.disk,
        inputs,
        epoch: request.epoch,
        agent_version: request.agent_version.clone(),
        debian: root.digest,
        tools: tools.digest,
        overlay: overlay_digest,
        kernel: merged.boot.kernel_version,
        packages: merged.packages,
    };
    manifest.write(&request.out)?;
    Ok(Built {
        manifest,
        unchanged: false,
    })
}

fn inputs(request: &BuildRequest, layout: &Layout, digests: [&String; 3]) -> String {
    let mut digest = InputDigest::new("image");
    digest.add(LAYOUT_FORMAT.as_bytes());
    digest.add(request.profile.to_string().as_bytes());
    digest.add(&layout.disk.to_le_bytes());
    digest.add(&request.epoch.to_le_bytes());
    digests.iter().for_each(|part| digest.add(part.as_bytes()));
    digest.hex()
}

fn same_image(out: &Path, inputs: &str) -> Option<Manifest> {
    let manifest = Manifest::of_untouched(out)?;
    let whole = out.metadata().is_ok_and(|facts| facts.len() == manifest.size);
    (whole && manifest.inputs == inputs).then_some(manifest)
}

/// The image while it grows; an earlier one that was interrupted goes.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    let path = PathBuf::from(name);
    // Absent is what we want; anything else shows itself when the file is created.
    let _absent = fs::remove_file(&path);
    path
}
