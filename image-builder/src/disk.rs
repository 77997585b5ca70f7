//! Puts the parts together: partition table, ESP, physical volume.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::error::ImageError;
use crate::identity::{fat_id, uuid};
use crate::layout::{EXTENT, Layout, MIB, SECTOR, Span};
use crate::lvm;
use crate::progress::Progress;
use crate::sparse::for_each_block;
use crate::thin::{Packer, metadata_xml};
use crate::tools::Tools;

const TYPE_ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
const TYPE_LVM: &str = "E6D6D379-F507-44C2-A23C-238F2A3DF928";

const COPY_BLOCK: u64 = MIB / 4;

/// A disk image under construction.
pub(crate) struct Disk<'a> {
    /// Where everything goes.
    pub(crate) layout: Layout,
    /// Digest of all inputs, source of every identifier.
    pub(crate) inputs: &'a str,
    /// Time of everything.
    pub(crate) epoch: u64,
    /// Folder for parts.
    pub(crate) scratch: &'a Path,
    /// Programs that make parts.
    pub(crate) tools: &'a Tools,
    /// Who is told.
    pub(crate) progress: &'a dyn Progress,
}

impl Disk<'_> {
    /// Makes an ext4 file system of a tar.
    pub(crate) fn ext4(&self, name: &str, size: u64, tar: &Path) -> Result<PathBuf, ImageError> {
        let path = self.empty_file(name, size)?;
        let hash_seed = uuid(self.inputs, &format!("{name} hash seed"));
        let arguments = [
            "-q".to_owned(),
            "-F".to_owned(),
            "-t".to_owned(),
            "ext4".to_owned(),
            "-m".to_owned(),
            "1".to_owned(),
            "-L".to_owned(),
            name.to_owned(),
            "-U".to_owned(),
            uuid(self.inputs, name),
            "-E".to_owned(),
            format!("hash_seed={hash_seed},lazy_itable_init=0,lazy_journal_init=0"),
            "-d".to_owned(),
            tar.display().to_string(),
            path.display().to_string(),
        ];
        self.tools.run("sbin/mke2fs", arguments, "", self.progress)?;
        Ok(path)
    }

    /// Makes the ESP of files.
    pub(crate) fn esp(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<PathBuf, ImageError> {
        let path = self.empty_file("esp", self.layout.esp.size)?;
        let image = path.display().to_string();
        let id = fat_id(self.inputs);
        let format = ["-F", "32", "-n", "FLEETBOOT", "-i", &id, &image];
        self.tools.run("sbin/mkfs.fat", format, "", self.progress)?;
        let folders: BTreeSet<&Path> = files
            .keys()
            .flat_map(|file| Path::new(file).ancestors().skip(1))
            .collect();
        for folder in folders
            .into_iter()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            let target = format!("::/{}", folder.display());
            self.tools
                .run("bin/mmd", ["-i", &image, &target], "", self.progress)?;
        }
        for (file, content) in files {
            let staged = self.scratch.join("esp-file");
            cache::write(&staged, content)?;
            let source = staged.display().to_string();
            let target = format!("::/{file}");
            self.tools
                .run("bin/mcopy", ["-i", &image, &source, &target], "", self.progress)?;
        }
        Ok(path)
    }

    /// Writes the whole disk to `to`.
    pub(crate) fn assemble(&self, to: &Path, esp: &Path, root: &Path, data: &Path) -> Result<(), ImageError> {
        let image = File::options().create_new(true).read(true).write(true).open(to);
        let image = image.map_err(ImageError::io("create", to))?;
        image
            .set_len(self.layout.disk)
            .map_err(ImageError::io("size", to))?;
        self.partition(to)?;
        copy_into(&image, self.layout.esp, esp)?;
        let header = lvm::header(&self.layout, self.inputs, self.epoch);
        image
            .write_all_at(&header, self.layout.pv.start)
            .map_err(ImageError::io("write", to))?;
        let mut packer = Packer::new(&image, &self.layout);
        let (root, data) = (packer.add(root)?, packer.add(data)?);
        let metadata = self.pool_metadata(&metadata_xml(&self.layout, &root, &data))?;
        let size = self.layout.metadata_extents * EXTENT;
        copy_into(
            &image,
            Span {
                start: self.layout.extent_offset(0),
                size,
            },
            &metadata,
        )?;
        image.sync_all().map_err(ImageError::io("sync", to))
    }

    fn partition(&self, image: &Path) -> Result<(), ImageError> {
        let line = |span: Span, kind: &str, name: &str| {
            let (start, size) = (span.start / SECTOR, span.size / SECTOR);
            let id = uuid(self.inputs, &format!("partition {name}"));
            format!("start={start}, size={size}, type={kind}, uuid={id}, name=\"{name}\"\n")
        };
        let script = format!(
            "label: gpt\nlabel-id: {}\nunit: sectors\n{}{}",
            uuid(self.inputs, "disk"),
            line(self.layout.esp, TYPE_ESP, "FLEETBOOT"),
            line(self.layout.pv, TYPE_LVM, "fleet"),
        );
        let image = image.display().to_string();
        self.tools.run(
            "sbin/sfdisk",
            ["--quiet", "--no-reread", "--no-tell-kernel", &image],
            &script,
            self.progress,
        )
    }

    fn pool_metadata(&self, xml: &str) -> Result<PathBuf, ImageError> {
        let source = self.scratch.join("pool.xml");
        cache::write(&source, xml.as_bytes())?;
        let path = self.empty_file("pool-metadata", self.layout.metadata_extents * EXTENT)?;
        let (from, to) = (source.display().to_string(), path.display().to_string());
        self.tools.run(
            "sbin/pdata_tools",
            ["thin_restore", "-q", "-i", &from, "-o", &to],
            "",
            self.progress,
        )?;
        self.tools
            .run("sbin/pdata_tools", ["thin_check", "-q", &to], "", self.progress)?;
        Ok(path)
    }

    fn empty_file(&self, name: &str, size: u64) -> Result<PathBuf, ImageError> {
        let path = self.scratch.join(name);
        let file = File::create(&path).map_err(ImageError::io("create", &path))?;
        file.set_len(size).map_err(ImageError::io("size", &path))?;
        Ok(path)
    }
}

/// Copies a part to its place; what is zero stays a hole.
fn copy_into(image: &File, span: Span, part: &Path) -> Result<(), ImageError> {
    let file = File::open(part).map_err(ImageError::io("open", part))?;
    let copied = for_each_block(&file, COPY_BLOCK, |number, block| {
        image.write_all_at(block, span.start + number * COPY_BLOCK)
    });
    copied.map_err(ImageError::io("copy", part))?;
    fs::remove_file(part).map_err(ImageError::io("remove", part))
}
