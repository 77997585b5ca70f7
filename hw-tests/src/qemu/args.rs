//! QEMU's command line. Pure: settings in, arguments out.

use std::ffi::OsString;
use std::path::Path;

use crate::rig::Service;
use crate::shell;
use crate::tools::Tools;

/// Names of QEMU's objects that QMP commands use.
pub(crate) const DISK: &str = "disk";
pub(crate) const NIC: &str = "nic0";

/// The part of a machine that a restored memory image must find unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u8,
    /// The disk's size in GiB; larger than the image, so that the system's growth is part of each boot.
    pub disk_gib: u32,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            memory_mib: 2048,
            cpus: 2,
            disk_gib: 8,
        }
    }
}

/// Everything else that the command line needs.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) hardware: Hardware,
    pub(crate) disk: &'a Path,
    pub(crate) firmware_vars: &'a Path,
    pub(crate) serial_log: &'a Path,
    pub(crate) qmp_socket: &'a Path,
    pub(crate) shell_socket: &'a Path,
    /// The relay's socket of each service.
    pub(crate) services: Vec<(Service, &'a Path)>,
    /// Ports of this machine's loopback and of the device.
    pub(crate) forwards: &'a [(u16, u16)],
    /// Whether the device reaches anything beyond services and forwards.
    pub(crate) internet: bool,
    /// What the battery-backed clock says at power on, as QEMU's `-rtc base=` takes it; the true time without it.
    pub(crate) wakes_at: Option<&'a str>,
    /// Whether the machine waits for a memory image instead of booting.
    pub(crate) incoming: bool,
}

impl Wiring<'_> {
    /// The whole command line, without the program.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut args = Args::default();
        self.machine(&mut args);
        self.disk(&mut args);
        self.network(&mut args);
        self.lines(&mut args);
        for credential in shell::credentials() {
            args.pair("-smbios", format!("type=11,value={}", escape(&credential)));
        }
        if self.incoming {
            args.pair("-incoming", "defer".to_owned());
        }
        args.0
    }

    /// Software emulation: KVM is not to be had everywhere, and a test must not depend on it.
    fn machine(&self, args: &mut Args) {
        let Hardware { memory_mib, cpus, .. } = self.hardware;
        for flag in ["-nodefaults", "-no-user-config"] {
            args.0.push(flag.into());
        }
        args.pair("-display", "none".into());
        args.pair("-machine", "q35,pflash0=firmware,pflash1=vars".into());
        args.pair("-accel", "tcg,thread=multi,tb-size=1024".into());
        args.pair("-cpu", "max".into());
        args.pair("-smp", cpus.to_string());
        args.pair("-m", memory_mib.to_string());
        args.pair("-device", "virtio-rng-pci".into());
        if let Some(time) = self.wakes_at {
            args.pair("-rtc", format!("base={}", escape(time)));
        }
        let code = path(&self.tools.firmware.code);
        args.pair(
            "-blockdev",
            format!("driver=file,node-name=firmware,filename={code},read-only=on"),
        );
        args.pair(
            "-blockdev",
            format!("driver=file,node-name=vars,filename={}", path(self.firmware_vars)),
        );
    }

    /// The disk announces a volatile cache. `no-flush` spares the host's fsync and nothing else; see `disk.rs` for what a cut loses.
    fn disk(&self, args: &mut Args) {
        let file = path(self.disk);
        args.pair(
            "-blockdev",
            format!("driver=qcow2,node-name={DISK},file.driver=file,file.filename={file},cache.no-flush=on,discard=unmap"),
        );
        args.pair(
            "-device",
            format!("virtio-blk-pci,drive={DISK},id=disk0,write-cache=on,bootindex=1"),
        );
    }

    fn network(&self, args: &mut Args) {
        let restrict = if self.internet { "off" } else { "on" };
        let mut netdev = format!("user,id=net0,restrict={restrict}");
        for (host, device) in self.forwards {
            netdev += &format!(",hostfwd=tcp:127.0.0.1:{host}-:{device}");
        }
        for (service, socket) in &self.services {
            let (socat, socket) = (path(&self.tools.socat), path(socket));
            let address = service.device_address();
            // -t: after one side has ended, the other may still send for this long. shut-down: the end is passed on at once;
            // without it the device sees a refused connection end only after that time. A comma is written twice here.
            netdev +=
                &format!(",guestfwd=tcp:{address}-cmd:{socat} -t 60 STDIO,,shut-down UNIX-CONNECT:{socket}");
        }
        args.pair("-netdev", netdev);
        args.pair(
            "-device",
            format!("virtio-net-pci,netdev=net0,id={NIC},mac=52:54:00:f1:ee:01,romfile="),
        );
    }

    /// Console, shell and QMP. QEMU connects to sockets on which we listen already, so nothing is polled for.
    fn lines(&self, args: &mut Args) {
        args.pair(
            "-chardev",
            format!("file,id=console,append=on,path={}", path(self.serial_log)),
        );
        args.pair("-serial", "chardev:console".into());
        args.pair("-device", "virtio-serial-pci".into());
        args.pair(
            "-chardev",
            format!("socket,id=shell,path={}", path(self.shell_socket)),
        );
        args.pair(
            "-device",
            format!("virtserialport,chardev=shell,name={}", shell::PORT),
        );
        args.pair(
            "-chardev",
            format!("socket,id=qmp,path={}", path(self.qmp_socket)),
        );
        args.pair("-mon", "chardev=qmp,mode=control".into());
    }
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn pair(&mut self, option: &str, value: String) {
        self.0.extend([option.into(), value.into()]);
    }
}

