//! The boundary between the agent and the operating system.
//!
//! One narrow trait for each duty, one real implementation, and (feature `fakes`) one stateful fake of
//! the same name under `fakes`. Code above this crate is generic over the traits, or over [`Host`],
//! which hands out all of them; it never starts a process, opens a bus or writes a file itself.
//!
//! | trait | real | duty |
//! | --- | --- | --- |
//! | [`Units`] | [`UserUnits`] | start, stop and observe units of `systemd --user` over D-Bus |
//! | [`UnitFiles`] | [`QuadletDir`] | the Quadlet files that systemd's generator reads |
//! | [`Images`] | [`PodmanImages`] | pull images, say what is present |
//! | [`Containers`] | [`PodmanContainers`] | send a signal to a container that runs |
//! | [`Leftovers`] | [`PodmanLeftovers`] | what a removed deployment left in podman |
//! | [`Journal`] | [`UserJournal`] | the last log lines of one run of a unit, or of a container |
//! | [`Ledger`] | [`FileLedger`] | small durable records |
//! | [`DeviceFacts`] | [`LinuxFacts`] | what the device is and how it fares |
//! | [`Clock`] | [`SystemClock`] | the time |
//! | [`TimeServers`] | [`Sntp`] | what time servers say it is |
//! | [`TimeFloor`] | [`FileFloor`] | the newest time that was known to be right |
//! | [`Supervisor`] | [`SystemdSupervisor`] | readiness, status and watchdog towards systemd |
//!
//! [`quadlet`] is pure: it turns a score into the text of the files. [`exec`] is the only place that
//! starts a process, [`durable`] the only one that replaces a file.
//!
//! Everything runs on a single-threaded tokio runtime, so the futures are not `Send`. Blocking file work
//! goes to tokio's blocking threads. One task is spawned: the reader of the session bus, which ends with
//! its connection.
//!
//! What it does not do: decide anything. Retries, order and phases belong to the caller.

#![allow(
    async_fn_in_trait,
    reason = "one single-threaded runtime: the futures need not be Send"
)]

mod containers;
mod facts;
mod host;
mod images;
mod journal;
mod ledger;
mod leftovers;
mod names;
mod pause;
mod supervisor;
mod time;
mod unit_files;
mod units;

pub mod durable;
pub mod exec;
#[cfg(feature = "fakes")]
pub mod fakes;
#[cfg(test)]
mod fixture;
pub mod quadlet;

pub use containers::{Containers, ContainersError, PodmanContainers, Signalled};
pub use facts::{DeviceFacts, DeviceIdentity, FactsError, LinuxFacts, Vitals};
pub use host::{Device, Host, Places};
pub use images::{ImageError, ImageErrorKind, Images, PodmanImages, Pulled, RESERVE, Room};
pub use journal::{Journal, JournalError, LogLimits, LogLine, LogReader, LogTail, UserJournal, WhichRun};
pub use ledger::{FileLedger, Ledger, LedgerError, Reading, Shelf};
pub use leftovers::{Leftovers, LeftoversError, PodmanLeftovers, Remains};
pub use names::{
    Digest, InvocationId, NameError, UnitFileName, UnitName, container_name, init_container_name, volume_name,
};
pub use supervisor::{Supervisor, SystemdSupervisor};
pub use time::{Clock, FileFloor, Kiss, Reply, Said, Sntp, SystemClock, TimeFloor, TimeServers};
pub use unit_files::{QuadletDir, UnitFiles, UnitFilesError};
pub use units::{
    ActiveState, Generator, LoadState, Started, TakenUp, UnitFacts, Units, UnitsError, UserUnits,
};

/// What an idempotent write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a caller that ignores it cannot tell a repair from a no-op"]
pub enum Changed {
    /// The disk was written.
    Changed,
    /// It already was as asked; nothing was written.
    Unchanged,
}

impl Changed {
    /// Whether something was written.
    #[must_use]
    pub fn is_changed(self) -> bool {
        self == Self::Changed
    }
}
