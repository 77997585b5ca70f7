//! The virtual rig: an x86-64 machine in QEMU (q35, UEFI, virtio), emulated in software.

mod args;
mod disk;
mod machine;
mod ports;
mod qmp;
mod snapshot;

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

pub use self::args::Hardware;
use self::args::Wiring;
use self::disk::{Base, Disk};
use self::machine::Machine;
pub use self::ports::Forward;
use self::ports::Ports;
pub use self::snapshot::{Preparation, PreparedDevice};
use crate::boot_partition;
use crate::console::Console;
use crate::error::{Fault, RigError};
use crate::folders::{self, RigFolder};
use crate::image::DeviceImage;
use crate::nbd::Nbd;
use crate::relay::Relay;
use crate::rig::{Output, Rig, Service};
use crate::tools::Tools;

/// How one rig is set up around its device.
#[derive(Debug, Clone)]
pub struct QemuSettings {
    /// Used in messages and in the name of the log folder: lower-case words joined by hyphens.
    pub name: String,
    /// The machine. A prepared device keeps the one it was prepared on.
    pub hardware: Hardware,
    /// Ports of the device that this machine reaches.
    pub forwards: Vec<Forward>,
    /// Where NATS really runs; `None` until the test knows. [`Rig::way_to`] changes it.
    pub nats: Option<SocketAddr>,
    /// Where the registry really runs.
    pub registry: Option<SocketAddr>,
    /// Whether the device reaches the Internet and this machine's other ports. Off, a test depends on nothing outside.
    pub internet: bool,
}

impl QemuSettings {
    /// The default machine, with no forwards, no services and no Internet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hardware: Hardware::default(),
            forwards: Vec::new(),
            nats: None,
            registry: None,
            internet: false,
        }
    }

    fn target(&self, service: Service) -> Option<SocketAddr> {
        match service {
            Service::Nats => self.nats,
            Service::Registry => self.registry,
        }
    }
}

/// A virtual device on its bench. Dropping it ends QEMU; so does the end of this process, however it comes.
///
/// Its folder `<cache>/rigs/<name>-<process>-<count>` keeps the logs; the disks in it go with the rig unless `FLEET_RIG_KEEP=1`.
#[derive(Debug)]
pub struct QemuRig {
    // Order matters to Drop: first the machine, last the folder with its disks.
    machine: Option<Machine>,
    /// The memory image for the next power-on.
    incoming: Option<PathBuf>,
    wakes_at: Option<String>,
    settings: QemuSettings,
    tools: Tools,
    ports: Ports,
    relays: Vec<(Service, Relay)>,
    console: Console,
    disk: Disk,
    sockets: TempDir,
    folder: RigFolder,
}

impl QemuRig {
    /// What the clock of the board says at the next power-on, as `1970-01-01T00:00:00`: a board without a battery wakes there.
    pub fn set_wakes_at(&mut self, time: &str) {
        self.wakes_at = Some(time.to_owned());
    }

    /// A device with a fresh copy of `image` as its disk, powered off: its first power-on is its first boot.
    pub fn new(image: &DeviceImage, settings: QemuSettings) -> Result<Self, RigError> {
        let folder = folder_for(&settings.name)?;
        let base = Base {
            path: image.hold(&folder.disks()),
            format: "raw",
        };
        Self::on_base(folder, base, None, settings)
    }

    fn on_base(
        folder: RigFolder,
        base: Base,
        vars: Option<&Path>,
        settings: QemuSettings,
    ) -> Result<Self, RigError> {
        let logs = folder.path().to_owned();
        let name = settings.name.clone();
        Self::assemble(folder, base, vars, settings).map_err(|fault| fault.of_rig(&name, logs))
    }

