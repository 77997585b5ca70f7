//! The fakes of the device itself, and all fakes in one.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::TimeServer;
use super::{
    FileLedger, PodmanContainers, PodmanImages, PodmanLeftovers, QuadletDir, UserJournal, UserUnits, World,
};
use crate::Changed;
use crate::facts::{DeviceFacts, DeviceIdentity, FactsError, Vitals};
use crate::host::Host;
use crate::supervisor::Supervisor;
use crate::time::{Clock, Reply, STEP, Said, TimeFloor, TimeServers};

/// The fake of [`crate::LinuxFacts`].
#[derive(Debug, Clone)]
pub struct LinuxFacts(World);

impl DeviceFacts for LinuxFacts {
    async fn identity(&self) -> Result<DeviceIdentity, FactsError> {
        let failed = |_| FactsError::Kernel {
            call: "uname",
            source: nix::Error::EIO,
        };
        self.0.call("facts.identity", "").map_err(failed)?;
        Ok(DeviceIdentity {
            arch: "amd64".to_owned(),
            os: "Debian GNU/Linux 13 (trixie)".to_owned(),
            kernel: "6.12.0".to_owned(),
            podman_version: "5.4.2".to_owned(),
            podman_problem: self.0.next_podman_problem(),
            boot_id: self.0.boot_id(),
            hostname: "fake".to_owned(),
            memory_mib: 2048,
            data_mib: 8192,
        })
    }

    fn boot_id(&self) -> Result<String, FactsError> {
        self.0.call("facts.boot-id", "").map_err(|_| FactsError::Kernel {
            call: "read",
            source: nix::Error::EIO,
        })?;
        Ok(self.0.boot_id())
    }

    fn vitals(&self) -> Result<Vitals, FactsError> {
        let failed = |_| FactsError::Kernel {
            call: "statvfs",
            source: nix::Error::EIO,
        };
        self.0.call("facts.vitals", "").map_err(failed)?;
        let state = self.0.state.borrow();
        Ok(Vitals {
            uptime: state.monotonic,
            data_free_mib: state.data_free_mib,
            memory_available_mib: 1024,
        })
    }
}

/// The fake of [`crate::SystemClock`]; [`World::advance`] moves it.
#[derive(Debug, Clone)]
pub struct SystemClock(World);

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.state.borrow().now
    }

    fn monotonic(&self) -> Duration {
        self.0.state.borrow().monotonic
    }

    async fn was_set(&self, ahead: Duration) -> io::Result<()> {
        loop {
            // Registered before the look, so that no change between both is lost.
            let mut set = std::pin::pin!(self.0.clock_set.notified());
            set.as_mut().enable();
            if self.ahead().abs_diff(ahead) >= STEP {
                return Ok(());
            }
            set.await;
        }
    }
}

/// The fake of [`crate::Sntp`]: the servers of [`World::time_servers`], at 192.0.2.1 and up.
#[derive(Debug, Clone)]
pub struct Sntp(World);

impl TimeServers for Sntp {
    async fn ask(&self, resting: &BTreeSet<SocketAddr>) -> Vec<Reply> {
        if self.0.call("time-servers.ask", "").is_err() {
            return Vec::new();
        }
        let state = self.0.state.borrow();
        let behind = state.behind.num_milliseconds();
        let told = |lie| Said::Time {
            offset_millis: behind + lie,
            error_millis: 10,
        };
        let replies = (1..).zip(&state.time_servers).map(|(number, server)| Reply {
            server: format!("ntp{number}.test"),
            address: Some(SocketAddr::from(([192, 0, 2, number], 123))),
            said: match *server {
                TimeServer::Honest => told(0),
                TimeServer::Lies(lie) => told(lie),
                TimeServer::Kisses(kiss) => Said::Kiss(kiss),
                TimeServer::Silent => Said::Nothing("it does not answer".to_owned()),
            },
        });
        let as_asked = |mut reply: Reply| {
            if reply.address.is_some_and(|address| resting.contains(&address)) {
                reply.said = Said::Rests;
            }
            reply
        };
        replies.map(as_asked).collect()
    }
}

/// The fake of [`crate::FileFloor`].
#[derive(Debug, Clone)]
pub struct FileFloor(World);

