//! All traits in one type parameter, so that the agent is generic over one thing.

use std::path::PathBuf;
use std::time::Duration;

use crate::exec::Environment;
use crate::{
    Clock, Containers, DeviceFacts, FileFloor, FileLedger, Generator, Images, Journal, Ledger, Leftovers,
    LinuxFacts, PodmanContainers, PodmanImages, PodmanLeftovers, QuadletDir, Sntp, Supervisor, SystemClock,
    SystemdSupervisor, TimeFloor, TimeServers, UnitFiles, Units, UserJournal, UserUnits,
};

/// Hands out the traits. Code that needs one of them takes that one.
pub trait Host {
    /// See [`Units`].
    type Units: Units;
    /// See [`UnitFiles`].
    type UnitFiles: UnitFiles;
    /// See [`Images`].
    type Images: Images;
    /// See [`Containers`].
    type Containers: Containers;
    /// See [`Leftovers`].
    type Leftovers: Leftovers;
    /// See [`Journal`].
    type Journal: Journal;
    /// See [`Ledger`].
    type Ledger: Ledger;
    /// See [`DeviceFacts`].
    type DeviceFacts: DeviceFacts;
    /// See [`Clock`].
    type Clock: Clock;
    /// See [`TimeServers`].
    type TimeServers: TimeServers;
    /// See [`TimeFloor`].
    type TimeFloor: TimeFloor;
    /// See [`Supervisor`].
    type Supervisor: Supervisor;

    /// See [`Units`].
    fn units(&self) -> &Self::Units;
    /// See [`UnitFiles`].
    fn unit_files(&self) -> &Self::UnitFiles;
    /// See [`Images`].
    fn images(&self) -> &Self::Images;
    /// See [`Containers`].
    fn containers(&self) -> &Self::Containers;
    /// See [`Leftovers`].
    fn leftovers(&self) -> &Self::Leftovers;
    /// See [`Journal`].
    fn journal(&self) -> &Self::Journal;
    /// See [`Ledger`].
    fn ledger(&self) -> &Self::Ledger;
    /// See [`DeviceFacts`].
    fn facts(&self) -> &Self::DeviceFacts;
    /// See [`Clock`].
    fn clock(&self) -> &Self::Clock;
    /// See [`TimeServers`].
    fn time_servers(&self) -> &Self::TimeServers;
    /// See [`TimeFloor`].
    fn time_floor(&self) -> &Self::TimeFloor;
    /// See [`Supervisor`].
    fn supervisor(&self) -> &Self::Supervisor;
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The `data` file system, which is also the home of the agent's user: `/var/lib/fleet`.
    pub data: PathBuf,
    /// The agent's own state: `/var/lib/fleet/agent`.
    pub agent: PathBuf,
    /// The Quadlet files: `/var/lib/fleet/.config/containers/systemd`.
    pub quadlet: PathBuf,
}

impl Places {
    /// The places of a device whose `data` is mounted there.
    #[must_use]
    pub fn under(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self {
            agent: data.join("agent"),
            quadlet: data.join(".config/containers/systemd"),
            data,
        }
    }
}

/// The real device.
#[derive(Debug)]
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
    /// Nothing is opened or started yet: the first call that needs the bus connects to it.
    #[must_use]
    pub fn new(places: &Places, environment: &Environment) -> Self {
        Self {
            units: UserUnits::new(environment.session_bus.clone())
                .with_generator(Generator::new(environment.clone())),
            unit_files: QuadletDir::new(&places.quadlet),
            images: PodmanImages::new(environment.clone(), &places.data),
            containers: PodmanContainers::new(environment.clone()),
            leftovers: PodmanLeftovers::new(environment.clone()),
            journal: UserJournal::new(environment.clone()),
            ledger: FileLedger::new(&places.agent),
            facts: LinuxFacts::new(environment.clone(), &places.data),
            clock: SystemClock,
            time_servers: Sntp::new(Vec::new(), 0),
            time_floor: FileFloor::under(&places.agent),
            supervisor: SystemdSupervisor,
        }
    }

    /// Sets how long a pull may neither say a word nor receive a byte.
    #[must_use]
    pub fn with_pull_stall(mut self, patience: Duration) -> Self {
        self.images = self.images.with_stall(patience);
        self
    }

    /// Sets whom to ask for the time; without it nobody is asked.
    #[must_use]
    pub fn with_time_servers(mut self, servers: Sntp) -> Self {
        self.time_servers = servers;
        self
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
