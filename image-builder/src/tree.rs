//! A tree of files that goes over the Debian root file system, and the tars it is written to.
//!
//! Everything belongs to root, has the same time stamp, and is written in sorted order: the tar depends on names and
//! contents alone, never on who checked the sources out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::identity::{InputDigest, file_digest};

/// A file, folder or link, by the path it has on the device (without a leading slash).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder.
    Folder { mode: u32 },
    /// A file with its content in memory.
    Text { mode: u32, content: Vec<u8> },
    /// A file whose content is read from disk.
    Copy { mode: u32, from: PathBuf },
    /// A symbolic link.
    Link { target: String },
}

/// Files by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Adds a node and the folders above it.
    pub(crate) fn insert(&mut self, path: &str, node: Node) {
        let mut parent = Path::new(path);
        while let Some(above) = parent.parent().filter(|above| !above.as_os_str().is_empty()) {
            self.0
                .entry(above.to_string_lossy().into_owned())
                .or_insert(Node::Folder { mode: 0o755 });
            parent = above;
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Adds a small file.
    pub(crate) fn text(&mut self, path: &str, content: &str) {
        self.insert(
            path,
            Node::Text {
                mode: 0o644,
                content: content.as_bytes().to_vec(),
            },
        );
    }

    /// Adds an executable from disk.
    pub(crate) fn executable(&mut self, path: &str, from: &Path) {
        self.insert(
            path,
            Node::Copy {
                mode: 0o755,
                from: from.to_owned(),
            },
        );
    }

    /// Adds everything below a folder of the host at `prefix`. Only the executable bit is taken over.
    pub(crate) fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), ImageError> {
        let entries = fs::read_dir(folder).map_err(ImageError::io("read the folder", folder))?;
        for entry in entries {
            let path = entry.map_err(ImageError::io("read the folder", folder))?.path();
            let name = path
                .file_name()
                .expect("entries of a folder have names")
                .to_string_lossy()
                .into_owned();
            let at = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let facts = fs::symlink_metadata(&path).map_err(ImageError::io("examine", &path))?;
            if facts.is_dir() {
                self.add_folder(&path, &at)?;
            } else if facts.is_symlink() {
                let target = fs::read_link(&path).map_err(ImageError::io("read the link", &path))?;
                self.insert(
                    &at,
                    Node::Link {
                        target: target.to_string_lossy().into_owned(),
                    },
                );
            } else {
                let mode = if facts.permissions().mode() & 0o111 == 0 {
                    0o644
                } else {
                    0o755
                };
                self.insert(&at, Node::Copy { mode, from: path });
            }
        }
        Ok(())
    }

    /// Whether the tree has this path, and as something else than a folder.
    pub(crate) fn replaces(&self, path: &str) -> bool {
        matches!(self.0.get(path), Some(node) if !matches!(node, Node::Folder { .. }))
    }

    /// Digest of all paths, modes and contents.
    pub(crate) fn digest(&self) -> Result<String, ImageError> {
        let mut digest = InputDigest::new("tree");
        for (path, node) in &self.0 {
            digest.add(path.as_bytes());
            match node {
                Node::Folder { mode } => digest.add(format!("folder {mode:o}").as_bytes()),
                Node::Link { target } => digest.add(format!("link {target}").as_bytes()),
                Node::Text { mode, content } => {
                    digest.add(format!("file {mode:o}").as_bytes());
                    digest.add(content);
                }
                Node::Copy { mode, from } => {
                    digest.add(format!("copy {mode:o}").as_bytes());
                    digest.add(file_digest(from)?.as_bytes());
                }
            }
        }
        Ok(digest.hex())
    }

    /// Appends everything to a tar; folders in `known` are there already and keep their modes.
    pub(crate) fn append_to<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        epoch: u64,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<(), ImageError> {
        for (path, node) in &self.0 {
            if matches!(node, Node::Folder { .. }) && known(path) {
                continue;
            }
            append(tar, path, node, epoch).map_err(ImageError::io("append to the tar", path))?;
        }
        Ok(())
    }

    /// Writes the tree as a tar of its own.
    pub(crate) fn write_tar(&self, to: &Path, epoch: u64) -> Result<(), ImageError> {
        let file = File::create(to).map_err(ImageError::io("create", to))?;
        let mut tar = tar::Builder::new(io::BufWriter::new(file));
        self.append_to(&mut tar, epoch, &|_| false)?;
        let mut writer = tar.into_inner().map_err(ImageError::io("finish", to))?;
        writer.flush().map_err(ImageError::io("finish", to))
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, node: &Node, epoch: u64) -> io::Result<()> {
    match node {
        Node::Folder { mode } => {
            let mut header = header(tar::EntryType::Directory, *mode, epoch);
            tar.append_data(&mut header, format!("./{path}/"), io::empty())
        }
        Node::Link { target } => {
            let mut header = header(tar::EntryType::Symlink, 0o777, epoch);
            tar.append_link(&mut header, format!("./{path}"), target)
        }
        Node::Text { mode, content } => {
            let mut header = header(tar::EntryType::Regular, *mode, epoch);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, format!("./{path}"), content.as_slice())
        }
        Node::Copy { mode, from } => {
            let file = File::open(from)?;
            let mut header = header(tar::EntryType::Regular, *mode, epoch);
            let size = file.metadata()?.len();
            header.set_size(size);
            tar.append_data(&mut header, format!("./{path}"), file.take(size))
        }
    }
}

/// A header of root's, dated `epoch`.
pub(crate) fn header(kind: tar::EntryType, mode: u32, epoch: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(epoch);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_above_a_file_come_first() {
        let mut tree = Tree::default();
        tree.text("etc/fleet/a", "x");
        let paths: Vec<_> = tree.0.keys().cloned().collect();
        assert_eq!(paths, ["etc", "etc/fleet", "etc/fleet/a"]);
    }

    #[test]
    fn digest_sees_content_mode_and_name() {
        let digest = |path: &str, content: &str, mode| {
            let mut tree = Tree::default();
            tree.insert(
                path,
                Node::Text {
                    mode,
                    content: content.into(),
                },
            );
            tree.digest().expect("a digest")
        };
        let first = digest("a", "x", 0o644);
        assert_eq!(first, digest("a", "x", 0o644));
        for other in [
            digest("b", "x", 0o644),
            digest("a", "y", 0o644),
            digest("a", "x", 0o755),
        ] {
            assert_ne!(first, other);
        }
    }
}
