//! Whether an image fits on the device, asked before it is pulled.
//!
//! The figures are those of the image's manifest, which podman fetches (its registries.conf, credentials and proxies hold). podman 5.4
//! has no command that prints the manifest of a single OCI image; it prints it in the error of `podman manifest inspect`, which wants
//! an index, and it is read from there. Of a Docker manifest without an index it tells nothing: the size is unknown then,
//! as it is whenever registry or podman do not answer. What is unknown stops no pull.

use std::collections::BTreeSet;
use std::path::Path;

use fleet_protocol::score::ImageRef;
use serde::Deserialize;

/// A compressed layer grows to about so many times its size. Measured on Debian's own layers: 2.3 with gzip, more with zstd.
const UNPACKED: u64 = 2;
/// Largest manifest that is read from the local storage.
const MAX_MANIFEST: u64 = 4 << 20;

/// Free space without which no pull begins, in bytes, so that the agent's own records still have room.
pub const RESERVE: u64 = 256 << 20;

/// Room for an image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What a pull needs: the layers that are not on the device yet, as they come and unpacked. An estimate; `None` when
    /// nobody can tell.
    pub needed: Option<u64>,
    /// What is free on the storage's file system.
    pub free: u64,
    /// What has to stay free of it, for records and volumes.
    pub reserve: u64,
}

impl Room {
    /// Whether a pull may begin. An unknown size needs the reserve and nothing else.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.free >= self.needed.unwrap_or(0).saturating_add(self.reserve)
    }
}

/// What a registry holds under a reference: an image, or an index of images for different machines.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    layers: Option<Vec<Layer>>,
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    digest: String,
    size: u64,
    #[serde(default)]
    media_type: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Platform,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

impl Manifest {
    /// Reads what `podman manifest inspect` said: its output, or else the line of its error that quotes the manifest.
    pub(super) fn read(stdout: &str, quoting: Option<&str>) -> Option<Self> {
        let text = match quoting {
            None => stdout.to_owned(),
            // Go's quoting of printable text is that of JSON.
            Some(line) => {
                let (_, quoted) = line.split_once(QUOTE)?;
                let mut texts = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
                texts.next()?.ok()?
            }
        };
        serde_json::from_str(&text).ok()
    }

    /// Bytes that its layers take, without those that are there. `None` for an index, or when it does not tell.
    pub(super) fn needed(&self, there: &BTreeSet<String>) -> Option<u64> {
        let missing = self
            .layers
            .as_ref()?
            .iter()
            .filter(|layer| !there.contains(&layer.digest));
        Some(missing.map(Layer::needed).fold(0, u64::saturating_add))
    }

    /// The image for this machine in an index.
    pub(super) fn of_machine(&self, architecture: &str) -> Option<&str> {
        let fits =
            |entry: &&Entry| entry.platform.os == "linux" && entry.platform.architecture == architecture;
        let entry = self.manifests.as_ref()?.iter().find(fits)?;
        Some(&entry.digest)
    }
}

impl Layer {
    /// Packed in the staging folder, and unpacked beside it.
    fn needed(&self) -> u64 {
        let unpacked = match self.media_type.ends_with("tar") {
            true => self.size,
            false => self.size.saturating_mul(UNPACKED),
        };
        self.size.saturating_add(unpacked)
    }
}

/// In podman's error, before the manifest.
pub(super) const QUOTE: &str = "parsing manifest blob ";

/// This machine in the words of an index.
pub(super) fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The image's reference with another digest in place of tag or digest.
pub(super) fn pinned(image: &ImageRef, digest: &str) -> String {
    format!("{}@{digest}", image.name())
}

/// Digests of the layers of every image in podman's storage, as their manifests have them. What cannot be read is left out: its
/// layers count as missing.
pub(super) fn layers_there(home: &Path) -> BTreeSet<String> {
    let images = home.join(".local/share/containers/storage/overlay-images");
    let Ok(entries) = std::fs::read_dir(images) else {
        return BTreeSet::new();
    };
    let manifests = entries.flatten().map(|entry| entry.path().join("manifest"));
    manifests.filter_map(|path| layers_in(&path)).flatten().collect()
}

fn layers_in(path: &Path) -> Option<Vec<String>> {
    let bytes = crate::durable::read_bounded(path, MAX_MANIFEST).ok()??;
    let manifest: Manifest = serde_json::from_slice(&bytes).ok()?;
    Some(manifest.layers?.into_iter().map(|layer| layer.digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = r#"Error: parsing manifest blob "{\"schemaVersion\": 2, \"layers\": [{\"mediaType\": \"application/vnd.oci.image.layer.v1.tar+gzip\", \"digest\": \"sha256:aa\", \"size\": 100}, {\"mediaType\": \"application/vnd.oci.image.layer.v1.tar\", \"digest\": \"sha256:bb\", \"size\": 10}]}" as a "application/vnd.oci.image.manifest.v1+json": Treating single images as manifest lists is not implemented"#;
    const INDEX: &str = r#"{"manifests": [
        {"digest": "sha256:00", "platform": {"architecture": "unknown", "os": "unknown"}},
        {"digest": "sha256:11", "platform": {"architecture": "amd64", "os": "windows"}},
        {"digest": "sha256:22", "platform": {"architecture": "amd64", "os": "linux"}},
        {"digest": "sha256:33", "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}}]}"#;

    #[test]
    fn a_single_image_is_read_from_podmans_error() {
        let manifest = Manifest::read("", Some(OCI)).unwrap();
        assert_eq!(manifest.needed(&BTreeSet::new()), Some(100 * 3 + 10 * 2));
        assert_eq!(manifest.needed(&["sha256:aa".to_owned()].into()), Some(20));
    }

    #[test]
    fn an_index_names_the_image_of_this_machine_and_no_size() {
        let manifest = Manifest::read(INDEX, None).unwrap();
        assert_eq!(manifest.of_machine("amd64"), Some("sha256:22"));
        assert_eq!(manifest.of_machine("arm64"), Some("sha256:33"));
        assert_eq!(manifest.of_machine("riscv64"), None);
        assert_eq!(manifest.needed(&BTreeSet::new()), None);
    }

    #[test]
    fn what_tells_nothing_is_no_size_and_no_panic() {
        let docker = r#"{"schemaVersion": 2, "manifests": null}"#;
        let manifest = Manifest::read(docker, None).unwrap();
        assert_eq!(
            (manifest.needed(&BTreeSet::new()), manifest.of_machine("amd64")),
            (None, None)
        );
        for line in [
            "",
            QUOTE,
            "parsing manifest blob \"{\\x00",
            "parsing manifest blob \"7\"",
        ] {
            assert_eq!(Manifest::read("", Some(line)), None, "{line}");
        }
        assert_eq!(Manifest::read("no json", None), None);
    }

    #[test]
    fn what_must_stay_free_is_not_for_images() {
        let room = |needed| Room {
            needed,
            free: 100,
            reserve: 40,
        };
        assert!(room(Some(60)).is_enough());
        assert!(!room(Some(61)).is_enough());
        assert!(!room(Some(u64::MAX)).is_enough());
        assert!(room(None).is_enough());
        assert!(
            !Room {
                free: 39,
                ..room(None)
            }
            .is_enough()
        );
    }
}
