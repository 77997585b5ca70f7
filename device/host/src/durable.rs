//! Files that survive a power cut: whole old content or whole new content, never a part.
//!
//! Order: write a temporary file beside the target, sync it, rename it over the target, sync the folder.
//! A cut before the rename leaves the old content and a stray `.…~new` file, which the next write of the
//! same name overwrites; a cut after it leaves the new content. For ext4 only: FAT's rename is not atomic.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::Changed;

/// A point of [`replace`] at which a test can cut the power or fail the disk. The step has not happened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The temporary file is made.
    Create,
    /// Its bytes are written.
    Write,
    /// Its bytes reach the disk.
    SyncFile,
    /// It takes the target's name.
    Rename,
    /// The folder reaches the disk.
    SyncDir,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Self; 5] = [
        Self::Create,
        Self::Write,
        Self::SyncFile,
        Self::Rename,
        Self::SyncDir,
    ];
}

/// Runs blocking file work on tokio's blocking threads, so that a slow card does not stop the runtime.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Replaces a file with `bytes`, durably; equal content is not written again. Makes the folders above it
/// (0700) when they are missing.
///
/// # Errors
/// Of the first step that fails; the old content is then still in place, except when only the last sync
/// failed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Changed> {
    replace_with(path, bytes, mode, &mut |_| Ok(()))
}

/// [`replace`], with a call before each step that can fail it.
///
/// # Errors
/// As with [`replace`].
pub fn replace_with(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<Changed> {
    if holds(path, bytes, mode)? {
        return Ok(Changed::Unchanged);
    }
    let dir = parent(path)?;
    make_folders(dir)?;
    let temporary = temporary_name(path)?;
    before(Step::Create)?;
    // The mode of an existing stray file would stay: remove it first.
    remove_quietly(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    before(Step::Write)?;
    let written = file.write_all(bytes).and_then(|()| {
        before(Step::SyncFile)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.sync_all()
    });
    if let Err(error) = written {
        // A full disk must not stay full because of our half file. The write's error is the one that counts.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    before(Step::Rename)?;
    std::fs::rename(&temporary, path)?;
    before(Step::SyncDir)?;
    File::open(dir)?.sync_all()?;
    Ok(Changed::Changed)
}

/// Removes a file durably.
///
/// # Errors
/// Of the removal or of the folder's sync.
pub fn remove(path: &Path) -> io::Result<Changed> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Changed::Unchanged),
        Err(error) => return Err(error),
    }
    File::open(parent(path)?)?.sync_all()?;
    Ok(Changed::Changed)
}

/// Moves a file aside, durably, over an older one of that name.
///
/// # Errors
/// Of the rename or of the folder's sync.
pub fn move_aside(path: &Path, aside: &Path) -> io::Result<()> {
    std::fs::rename(path, aside)?;
    File::open(parent(path)?)?.sync_all()
}

/// A file's bytes, `None` when it does not exist.
///
/// # Errors
/// `FileTooLarge` beyond `limit` bytes, or the error of the read.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("over {limit} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What this user may still take.
    pub free: u64,
}

/// The room on the file system that holds `path`.
///
/// # Errors
/// The kernel's.
pub fn space(path: &Path) -> nix::Result<Space> {
    let found = nix::sys::statvfs::statvfs(path)?;
    let unit = found.fragment_size();
    Ok(Space {
        total: found.blocks() * unit,
        free: found.blocks_available() * unit,
    })
}

/// Writes out everything that is still in memory of the file system that holds `path`. Blocks.
///
/// # Errors
/// The kernel's, also for a write that failed earlier in the background.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?)?)
}

/// Whether the file is as it would be written. One that cannot be read, or is too large, is not.
fn holds(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let alike = metadata.is_file()
        && metadata.len() == bytes.len() as u64
        && metadata.permissions().mode() & 0o7777 == mode;
    Ok(alike
        && read_bounded(path, bytes.len() as u64)
            .ok()
            .flatten()
            .is_some_and(|found| found == bytes))
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no folder"))
}

/// Makes missing folders, each entry durable in the folder above it.
fn make_folders(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir)?;
    make_folders(above)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(above)?.sync_all(),
    }
}

/// `.<name>~new`: hidden and with a tail that neither Quadlet nor the ledger reads.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push("~new");
    Ok(path.with_file_name(temporary))
}

fn remove_quietly(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_cut_before_any_step_leaves_the_old_or_the_new_content_and_the_next_write_heals() {
        for at in Step::ALL {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a/record.json");
            assert_eq!(replace(&path, b"old", 0o600).unwrap(), Changed::Changed);
            let mut fired = false;
            let result = replace_with(&path, b"new content", 0o600, &mut |step| {
                fired |= step == at;
                if step == at {
                    Err(io::Error::other("power cut"))
                } else {
                    Ok(())
                }
            });
            assert!(fired && result.is_err(), "the fault at {at:?} did not fire");
            let expected: &[u8] = if at == Step::SyncDir {
                b"new content"
            } else {
                b"old"
            };
            assert_eq!(content(&path), expected, "{at:?}");
            let _ = replace(&path, b"new content", 0o600).unwrap();
            assert_eq!(content(&path), b"new content", "{at:?}");
        }
    }

    #[test]
    fn the_negative_control_a_plain_overwrite_is_torn_by_the_same_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let _ = replace(&path, b"old", 0o600).unwrap();
        // What a truncating write leaves when the power goes before its bytes are there.
        File::create(&path).unwrap();
        assert_eq!(content(&path), b"");
    }

    #[test]
    fn equal_content_takes_no_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let _ = replace(&path, b"same", 0o600).unwrap();
        let mut steps = 0;
        let mut count = |_| {
            steps += 1;
            Ok(())
        };
        assert_eq!(
            replace_with(&path, b"same", 0o600, &mut count).unwrap(),
            Changed::Unchanged
        );
        assert_eq!(steps, 0);
    }

    #[test]
    fn a_stray_temporary_file_of_a_cut_write_is_no_obstacle_and_its_mode_does_not_leak() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        let stray = temporary_name(&path).unwrap();
        let _ = replace(&stray, b"half", 0o666).unwrap();
        assert_eq!(replace(&path, b"whole", 0o600).unwrap(), Changed::Changed);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!stray.exists());
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let _ = replace(&path, &[b'x'; 11], 0o600).unwrap();
        assert_eq!(
            read_bounded(&path, 10).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(read_bounded(&path, 11).unwrap().unwrap().len(), 11);
    }
}