    fn assemble(
        folder: RigFolder,
        base: Base,
        vars: Option<&Path>,
        settings: QemuSettings,
    ) -> Result<Self, Fault> {
        let tools = Tools::find()?;
        let ports = Ports::choose(&settings.forwards)?;
        let sockets = folders::sockets()?;
        let relay = |service: Service| {
            let socket = sockets.path().join(service.name());
            Ok((service, Relay::listen(&socket, settings.target(service))?))
        };
        let relays = Service::ALL
            .into_iter()
            .map(relay)
            .collect::<Result<_, Fault>>()?;
        let pristine = vars.unwrap_or(&tools.firmware.vars);
        fs::copy(pristine, folder.disks().join(VARS)).map_err(Fault::file("copy", pristine))?;
        let disk = Disk::new(
            &tools,
            folder.disks(),
            sockets.path().to_owned(),
            base,
            settings.hardware.disk_gib,
        );
        let console = Console::new(folder.path().join("serial.log"));
        Ok(Self {
            machine: None,
            incoming: None,
            wakes_at: None,
            settings,
            tools,
            ports,
            relays,
            console,
            disk,
            sockets,
            folder,
        })
    }

    /// Hands the disk of a device that is off to `work`, block by block. What is written lasts.
    pub fn with_disk<T>(&mut self, work: impl FnOnce(&mut Nbd) -> std::io::Result<T>) -> Result<T, RigError> {
        self.off("open the disk", |rig| {
            rig.disk
                .with_blocks(|mut disk| work(&mut disk).map_err(Fault::connection("qemu-nbd")))
        })
    }

    /// Waits until the shell answers: systemd runs.
    pub fn wait_for_shell(&mut self, deadline: Duration) -> Result<(), RigError> {
        let console = self.console.clone();
        self.on("wait for the shell", |machine| {
            machine
                .shell
                .wait(deadline)
                .map_err(|fault| with_console(fault, &console))
        })
    }

    fn start(&mut self) -> Result<(), Fault> {
        if self.settle()? {
            return Err(Fault::Power {
                operation: "power on",
                state: "on",
            });
        }
        let disk = self.disk.begin_layer()?;
        let (qmp, shell) = (self.sockets.path().join("qmp"), self.sockets.path().join("shell"));
        let incoming = self.incoming.take();
        let wiring = Wiring {
            tools: &self.tools,
            hardware: self.settings.hardware,
            disk: &disk,
            firmware_vars: &self.folder.disks().join(VARS),
            serial_log: self.console.file(),
            qmp_socket: &qmp,
            shell_socket: &shell,
            services: self
                .relays
                .iter()
                .map(|(service, relay)| (*service, relay.socket()))
                .collect(),
            forwards: self.ports.release(),
            internet: self.settings.internet,
            wakes_at: self.wakes_at.as_deref(),
            incoming: incoming.is_some(),
        };
        let args = wiring.arguments();
        note_command(
            &self.folder.path().join("qemu-command.txt"),
            &self.tools.qemu,
            &args,
        )?;
        self.console.mark_power_on();
        let log = self.folder.path().join("qemu.log");
        let mut machine = Machine::start(&self.tools.qemu, &args, &log, (&qmp, &shell))?;
        if let Some(memory) = incoming {
            machine.load_memory(&memory)?;
        }
        self.machine = Some(machine);
        Ok(())
    }

    /// Whether the machine runs; forgets one that switched itself off.
    fn settle(&mut self) -> Result<bool, Fault> {
        let Some(machine) = &mut self.machine else {
            return Ok(false);
        };
        let runs = machine.runs();
        if !matches!(runs, Ok(true)) {
            self.machine = None;
        }
        runs
    }

    /// Works on a running machine.
    fn on<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Machine) -> Result<T, Fault>,
    ) -> Result<T, RigError> {
        let outcome = match self.settle() {
            Err(fault) => Err(fault),
            Ok(_) => match &mut self.machine {
                Some(machine) => work(machine),
                None => Err(Fault::Power {
                    operation,
                    state: "off",
                }),
            },
        };
        self.named(outcome)
    }

    /// Works on a device that is off.
    fn off<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, RigError> {
        let outcome = match self.settle() {
            Err(fault) => Err(fault),
            Ok(true) => Err(Fault::Power {
                operation,
                state: "on",
            }),
            Ok(false) => work(self),
        };
        self.named(outcome)
    }

    fn named<T>(&self, outcome: Result<T, Fault>) -> Result<T, RigError> {
        outcome.map_err(|fault| fault.of_rig(&self.settings.name, self.folder.path()))
    }
}

