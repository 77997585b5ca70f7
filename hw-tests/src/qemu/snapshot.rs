//! Prepared devices: an image that was booted once, frozen, and handed out running as often as wanted.
//!
//! The memory goes to a file of its own (QEMU's migration stream) instead of into the disk image (`savevm`): disk, memory and firmware
//! variables are then read-only inputs shared by all tests, and a restored device costs an empty layer instead of a copy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fleet_testbed::process::run_to_end;

use super::args::{Hardware, Wiring};
use super::disk::Base;
use super::{QemuRig, QemuSettings, VARS, folder_for};
use crate::error::{Fault, RigError};
use crate::folders;
use crate::image::{DeviceImage, hex_sha256, lock};
use crate::rig::{Rig, Service};
use crate::tools::Tools;

/// Raised when the rig changes in a way that makes older prepared devices useless and that no other input shows.
const RIG_VERSION: &str = "2";
const DISK: &str = "disk.qcow2";
const MEMORY: &str = "memory";
/// Present when the folder is complete; its time is that of the last use.
const COMPLETE: &str = "complete";
/// Prepared devices that are kept; one is about 1 GiB.
const KEPT: usize = 6;
const SYNC: Duration = Duration::from_secs(60);
const SET_CLOCK: Duration = Duration::from_secs(30);

/// How a device is prepared. Equal preparations of the same image share one prepared device.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// The `fleet.toml` put on the boot partition before the first boot; `None` boots without.
    pub fleet_toml: Option<String>,
    /// A command in the device that ends with status 0 once it is ready to be frozen.
    pub ready_when: String,
    /// How long the first boot may take until then.
    pub deadline: Duration,
    /// The machine.
    pub hardware: Hardware,
}

/// A device that was booted from an image, configured, and frozen.
#[derive(Debug, Clone)]
pub struct PreparedDevice {
    folder: PathBuf,
    hardware: Hardware,
}

impl PreparedDevice {
    /// The prepared device from the cache, else boots and freezes one (about as long as a first boot). Other processes that want
    /// the same wait meanwhile.
    pub fn get(image: &DeviceImage, preparation: &Preparation) -> Result<Self, RigError> {
        let prepared = Self::place(image, preparation).map_err(unnamed)?;
        let _lock = lock(&prepared.folder.with_extension("lock")).map_err(unnamed)?;
        if !prepared.folder.join(COMPLETE).exists() {
            prepared.prepare(image, preparation)?;
        }
        touch(&prepared.folder.join(COMPLETE)).map_err(unnamed)?;
        tidy(&prepared.folder);
        Ok(prepared)
    }

    /// A running device, as it was when it was frozen, with the clock set. Connections it had open then are dead.
    pub fn restore(&self, settings: QemuSettings) -> Result<QemuRig, RigError> {
        let mut rig = self.cold(settings)?;
        rig.incoming = Some(self.folder.join(MEMORY));
        rig.power_on()?;
        rig.run_ok(&format!("date -u -s @{}", now()), SET_CLOCK)?;
        Ok(rig)
    }

    /// The device powered off, with the disk as it was when it was frozen: its next boot is not its first.
    pub fn cold(&self, settings: QemuSettings) -> Result<QemuRig, RigError> {
        let settings = QemuSettings {
            hardware: self.hardware,
            ..settings
        };
        let folder = folder_for(&settings.name)?;
        let base = Base {
            path: self.folder.join(DISK),
            format: "qcow2",
        };
        QemuRig::on_base(folder, base, Some(&self.folder.join(VARS)), settings)
    }

    fn place(image: &DeviceImage, preparation: &Preparation) -> Result<Self, Fault> {
        let tools = Tools::find()?;
        let version = run_to_end(&tools.qemu, ["--version"])?;
        let Preparation {
            fleet_toml,
            ready_when,
            hardware,
            ..
        } = preparation;
        let key = hex_sha256([
            RIG_VERSION.as_bytes(),
            image.identity().as_bytes(),
            format!("{fleet_toml:?}").as_bytes(),
            ready_when.as_bytes(),
            &version,
            shape(&tools, *hardware).as_bytes(),
        ]);
        let folder = folders::in_cache("prepared")?.join(&key[..24]);
        Ok(Self {
            folder,
            hardware: *hardware,
        })
    }

