//! Programs of the device's Debian release that run on the build machine, through their own dynamic loader.
//!
//! The build machine's release doesn't matter then: `mke2fs` reads tars since 1.47.1 only, and every version lays
//! file systems out in its own way.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::cache::Entry;
use crate::error::ImageError;
use crate::process::Call;
use crate::progress::Progress;

/// The C library fills memory with zeros when a program takes it (the complement of 255). `thin_restore` writes whole blocks to
/// the disk of which it filled a part: the rest was whatever lay in memory, pieces of this machine's paths among it, and no
/// two builds were the same.
const ZEROED_MEMORY: &str = "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0";

/// Debian's name for the architecture of this program, if the tools exist for it.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

/// The unpacked tools.
pub(crate) struct Tools {
    folder: PathBuf,
    epoch: u64,
}

impl Tools {
    /// Unpacks the tools into a folder of scratch.
    pub(crate) fn unpack(entry: &Entry, scratch: &Path, epoch: u64) -> Result<Self, ImageError> {
        let folder = scratch.join("tools");
        fs::create_dir_all(&folder).map_err(ImageError::io("create the folder", &folder))?;
        let file = File::open(&entry.tar).map_err(ImageError::io("open", &entry.tar))?;
        let mut archive = tar::Archive::new(file);
        archive.set_preserve_permissions(false);
        archive
            .unpack(&folder)
            .map_err(ImageError::io("unpack", &entry.tar))?;
        Ok(Self { folder, epoch })
    }

    /// Runs `program` ("sbin/mke2fs") with arguments.
    pub(crate) fn run<A: Into<OsString>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let (triplet, loader) = match host_architecture() {
            "arm64" => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
            _ => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
        };
        let libraries = self.folder.join("usr/lib").join(triplet);
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut argv: Vec<OsString> = vec![
            libraries.join(loader).into(),
            "--library-path".into(),
            libraries.clone().into(),
            self.folder.join("usr").join(program).into(),
        ];
        argv.extend(arguments.into_iter().map(Into::into));
        let env = vec![
            ("SOURCE_DATE_EPOCH", self.epoch.to_string()),
            ("TZ", "UTC".to_owned()),
            ("GLIBC_TUNABLES", ZEROED_MEMORY.to_owned()),
            ("MTOOLSRC", "/dev/null".to_owned()),
            (
                "MKE2FS_CONFIG",
                self.folder.join("etc/mke2fs.conf").display().to_string(),
            ),
        ];
        let purpose = "laying out the image";
        let next = "is the disk full? Otherwise this is a defect: report it with these lines";
        Call {
            tool: name,
            argv,
            env,
            input,
            purpose,
            next,
        }
        .run(&self.folder, progress)
    }
}
