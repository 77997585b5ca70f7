//! The targets.

mod enrolment;
mod journal;
mod lint;
mod manifest;
mod partitions;
mod score;
mod wire;
mod words;

/// A reader and its promises.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of its folder of seeds.
    pub name: &'static str,
    /// Takes any bytes; panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "wire",
        run: wire::run,
    },
    Target {
        name: "score",
        run: score::run,
    },
    Target {
        name: "manifest",
        run: manifest::run,
    },
    Target {
        name: "lint",
        run: lint::run,
    },
    Target {
        name: "enrolment",
        run: enrolment::run,
    },
    Target {
        name: "partitions",
        run: partitions::run,
    },
    Target {
        name: "words",
        run: words::run,
    },
    Target {
        name: "journal",
        run: journal::run,
    },
];
