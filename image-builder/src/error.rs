//! What can go wrong while an image is built, each with the next step for the person at the terminal.

use std::io;
use std::path::PathBuf;

/// Why an image could not be built. `Display` names the subject and what to do; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program is not installed.
    #[error("`{tool}` is not installed: run `apt-get install {package}` and start again")]
    MissingTool {
        /// Program that was looked for in PATH.
        tool: &'static str,
        /// Debian package that has it.
        package: &'static str,
    },
    /// A file the build needs is not there.
    #[error("{what} {} does not exist: {next}", path.display())]
    MissingFile {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What the person can do.
        next: &'static str,
    },
    /// An ordinary user without a range of subordinate ids cannot own a Debian tree.
    #[error(
        "user `{user}` has no range in /etc/subuid and /etc/subgid, which a build without root needs: \
         run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`, or build as root"
    )]
    NoSubordinateIds {
        /// Name or number of the user.
        user: String,
    },
    /// Not enough room.
    #[error("{} has {have_mib} MiB free, the build needs {need_mib} MiB: free some, or choose another folder", path.display())]
    NoSpace {
        /// Folder that was measured.
        path: PathBuf,
        /// MiB needed.
        need_mib: u64,
        /// MiB there.
        have_mib: u64,
    },
    /// A program failed.
    #[error("`{tool}` {outcome} while {purpose}; {next}\n--- its last lines ---\n{tail}")]
    Tool {
        /// Name of the program.
        tool: String,
        /// How it ended.
        outcome: String,
        /// What it was doing for us.
        purpose: String,
        /// What the person can do.
        next: String,
        /// The end of what it printed.
        tail: String,
    },
    /// An operation on a file failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The Debian tree is not what the image needs.
    #[error("the Debian root file system has no {what}: build again with `--refresh`")]
    Incomplete {
        /// What is missing.
        what: String,
    },
    /// The content does not fit the size asked for.
    #[error("{what} needs {need_mib} MiB and gets {have_mib} MiB: choose a larger `--size`")]
    TooSmall {
        /// What does not fit.
        what: &'static str,
        /// MiB needed.
        need_mib: u64,
        /// MiB there.
        have_mib: u64,
    },
}

impl ImageError {
    /// For `map_err`: names the operation and its file.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
