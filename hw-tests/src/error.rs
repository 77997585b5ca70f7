//! What can go wrong with a rig, in words that say what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use fleet_testbed::interrupt::Interrupted;
use fleet_testbed::poll::{Timeout, Unmet};
use fleet_testbed::process::{RunError, ServiceError};
use fleet_testbed::tools::ToolError;

/// A [`Fault`] of one rig, with the folder that holds its logs: `serial.log`, `qemu.log` and `qemu-command.txt`.
#[derive(Debug)]
pub struct RigError {
    /// The rig's name.
    pub rig: String,
    /// The folder with the logs; it outlives the rig.
    pub logs: PathBuf,
    /// What failed.
    pub fault: Fault,
}

impl fmt::Display for RigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rig {}: {} (logs: {})",
            self.rig,
            self.fault,
            self.logs.display()
        )
    }
}

impl Error for RigError {
    // The fault's own text is in ours, so the chain goes on below it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.fault.source()
    }
}

/// One failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A program the rig needs is not on this machine.
    #[error("{tool} is not installed on this machine; run `cargo xtask setup`")]
    MissingTool {
        /// The program's name.
        tool: &'static str,
    },
    /// The UEFI firmware for the virtual machine is not on this machine.
    #[error("the UEFI firmware {} is not installed on this machine (package ovmf); run `cargo xtask setup`", path.display())]
    MissingFirmware {
        /// The first place where it was looked for.
        path: PathBuf,
    },
    /// There is no device image to boot.
    #[error("there is no device image at {}; build one with `cargo xtask image`, or name one in {}", path.display(), crate::image::IMAGE_VARIABLE)]
    NoImage {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The disk is too full to start a device.
    #[error("{} has {free_mib} MiB free, a device needs {needed_mib} MiB; make room there, or set FLEET_CACHE to a folder on another disk", folder.display())]
    NoSpace {
        /// The folder on the full disk.
        folder: PathBuf,
        /// What is free, in MiB.
        free_mib: u64,
        /// What is needed, in MiB.
        needed_mib: u64,
    },
    /// A port of this machine that was asked for is in use.
    #[error("port {port} of 127.0.0.1 is taken by another program; end that program or choose another port")]
    PortTaken {
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// An operation on a file of this machine failed.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// A verb: what was being done.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A lasting child could not be started, ended by itself, or did not do in time what was waited for.
    #[error(transparent)]
    Service(Box<ServiceError>),
    /// A program that runs to its end failed.
    #[error(transparent)]
    Run(Box<RunError>),
    /// There is no folder for the cache.
    #[error(transparent)]
    Cache(Box<ToolError>),
    /// Somebody asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Something that was waited for did not happen.
    #[error("{what} did not happen within {} s; last seen: {last}", deadline.as_secs_f32())]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
        /// The last observation.
        last: String,
    },
    /// QEMU refused a command.
    #[error("QEMU refused `{command}`: {description}")]
    Refused {
        /// The QMP command.
        command: String,
        /// QEMU's words.
        description: String,
    },
    /// A connection to the virtual machine broke.
    #[error("the connection to {peer} broke")]
    Connection {
        /// The other end.
        peer: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The other end of a connection said something outside its protocol.
    #[error("{peer} broke its protocol: {detail}")]
    Protocol {
        /// The other end.
        peer: &'static str,
        /// What was wrong.
        detail: String,
    },
    /// The operation needs the device on, and it is off, or the other way round.
    #[error("cannot {operation} while the device is {state}")]
    Power {
        /// A verb: what was asked for.
        operation: &'static str,
        /// `on` or `off`.
        state: &'static str,
    },
    /// A command in the device ended with an error.
    #[error("`{command}` in the device ended with status {status}: {said}")]
    Command {
        /// The command's text.
        command: String,
        /// Its exit status; 124 when it ran out of time.
        status: i32,
        /// What it wrote, standard error first.
        said: String,
    },
    /// The disk has no EFI system partition.
    #[error("the disk has no EFI system partition: {detail}")]
    NoBootPartition {
        /// What was found instead.
        detail: &'static str,
    },
    /// An operation on a file of the FAT partition failed.
    #[error("cannot {operation} {path} on the boot partition")]
    BootFile {
        /// A verb: what was being done.
        operation: &'static str,
        /// The path inside the partition.
        path: String,
        /// What the file system said.
        source: io::Error,
    },
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<Unmet> for Fault {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Late(Timeout { what, waited, last }) => Self::Late {
                what,
                deadline: waited,
                last,
            },
            Unmet::Interrupted(interrupted) => interrupted.into(),
        }
    }
}

impl Fault {
    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    pub(crate) fn connection(peer: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Connection { peer, source }
    }

    /// The fault as an error of one rig.
    pub(crate) fn of_rig(self, rig: &str, logs: impl Into<PathBuf>) -> RigError {
        RigError {
            rig: rig.to_owned(),
            logs: logs.into(),
            fault: self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_logs_and_does_not_repeat_its_cause() {
        let cause = io::Error::other("no such thing");
        let error = Fault::file("read", "/x/disk")(cause).of_rig("amd64", "/logs/1");
        assert_eq!(
            error.to_string(),
            "rig amd64: cannot read /x/disk (logs: /logs/1)"
        );
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("no such thing")
        );
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_brings_it() {
        let tool = Fault::MissingTool { tool: "socat" }.to_string();
        assert!(tool.contains("`cargo xtask setup`"), "{tool}");
        let image = Fault::NoImage {
            path: "/c/images/amd64-vm.img".into(),
        }
        .to_string();
        assert!(
            image.contains("`cargo xtask image`") && image.contains("/c/images/amd64-vm.img"),
            "{image}"
        );
    }
}