/// The firmware's variables, in the folder of a rig's disks and of a prepared device.
const VARS: &str = "firmware-vars.fd";

fn folder_for(name: &str) -> Result<RigFolder, RigError> {
    RigFolder::make(name).map_err(|fault| fault.of_rig(name, folders::named_in_cache("rigs")))
}

/// A device that is late says on its console why, if it says it anywhere.
fn with_console(fault: Fault, console: &Console) -> Fault {
    match fault {
        Fault::Late { what, deadline, .. } => Fault::Late {
            what,
            deadline,
            last: format!("on its console: {}", console.tail()),
        },
        other => other,
    }
}

/// The command line as a person can paste it.
fn note_command(file: &Path, qemu: &Path, args: &[std::ffi::OsString]) -> Result<(), Fault> {
    let words = args.iter().map(|word| crate::rig::quote(&word.to_string_lossy()));
    let line: Vec<_> = [qemu.display().to_string()].into_iter().chain(words).collect();
    let mut file_ = File::create(file).map_err(Fault::file("write", file))?;
    file_
        .write_all((line.join(" ") + "\n").as_bytes())
        .map_err(Fault::file("write", file))
}

impl Rig for QemuRig {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn logs(&self) -> &Path {
        self.folder.path()
    }

    fn power_on(&mut self) -> Result<(), RigError> {
        let outcome = self.start();
        self.named(outcome)
    }

    fn cut_power(&mut self) -> Result<(), RigError> {
        self.on("cut the power", |_| Ok(()))?;
        if let Some(machine) = self.machine.take() {
            drop(machine);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), RigError> {
        self.on("reset", Machine::reset)
    }

    fn power_off(&mut self, deadline: Duration) -> Result<u32, RigError> {
        let console = self.console.clone();
        let presses = self.on("power off", |machine| {
            machine
                .power_off(deadline)
                .map_err(|fault| with_console(fault, &console))
        })?;
        self.machine = None;
        Ok(presses)
    }

    fn is_on(&mut self) -> Result<bool, RigError> {
        let outcome = self.settle();
        self.named(outcome)
    }

    fn console(&self) -> &Console {
        &self.console
    }

    fn disk_files(&self) -> Vec<PathBuf> {
        self.disk.files()
    }

    fn read_boot_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, RigError> {
        self.off("read the boot partition", |rig| {
            rig.disk.with_boot_partition(|files| files.read(path))
        })
    }

    fn put_boot_file(&mut self, path: &str, content: &[u8]) -> Result<(), RigError> {
        self.off("write the boot partition", |rig| {
            rig.disk.with_boot_partition(|files| files.put(path, content))
        })
    }

    fn boot_sectors_hold(&mut self, text: &str) -> Result<bool, RigError> {
        self.off("search the boot partition", |rig| {
            rig.disk
                .with_blocks(|mut disk| boot_partition::holds(&mut disk, text.as_bytes()))
        })
    }

    fn set_link(&mut self, up: bool) -> Result<(), RigError> {
        self.on("change the link", |machine| machine.set_link(up))
    }

    fn way_to(&self, service: Service) -> &Relay {
        let relay = self.relays.iter().find(|(of, _)| *of == service);
        &relay.expect("there is a relay for each service").1
    }

    fn host_address(&self, device_port: u16) -> Option<SocketAddr> {
        self.ports.address_of(device_port)
    }

    fn run_with_input(
        &mut self,
        command: &str,
        input: &[u8],
        deadline: Duration,
    ) -> Result<Output, RigError> {
        self.on("run a command", |machine| {
            machine.shell.run(command, input, deadline)
        })
    }

    fn put_file(&mut self, path: &str, content: &[u8], deadline: Duration) -> Result<(), RigError> {
        self.on("put a file", |machine| {
            machine.shell.put_file(path, content, deadline)
        })
    }

    fn get_file(&mut self, path: &str, deadline: Duration) -> Result<Vec<u8>, RigError> {
        self.on("get a file", |machine| machine.shell.get_file(path, deadline))
    }
}
