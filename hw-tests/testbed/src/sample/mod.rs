//! The sample applications: small images made of Debian's static busybox, one for each way in which an application behaves
//! well or badly. Another one is one more function and one more line in [`all`].

mod postgres;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::oci::push::PushError;
use crate::oci::{HealthCheck, Image, ImageSpec, Layer};
use crate::registry::Registry;
use crate::tools::{self, ToolError};

pub use postgres::{POSTGRES_PACKAGES, POSTGRES_PORT, postgres};

/// The port that the samples which serve something serve on.
pub const WEB_PORT: u16 = 8080;

/// The commands that busybox answers to in a sample.
const APPLETS: [&str; 15] = [
    "cat", "date", "df", "echo", "hostname", "httpd", "id", "kill", "ls", "mv", "rm", "sh", "sleep", "touch",
    "wget",
];

/// A sample could not be built or pushed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// No busybox.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The busybox program can't be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image could not be put together.
    #[error("cannot build {sample}")]
    Build {
        /// The sample.
        sample: String,
        /// Why.
        source: io::Error,
    },
    /// The image could not be pushed.
    #[error("cannot push {sample}")]
    Push {
        /// The sample.
        sample: String,
        /// Why.
        source: PushError,
    },
}

/// An image with the name that it is pushed under.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The repository.
    pub repository: &'static str,
    /// The tag.
    pub tag: &'static str,
    /// The image.
    pub image: Image,
}

impl Sample {
    /// `<repository>:<tag>`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// Every sample.
pub fn all() -> Result<Vec<Sample>, SampleError> {
    Ok(vec![
        web("1")?,
        web("2")?,
        healthy()?,
        crash()?,
        ignores_term()?,
        slow_start()?,
        job()?,
        shell()?,
    ])
}

/// Builds every sample and pushes it.
pub fn push_all(registry: &Registry) -> Result<Vec<Sample>, SampleError> {
    let samples = all()?;
    for sample in &samples {
        let pushed = registry.push(&sample.image, sample.repository, sample.tag);
        pushed.map_err(|source| SampleError::Push {
            sample: sample.name(),
            source,
        })?;
    }
    Ok(samples)
}

/// A web page on [`WEB_PORT`] that names the version and the device (`FLEET_DEVICE`, else the host name).
pub fn web(version: &'static str) -> Result<Sample, SampleError> {
    sample("sample-web", version, include_str!("web.sh"), web_spec(version))
}

/// The web page with a health check, which fails once `/tmp/sick` exists.
pub fn healthy() -> Result<Sample, SampleError> {
    let check = HealthCheck {
        command: format!("test ! -e /tmp/sick && wget -q -O /dev/null http://127.0.0.1:{WEB_PORT}/"),
        interval: Duration::from_secs(2),
        retries: 2,
    };
    let spec = ImageSpec {
        health_check: Some(check),
        ..web_spec("1")
    };
    sample("sample-healthy", "1", include_str!("web.sh"), spec)
}

/// Ends with status 3 right after its start, and says why on standard error.
pub fn crash() -> Result<Sample, SampleError> {
    sample(
        "sample-crash",
        "1",
        include_str!("crash.sh"),
        ImageSpec::default(),
    )
}

/// Runs, and does not end on SIGTERM.
pub fn ignores_term() -> Result<Sample, SampleError> {
    sample(
        "sample-ignores-term",
        "1",
        include_str!("ignores-term.sh"),
        ImageSpec::default(),
    )
}

/// Adds a line to `/data/runs`, then ends with `JOB_STATUS` (0 when unset) after `JOB_SECONDS` (0 when unset).
pub fn job() -> Result<Sample, SampleError> {
    sample("sample-job", "1", include_str!("job.sh"), ImageSpec::default())
}

/// Runs its arguments by `/bin/sh`.
pub fn shell() -> Result<Sample, SampleError> {
    sample(
        "sample-shell",
        "1",
        include_str!("shell.sh"),
        ImageSpec::default(),
    )
}

/// The web page, served only after `START_SECONDS` (20 when unset).
pub fn slow_start() -> Result<Sample, SampleError> {
    let spec = ImageSpec {
        env: environment(&["SAMPLE_VERSION=1", "START_SECONDS=20"]),
        ..web_spec("1")
    };
    sample("sample-slow-start", "1", include_str!("web.sh"), spec)
}

/// The web page with `mebibytes` of ballast that does not compress: a pull that takes long enough to be cut.
pub fn ballast(mebibytes: usize) -> Result<Sample, SampleError> {
    let build = |source| SampleError::Build {
        sample: "sample-ballast".into(),
        source,
    };
    let layer = Layer::default()
        .file("ballast", 0o644, &noise(mebibytes << 20))
        .map_err(build)?;
    let spec = ImageSpec {
        layers: vec![layer],
        ..web_spec("1")
    };
    sample("sample-ballast", "1", include_str!("web.sh"), spec)
}

fn web_spec(version: &str) -> ImageSpec {
    let env = environment(&[&format!("SAMPLE_VERSION={version}")]);
    ImageSpec {
        env,
        ports: vec![WEB_PORT],
        ..ImageSpec::default()
    }
}

fn environment(more: &[&str]) -> Vec<String> {
    std::iter::once("PATH=/bin")
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect()
}

/// Busybox below, so that all samples share it, then the layers of the spec, then the script as `/init`.
fn sample(
    repository: &'static str,
    tag: &'static str,
    script: &str,
    mut spec: ImageSpec,
) -> Result<Sample, SampleError> {
    let program = busybox()?;
    let build = || {
        let init = Layer::default().file("init", 0o755, script.as_bytes())?;
        let base = base_layer(&program)?;
        spec.layers.insert(0, base);
        spec.layers.push(init);
        spec.entrypoint = vec!["/init".into()];
        if spec.env.is_empty() {
            spec.env = environment(&[]);
        }
        Image::build(spec)
    };
    let image = build().map_err(|source| SampleError::Build {
        sample: format!("{repository}:{tag}"),
        source,
    })?;
    Ok(Sample {
        repository,
        tag,
        image,
    })
}

fn busybox() -> Result<Vec<u8>, SampleError> {
    let path = tools::busybox()?;
    fs::read(&path).map_err(|source| SampleError::Read { path, source })
}

fn base_layer(busybox: &[u8]) -> io::Result<Layer> {
    let mut layer = Layer::default()
        .folder("bin", 0o755)?
        .file("bin/busybox", 0o755, busybox)?
        .folder("etc", 0o755)?
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?
        .file("etc/group", 0o644, b"root:x:0:\n")?
        .folder("tmp", 0o1777)?;
    for applet in APPLETS {
        layer = layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(layer)
}

/// Bytes that look random to a compressor and are the same each time (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_does_not_compress_and_is_the_same_each_time() {
        let bytes = noise(1 << 20);
        assert_eq!(bytes, noise(1 << 20));
        let layer = Layer::default()
            .file("ballast", 0o644, &bytes)
            .expect("memory does not fail");
        let image = Image::build(ImageSpec {
            layers: vec![layer],
            ..ImageSpec::default()
        })
        .expect("an image");
        assert!(image.layers[0].bytes.len() > 1 << 20);
    }
}