/// A path inside an option's value. Paths that are not UTF-8 do not occur: all are made by the rig below the cache folder.
fn path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// QEMU's option syntax doubles a comma that belongs to a value.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Firmware;

    fn tools() -> Tools {
        Tools {
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            qemu_img: "/usr/bin/qemu-img".into(),
            qemu_nbd: "/usr/bin/qemu-nbd".into(),
            socat: "/usr/bin/socat".into(),
            firmware: Firmware {
                code: "/f/code.fd".into(),
                vars: "/f/vars.fd".into(),
            },
        }
    }

    fn arguments(change: impl FnOnce(&mut Wiring<'_>)) -> String {
        let tools = tools();
        let mut wiring = Wiring {
            tools: &tools,
            hardware: Hardware::default(),
            disk: Path::new("/r/top.qcow2"),
            firmware_vars: Path::new("/r/vars.fd"),
            serial_log: Path::new("/r/serial.log"),
            qmp_socket: Path::new("/s/qmp"),
            shell_socket: Path::new("/s/shell"),
            services: vec![(Service::Nats, Path::new("/s/nats"))],
            forwards: &[(18080, 8080)],
            internet: false,
            wakes_at: None,
            incoming: false,
        };
        change(&mut wiring);
        let words: Vec<_> = wiring
            .arguments()
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join("\n")
    }

    #[test]
    fn the_device_reaches_its_services_and_nothing_else() {
        let args = arguments(|_| ());
        let netdev = "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:18080-:8080,\
                      guestfwd=tcp:10.0.2.100:4222-cmd:/usr/bin/socat -t 60 STDIO,,shut-down UNIX-CONNECT:/s/nats";
        assert!(args.contains(&format!("-netdev\n{netdev}\n")), "{args}");
        assert!(arguments(|wiring| wiring.internet = true).contains("restrict=off"));
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let args = arguments(|wiring| wiring.disk = Path::new("/r/a,b.qcow2"));
        assert!(
            args.contains("file.filename=/r/a,,b.qcow2,cache.no-flush=on"),
            "{args}"
        );
    }

    #[test]
    fn only_a_restored_machine_waits_for_a_memory_image() {
        assert!(!arguments(|_| ()).contains("-incoming"));
        assert!(arguments(|wiring| wiring.incoming = true).contains("-incoming\ndefer"));
    }
}