    fn prepare(&self, image: &DeviceImage, preparation: &Preparation) -> Result<(), RigError> {
        self.make_folder().map_err(unnamed)?;
        let settings = QemuSettings {
            hardware: self.hardware,
            ..QemuSettings::new("prepare")
        };
        let base = Base {
            path: image.hold(&self.folder),
            format: "raw",
        };
        let mut rig = QemuRig::on_base(folder_for(&settings.name)?, base, None, settings)?;
        if let Some(fleet_toml) = &preparation.fleet_toml {
            rig.put_boot_file("fleet.toml", fleet_toml.as_bytes())?;
        }
        rig.power_on()?;
        rig.run_until_ok(&preparation.ready_when, preparation.deadline)?;
        // The disk alone must be good too, see `cold`.
        rig.run_ok("sync", SYNC)?;
        let (name, logs) = (rig.settings.name.clone(), rig.logs().to_owned());
        self.freeze(rig).map_err(|fault| fault.of_rig(&name, logs))
    }

    fn freeze(&self, mut rig: QemuRig) -> Result<(), Fault> {
        let machine = rig.machine.take().expect("it was just running a command");
        machine.save_memory(&self.folder.join(MEMORY))?;
        let vars = rig.folder.disks().join(VARS);
        fs::copy(&vars, self.folder.join(VARS)).map_err(Fault::file("copy", &vars))?;
        let QemuRig { disk, folder, .. } = rig;
        disk.move_to(&self.folder.join(DISK))?;
        drop(folder);
        touch(&self.folder.join(COMPLETE))
    }

    fn make_folder(&self) -> Result<(), Fault> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(Fault::file("remove", &self.folder))?;
        }
        fs::create_dir_all(&self.folder).map_err(Fault::file("make", &self.folder))
    }
}

/// The machine's command line with made-up paths: what a memory image depends on.
fn shape(tools: &Tools, hardware: Hardware) -> String {
    let any = Path::new("/x");
    let wiring = Wiring {
        tools,
        hardware,
        disk: any,
        firmware_vars: any,
        serial_log: any,
        qmp_socket: any,
        shell_socket: any,
        services: Service::ALL.map(|service| (service, any)).to_vec(),
        forwards: &[],
        internet: false,
        wakes_at: None,
        incoming: false,
    };
    format!("{:?}", wiring.arguments())
}

fn unnamed(fault: Fault) -> RigError {
    fault.of_rig("prepare", folders::named_in_cache("prepared"))
}

fn touch(file: &Path) -> Result<(), Fault> {
    let open = File::options()
        .create(true)
        .append(true)
        .open(file)
        .map_err(Fault::file("write", file))?;
    open.set_modified(clock()).map_err(Fault::file("write", file))
}

/// Removes the prepared devices that were not used for longest. One that is being prepared has no mark yet and stays.
fn tidy(just_used: &Path) {
    let Some(entries) = just_used.parent().and_then(|folder| fs::read_dir(folder).ok()) else {
        return;
    };
    let mut complete: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            Some((
                fs::metadata(entry.path().join(COMPLETE)).ok()?.modified().ok()?,
                entry.path(),
            ))
        })
        .collect();
    complete.sort();
    for (_, folder) in complete.iter().rev().skip(KEPT) {
        // Best effort: another process may do the same now.
        let _ = fs::remove_dir_all(folder);
    }
}

/// Seconds since 1970 with fraction, for `date`.
fn now() -> String {
    let since = clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("this machine's clock is past 1970");
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the device's clock is set from this machine's: here is where it comes in"
)]
fn clock() -> SystemTime {
    SystemTime::now()
}