impl TimeFloor for FileFloor {
    async fn floor(&self) -> io::Result<Option<DateTime<Utc>>> {
        self.0.call("time-floor.read", "").map_err(io::Error::from)?;
        Ok(self.0.state.borrow().time_floor)
    }

    async fn set_floor(&self, at: DateTime<Utc>) -> io::Result<Changed> {
        self.0.call("time-floor.write", "").map_err(io::Error::from)?;
        match self.0.state.borrow_mut().time_floor.replace(at) {
            Some(before) if before == at => Ok(Changed::Unchanged),
            _ => Ok(Changed::Changed),
        }
    }
}

/// The fake of [`crate::SystemdSupervisor`].
#[derive(Debug, Clone)]
pub struct SystemdSupervisor(World);

impl SystemdSupervisor {
    fn note(&self, note: String) -> io::Result<()> {
        self.0.call("supervisor.notify", "").map_err(io::Error::from)?;
        self.0.state.borrow_mut().notes.push(note);
        Ok(())
    }
}

impl Supervisor for SystemdSupervisor {
    fn ready(&self) -> io::Result<()> {
        self.note("ready".to_owned())
    }
    fn status(&self, line: &str) -> io::Result<()> {
        self.note(format!("status {line}"))
    }
    fn watchdog(&self) -> io::Result<()> {
        self.note("watchdog".to_owned())
    }
    fn stopping(&self) -> io::Result<()> {
        self.note("stopping".to_owned())
    }
    fn watchdog_interval(&self) -> Option<Duration> {
        self.0.state.borrow().watchdog
    }
}

/// The fake of [`crate::Device`].
#[derive(Debug, Clone)]
pub struct Device {
    units: UserUnits,
    unit_files: QuadletDir,
    images: PodmanImages,
    containers: PodmanContainers,
    leftovers: PodmanLeftovers,
    journal: UserJournal,
    ledger: FileLedger,
    facts: LinuxFacts,
    clock: SystemClock,
    time_servers: Sntp,
    time_floor: FileFloor,
    supervisor: SystemdSupervisor,
}

impl Device {
    pub(super) fn new(world: World) -> Self {
        Self {
            units: UserUnits::new(world.clone()),
            unit_files: QuadletDir::new(world.clone()),
            images: PodmanImages::new(world.clone()),
            containers: PodmanContainers::new(world.clone()),
            leftovers: PodmanLeftovers::new(world.clone()),
            journal: UserJournal::new(world.clone()),
            ledger: FileLedger::new(world.clone()),
            facts: LinuxFacts(world.clone()),
            clock: SystemClock(world.clone()),
            time_servers: Sntp(world.clone()),
            time_floor: FileFloor(world.clone()),
            supervisor: SystemdSupervisor(world),
        }
    }
}

impl Host for Device {
    type Units = UserUnits;
    type UnitFiles = QuadletDir;
    type Images = PodmanImages;
    type Containers = PodmanContainers;
    type Leftovers = PodmanLeftovers;
    type Journal = UserJournal;
    type Ledger = FileLedger;
    type DeviceFacts = LinuxFacts;
    type Clock = SystemClock;
    type TimeServers = Sntp;
    type TimeFloor = FileFloor;
    type Supervisor = SystemdSupervisor;

    fn units(&self) -> &UserUnits {
        &self.units
    }
    fn unit_files(&self) -> &QuadletDir {
        &self.unit_files
    }
    fn images(&self) -> &PodmanImages {
        &self.images
    }
    fn containers(&self) -> &PodmanContainers {
        &self.containers
    }
    fn leftovers(&self) -> &PodmanLeftovers {
        &self.leftovers
    }
    fn journal(&self) -> &UserJournal {
        &self.journal
    }
    fn ledger(&self) -> &FileLedger {
        &self.ledger
    }
    fn facts(&self) -> &LinuxFacts {
        &self.facts
    }
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
    fn time_servers(&self) -> &Sntp {
        &self.time_servers
    }
    fn time_floor(&self) -> &FileFloor {
        &self.time_floor
    }
    fn supervisor(&self) -> &SystemdSupervisor {
        &self.supervisor
    }
}
