//! Where the device image comes from.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use crate::error::Fault;
use crate::folders;

/// Names an image to use instead of the built one.
pub const IMAGE_VARIABLE: &str = "FLEET_DEVICE_IMAGE";
const BUILT: &str = "images/amd64-vm.img";

/// A device image: a raw disk, as it is flashed.
#[derive(Debug, Clone)]
pub struct DeviceImage {
    path: PathBuf,
    identity: String,
}

impl DeviceImage {
    /// The image that `FLEET_DEVICE_IMAGE` names, else the one that `cargo xtask image` built last.
    pub fn find() -> Result<Self, Fault> {
        let named = std::env::var_os(IMAGE_VARIABLE).map(PathBuf::from);
        match named {
            Some(path) => Self::open(&path),
            None => Self::open(&folders::cache()?.join(BUILT)),
        }
    }

    /// The image at `path`.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let Ok(path) = path.canonicalize() else {
            return Err(Fault::NoImage {
                path: path.to_owned(),
            });
        };
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// The raw disk image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A text that is the same only for the same bytes: from the manifest beside the image (`….json`) if there is one, so that a
    /// rebuild to the same bytes keeps its prepared devices; else from the file's inode, size and time.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Puts a hard link to the image into `folder`, so that the bytes stay while a new image is built in its place; where
    /// that is not possible (another disk) the image itself is used.
    pub(crate) fn hold(&self, folder: &Path) -> PathBuf {
        let link = folder.join("image.img");
        if link.exists() || fs::hard_link(&self.path, &link).is_ok() {
            link
        } else {
            self.path.clone()
        }
    }
}

fn identity(path: &Path) -> Result<String, Fault> {
    let metadata = fs::metadata(path).map_err(Fault::file("look at", path))?;
    if let Some(manifest) = manifests(path)
        .into_iter()
        .find_map(|manifest| fs::read(manifest).ok())
    {
        return Ok(format!(
            "manifest {} of {} bytes",
            hex_sha256([manifest.as_slice()]),
            metadata.len()
        ));
    }
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    Ok(format!(
        "inode {} of {} bytes, {seconds}.{nanos:09}",
        metadata.ino(),
        metadata.len()
    ))
}

/// Where a manifest may lie: `d.img.json`, or `d.json`.
fn manifests(image: &Path) -> [PathBuf; 2] {
    let mut appended = image.as_os_str().to_owned();
    appended.push(".json");
    [appended.into(), image.with_extension("json")]
}

/// SHA-256 of parts that cannot run into each other: each is preceded by its length.
pub(crate) fn hex_sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A file lock that lasts until it is dropped, or its process ends.
pub(crate) fn lock(path: &Path) -> Result<File, Fault> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Fault::file("open", path))?;
    file.lock().map_err(Fault::file("lock", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_reported_with_the_command_that_builds_it() {
        let error = DeviceImage::open(Path::new("/no/such/amd64-vm.img")).expect_err("it is absent");
        assert!(error.to_string().contains("`cargo xtask image`"), "{error}");
    }

    #[test]
    fn an_image_is_known_by_its_manifest_not_by_its_date() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("d.img");
        File::create(&path).expect("an image");
        let bare = DeviceImage::open(&path).expect("found").identity().to_owned();
        File::create(folder.path().join("d.img.json")).expect("a manifest");
        let first = DeviceImage::open(&path).expect("found").identity().to_owned();
        File::create(&path)
            .expect("an image")
            .set_modified(std::time::UNIX_EPOCH)
            .expect("another date");
        let second = DeviceImage::open(&path).expect("found").identity().to_owned();
        assert!(bare != first && first == second, "{bare} {first} {second}");
    }

    #[test]
    fn parts_of_a_hash_do_not_run_into_each_other() {
        assert_ne!(
            hex_sha256([b"ab".as_slice(), b"c"]),
            hex_sha256([b"a".as_slice(), b"bc"])
        );
    }
}
