//! Images for trials of upgrades: one page in many versions, each with a layer of its own, that does on request what an application
//! should not.

use std::fs;
use std::io;

use fleet_protocol::Score;
use fleet_testbed::oci::{Image, ImageSpec, Layer};
use fleet_testbed::sample::WEB_PORT;
use fleet_testbed::tools;
use serde_json::{Value, json};

use super::trial::score;

/// The repository of all versions.
const REPOSITORY: &str = "upgrade";
const APPLETS: [&str; 8] = ["cat", "echo", "httpd", "mkdir", "sh", "sleep", "touch", "wget"];

/// What each version runs. Its environment: `EXIT_AFTER` (seconds until it gives up with status 4), `START_SECONDS` (until it serves),
/// `STUBBORN` (it ends on no signal), `NEEDS` (a file without which it ends with status 9).
const SCRIPT: &str = r#"#!/bin/sh
# One page that names the version. With a volume at /data it notes there each start, and the signal that ended it.
note() { [ ! -d /data ] || echo "@VERSION@ $1" >> /data/notes; }
if [ -n "${NEEDS:-}" ] && [ ! -e "$NEEDS" ]; then
    echo "version @VERSION@ misses $NEEDS" >&2
    exit 9
fi
note started
echo "version @VERSION@ starts"
if [ -n "${EXIT_AFTER:-}" ]; then
    sleep "$EXIT_AFTER"
    echo "version @VERSION@ gives up" >&2
    exit 4
fi
mkdir -p /tmp/www
echo "version @VERSION@." > /tmp/www/index.html
# The first process of a container ends on no signal that it has no handler for.
if [ -n "${STUBBORN:-}" ]; then
    sleep "${START_SECONDS:-0}"
    exec httpd -f -p 8080 -h /tmp/www
fi
ended() { note "$1"; kill "$server"; exit 0; }
trap 'ended TERM' TERM
trap 'ended INT' INT
trap 'ended USR1' USR1
sleep "${START_SECONDS:-0}" &
server=$!
wait "$server"
httpd -f -p 8080 -h /tmp/www &
server=$!
wait "$server"
"#;

/// One version of the page.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its tag, and its name on the page: `version <tag>.`
    pub tag: String,
    /// The image.
    pub image: Image,
}

impl Version {
    /// The version `tag` of the page.
    pub fn page(tag: &str) -> io::Result<Self> {
        Self::build(tag, &["/init"], SCRIPT.replace("@VERSION@", tag).as_bytes())
    }

    /// An image whose program does not exist: it can be pulled and never run.
    pub fn without_a_program(tag: &str) -> io::Result<Self> {
        Self::build(tag, &["/no-such-program"], b"#!/bin/sh\n")
    }

    /// The page with `mebibytes` that do not compress and that no other version has, so that it takes its time to pull.
    pub fn heavy(tag: &str, mebibytes: usize) -> io::Result<Self> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for byte in tag.bytes() {
            state = state.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
        }
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let ballast: Vec<u8> = (0..mebibytes << 17).flat_map(|_| next()).collect();
        let layer = Layer::default().file("ballast", 0o644, &ballast)?;
        let script = SCRIPT.replace("@VERSION@", tag);
        Self::layered(tag, &["/init"], script.as_bytes(), vec![layer])
    }

    fn build(tag: &str, entrypoint: &[&str], script: &[u8]) -> io::Result<Self> {
        Self::layered(tag, entrypoint, script, Vec::new())
    }

    fn layered(tag: &str, entrypoint: &[&str], script: &[u8], more: Vec<Layer>) -> io::Result<Self> {
        let mut layers = vec![base()?];
        layers.extend(more);
        layers.push(Layer::default().file("init", 0o755, script)?);
        let image = Image::build(ImageSpec {
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            env: vec!["PATH=/bin".to_owned()],
            ports: vec![WEB_PORT],
            layers,
            ..ImageSpec::default()
        })?;
        Ok(Self {
            tag: tag.to_owned(),
            image,
        })
    }

    /// Its score, on [`WEB_PORT`] of the device and with further fields (an object).
    pub fn score(&self, mut more: Value) -> Score {
        more["ports"] = json!([{ "host": WEB_PORT, "container": WEB_PORT }]);
        score(&self.name(), more)
    }

    /// `repository:tag`.
    pub fn name(&self) -> String {
        format!("{REPOSITORY}:{}", self.tag)
    }

    /// What stands on its page and on no other version's.
    pub fn line(&self) -> String {
        format!("version {}.", self.tag)
    }

    /// The repository that it is pushed to.
    pub fn repository(&self) -> &'static str {
        REPOSITORY
    }
}

fn base() -> io::Result<Layer> {
    let busybox = tools::busybox().map_err(io::Error::other)?;
    let mut layer = Layer::default()
        .folder("bin", 0o755)?
        .file("bin/busybox", 0o755, &fs::read(busybox)?)?
        .folder("tmp", 0o1777)?;
    for applet in APPLETS {
        layer = layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(layer)
}
