//! One layer: a tar archive with nothing in it that differs from one build to the next.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use super::Digest;

/// A layer that is being filled. Paths are relative to the image's root, without a leading slash.
pub struct Layer {
    archive: Builder<Vec<u8>>,
}

/// A finished layer: compressed, with both digests that an image names it by.
#[derive(Debug, Clone)]
pub(super) struct PackedLayer {
    pub(super) gzip: Vec<u8>,
    pub(super) diff_id: Digest,
}

impl Default for Layer {
    fn default() -> Self {
        Self {
            archive: Builder::new(Vec::new()),
        }
    }
}

impl Layer {
    /// Adds a folder with this mode.
    pub fn folder(mut self, path: &str, mode: u32) -> io::Result<Self> {
        let mut header = header(EntryType::Directory, mode, 0);
        self.archive.append_data(&mut header, path, io::empty())?;
        Ok(self)
    }

    /// Adds a file with this mode.
    pub fn file(mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<Self> {
        let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
        self.archive.append_data(&mut header, path, bytes)?;
        Ok(self)
    }

    /// Adds a symbolic link at `path` that points to `target`.
    pub fn link(mut self, path: &str, target: &str) -> io::Result<Self> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.archive.append_link(&mut header, path, target)?;
        Ok(self)
    }

    /// Adds a folder with this mode that belongs to this user and group.
    pub fn folder_of(mut self, path: &str, mode: u32, id: u64) -> io::Result<Self> {
        let mut header = header(EntryType::Directory, mode, 0);
        header.set_uid(id);
        header.set_gid(id);
        self.archive.append_data(&mut header, path, io::empty())?;
        Ok(self)
    }

    /// Adds those folders, files and links of another archive whose paths `wanted` takes, as root's.
    pub fn from_tar(mut self, archive: impl io::Read, wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        for entry in Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
            if path.is_empty() || !wanted(&path) {
                continue;
            }
            let (kind, mode) = (entry.header().entry_type(), entry.header().mode()?);
            match (kind, entry.link_name()?) {
                (EntryType::Symlink, Some(target)) => self = self.link(&path, &target.to_string_lossy())?,
                (EntryType::Directory, _) => self = self.folder(&path, mode)?,
                (EntryType::Regular, _) => {
                    let mut header = header(kind, mode, entry.size());
                    self.archive.append_data(&mut header, &path, &mut entry)?;
                }
                (other, _) => {
                    let what = format!("{path} is of a kind that no layer here needs: {other:?}");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, what));
                }
            }
        }
        Ok(self)
    }

    pub(super) fn pack(self) -> io::Result<PackedLayer> {
        let archive = self.archive.into_inner()?;
        let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::default());
        encoder.write_all(&archive)?;
        Ok(PackedLayer {
            gzip: encoder.finish()?,
            diff_id: Digest::of(&archive),
        })
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_packs_to_the_same_bytes() {
        let pack = || {
            let layer = Layer::default()
                .folder("tmp", 0o1777)
                .and_then(|l| l.file("bin/tool", 0o755, b"tool"));
            layer
                .and_then(|l| l.link("bin/sh", "tool"))
                .and_then(Layer::pack)
                .expect("memory does not fail")
        };
        let (one, two) = (pack(), pack());
        assert_eq!(one.gzip, two.gzip);
        assert_eq!(one.diff_id, two.diff_id);
    }

    #[test]
    fn modes_sizes_and_links_are_in_the_archive() {
        let layer = Layer::default()
            .file("etc/name", 0o640, b"abc")
            .and_then(|l| l.link("bin/sh", "busybox"));
        let packed = layer.and_then(Layer::pack).expect("memory does not fail");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.gzip.as_slice()));
        let seen: Vec<_> = archive
            .entries()
            .expect("a tar archive")
            .map(|entry| {
                let entry = entry.expect("a whole entry");
                let link = entry
                    .link_name()
                    .expect("a link name")
                    .map(|l| l.display().to_string());
                (
                    entry.path().expect("a path").display().to_string(),
                    entry.size(),
                    link,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("etc/name".into(), 3, None),
                ("bin/sh".into(), 0, Some("busybox".into()))
            ]
        );
    }
}
