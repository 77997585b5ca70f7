//! The tiers of tests: what a test needs decides its tier, and where it lives shows it.

use std::fmt;

use clap::ValueEnum;

/// A tier, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Inline tests: pure, in memory
    Unit,
    /// Tests in `tests/` folders: real servers on loopback
    Service,
    /// Suites of `hw-tests`: real systems in virtual machines
    Vm,
    /// Tests named `browser…`: the pages in a real browser
    Browser,
    /// The slow part of `hw-tests`: every moment for a power cut, a real database; only when asked for
    Matrix,
}

impl Tier {
    /// The tiers that each change has to pass, in the order in which they run.
    pub const EACH_CHANGE: [Self; 4] = [Self::Unit, Self::Service, Self::Vm, Self::Browser];
    /// All tiers, in the order in which they run.
    pub const ALL: [Self; 5] = [Self::Unit, Self::Service, Self::Vm, Self::Browser, Self::Matrix];

    /// Whether virtual devices run in it.
    pub fn runs_devices(self) -> bool {
        matches!(self, Self::Vm | Self::Matrix)
    }

    /// The tier of an integration test, by the package and the name of its file.
    pub fn of_test_target(package: &str, target: &str) -> Self {
        match package {
            "fleet-hw-tests" => Self::Vm,
            _ if target.starts_with("browser") => Self::Browser,
            _ => Self::Service,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unit => "unit",
            Self::Service => "service",
            Self::Vm => "vm",
            Self::Browser => "browser",
            Self::Matrix => "matrix",
        })
    }
}
