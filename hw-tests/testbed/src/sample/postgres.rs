//! A real PostgreSQL, made of Debian's packages: a program with a volume that an upgrade must not cost.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{Sample, SampleError, base_layer, busybox};
use crate::oci::{Image, ImageSpec, Layer};

/// The packages it is made of, unpacked and not set up; what they depend on comes along.
pub const POSTGRES_PACKAGES: &[&str] = &["postgresql-17"];
/// The port that it serves on.
pub const POSTGRES_PORT: u16 = 5432;

/// The user of the image: PostgreSQL refuses to run as root.
const USER: u64 = 70;
const VERSION: &str = "17";
/// What the packages bring for just-in-time compilation and for Perl: 160 MB that no test needs.
const UNWANTED: [&str; 6] = ["libLLVM", "libz3", "libperl", "libdb-", "llvmjit", "bitcode"];

/// PostgreSQL over `/data/db`. With the argument `prepare` it makes the cluster where there is none and brings its tables to the image's
/// `version`; run it as an init container, as often as you like.
pub fn postgres(version: &'static str, packages: &Path) -> Result<Sample, SampleError> {
    let build = |source| SampleError::Build {
        sample: format!("sample-postgres:{version}"),
        source,
    };
    let tar = File::open(packages).map_err(|source| SampleError::Read {
        path: packages.to_owned(),
        source,
    })?;
    let spec = ImageSpec {
        layers: vec![
            base_layer(&busybox()?).map_err(build)?,
            Layer::default().from_tar(tar, is_wanted).map_err(build)?,
            own_layer().map_err(build)?,
        ],
        entrypoint: vec!["/init".into()],
        env: vec![
            format!("PATH=/usr/lib/postgresql/{VERSION}/bin:/bin"),
            format!("SAMPLE_VERSION={version}"),
            "PGHOST=/tmp".to_owned(),
        ],
        ports: vec![POSTGRES_PORT],
        user: "postgres".into(),
        health_check: None,
    };
    Ok(Sample {
        repository: "sample-postgres",
        tag: version,
        image: Image::build(spec).map_err(build)?,
    })
}

/// Programs with their libraries, which lie side by side, and PostgreSQL's own data.
fn is_wanted(path: &str) -> bool {
    let unwanted = UNWANTED.iter().any(|part| path.contains(part));
    let library = |path: &str| {
        let name = path
            .strip_prefix("usr/lib/")
            .and_then(|path| path.split_once("-linux-gnu/"));
        name.is_some_and(|(_, name)| !name.contains('/') && name.contains(".so"))
    };
    let folders = [
        "usr/lib64/",
        "usr/lib/postgresql/",
        "usr/share/postgresql/",
        "usr/share/zoneinfo/",
    ];
    !unwanted && (library(path) || folders.iter().any(|folder| path.starts_with(folder)))
}

fn own_layer() -> io::Result<Layer> {
    let passwd = format!("root:x:0:0:root:/:/bin/sh\npostgres:x:{USER}:{USER}:postgres:/data:/bin/sh\n");
    Layer::default()
        .link("lib", "usr/lib")?
        .link("lib64", "usr/lib64")?
        .file("etc/passwd", 0o644, passwd.as_bytes())?
        .file(
            "etc/group",
            0o644,
            format!("root:x:0:\npostgres:x:{USER}:\n").as_bytes(),
        )?
        // podman gives a new volume the owner of the folder that it is mounted on.
        .folder_of("data", 0o700, USER)?
        .folder("steps", 0o755)?
        .file("steps/prepare", 0o755, include_bytes!("postgres-prepare.sh"))?
        .file("init", 0o755, include_bytes!("postgres.sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_libraries_and_data_are_taken_and_the_compiler_is_not() {
        for wanted in [
            "usr/lib/postgresql/17/bin/postgres",
            "usr/lib/x86_64-linux-gnu/libicudata.so.76.1",
            "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "usr/lib64/ld-linux-x86-64.so.2",
        ] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for unwanted in [
            "usr/lib/x86_64-linux-gnu/libLLVM.so.19.1",
            "usr/lib/x86_64-linux-gnu/perl/5.40.1/CORE/perl.h",
            "usr/lib/postgresql/17/lib/bitcode/postgres.index.bc",
            "usr/bin/perl",
        ] {
            assert!(!is_wanted(unwanted), "{unwanted}");
        }
    }
}
