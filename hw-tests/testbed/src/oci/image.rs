//! An image: layers, a configuration and a manifest that names both by digest.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::layer::PackedLayer;
use super::{Digest, Layer};

/// A health check as in a Dockerfile. OCI's configuration has no field for it, so an image that has one is in Docker's
/// format (schema 2), which podman reads as well.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// The command, run by the image's shell; it fails with any status but 0.
    pub command: String,
    /// Time between two runs.
    pub interval: Duration,
    /// Failures in a row that make the container unhealthy.
    pub retries: u32,
}

/// What an image is made of.
#[derive(Default)]
pub struct ImageSpec {
    /// The program that is started and its first arguments.
    pub entrypoint: Vec<String>,
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// TCP ports that it serves.
    pub ports: Vec<u16>,
    /// The user that it runs as; root when empty.
    pub user: String,
    /// The health check, if any.
    pub health_check: Option<HealthCheck>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Bytes that a registry stores under their digest.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The media type that the manifest gives it.
    pub media_type: &'static str,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An image that can be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest; its digest is the image's.
    pub manifest: Blob,
    /// The configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
}

impl Image {
    /// Builds the image for this machine's architecture.
    pub fn build(spec: ImageSpec) -> io::Result<Self> {
        let types = if spec.health_check.is_some() {
            &DOCKER
        } else {
            &OCI
        };
        let config = config_of(&spec);
        let packed = spec
            .layers
            .into_iter()
            .map(Layer::pack)
            .collect::<io::Result<Vec<_>>>()?;
        let diff_ids: Vec<&str> = packed.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = blob(types.config, config.to_string().into_bytes());
        let pack = |layer: PackedLayer| blob(types.layer, layer.gzip);
        let layers: Vec<Blob> = packed.into_iter().map(pack).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": types.manifest,
            "config": descriptor(&config),
            "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
        });
        Ok(Self {
            manifest: blob(types.manifest, manifest.to_string().into_bytes()),
            config,
            layers,
        })
    }

    /// The image's digest: that of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }
}

struct MediaTypes {
    manifest: &'static str,
    config: &'static str,
    layer: &'static str,
}

const OCI: MediaTypes = MediaTypes {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};

const DOCKER: MediaTypes = MediaTypes {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

fn config_of(spec: &ImageSpec) -> Value {
    let mut config = json!({ "Entrypoint": spec.entrypoint, "Env": spec.env, "WorkingDir": "/" });
    if !spec.user.is_empty() {
        config["User"] = json!(spec.user);
    }
    for port in &spec.ports {
        config["ExposedPorts"][format!("{port}/tcp")] = json!({});
    }
    if let Some(check) = &spec.health_check {
        config["Healthcheck"] = json!({
            "Test": ["CMD-SHELL", check.command],
            "Interval": u64::try_from(check.interval.as_nanos()).unwrap_or(u64::MAX),
            "Retries": check.retries,
        });
    }
    config
}

fn blob(media_type: &'static str, bytes: Vec<u8>) -> Blob {
    Blob {
        media_type,
        digest: Digest::of(&bytes),
        bytes,
    }
}

fn descriptor(blob: &Blob) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.digest.as_str(), "size": blob.bytes.len() })
}

/// Go's name of this machine's architecture, which is what images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(health_check: Option<HealthCheck>) -> Image {
        let layer = Layer::default()
            .file("etc/name", 0o644, b"small")
            .expect("memory does not fail");
        let spec = ImageSpec {
            entrypoint: vec!["/init".into()],
            ports: vec![8080],
            health_check,
            layers: vec![layer],
            ..ImageSpec::default()
        };
        Image::build(spec).expect("memory does not fail")
    }

    #[test]
    fn the_manifest_names_its_parts_by_digest_and_size() {
        let image = small(None);
        let manifest: Value = serde_json::from_slice(&image.manifest.bytes).expect("JSON");
        assert_eq!(manifest["config"]["digest"], image.config.digest.as_str());
        assert_eq!(manifest["layers"][0]["digest"], image.layers[0].digest.as_str());
        assert_eq!(manifest["layers"][0]["size"], image.layers[0].bytes.len());
        assert_eq!(manifest["mediaType"], OCI.manifest);
    }

    #[test]
    fn an_image_with_a_health_check_is_in_dockers_format() {
        let check = HealthCheck {
            command: "true".into(),
            interval: Duration::from_secs(2),
            retries: 3,
        };
        let image = small(Some(check));
        let config: Value = serde_json::from_slice(&image.config.bytes).expect("JSON");
        assert_eq!(image.manifest.media_type, DOCKER.manifest);
        assert_eq!(config["config"]["Healthcheck"]["Interval"], 2_000_000_000_u64);
    }

    #[test]
    fn the_same_spec_has_the_same_digest() {
        assert_eq!(small(None).digest(), small(None).digest());
    }
}
