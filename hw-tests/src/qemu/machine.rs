//! One run of QEMU, from power on to power off.

use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use fleet_testbed::process::{Service, ServiceError, ServiceSpec};
use serde_json::{Value, json};

use super::args::NIC;
use super::qmp::Qmp;
use crate::error::Fault;
use crate::poll;
use crate::rig::quote;
use crate::shell::Shell;

/// QEMU connects to us within a second; a busy machine gets more.
const CONNECT: Duration = Duration::from_secs(30);
const COMMAND: Duration = Duration::from_secs(20);
const MEMORY_IMAGE: Duration = Duration::from_secs(120);
/// A press that nobody listened to is repeated after this time; one that was heard is not hurt by another.
const PRESS_AGAIN: Duration = Duration::from_secs(4);
/// Far more than any disk: the default of 128 MiB/s would be the slowest part of a snapshot.
const BYTES_PER_SECOND: u64 = 64 << 30;

/// A running QEMU; dropping it is a power cut.
#[derive(Debug)]
pub(crate) struct Machine {
    // First, since it is dropped first: a cut of the power is no orderly end of the connections.
    process: Service,
    pub(crate) shell: Shell,
    qmp: Qmp,
}

impl Machine {
    /// Starts QEMU, which connects to the two sockets.
    pub(crate) fn start(
        qemu: &Path,
        args: &[OsString],
        log: &Path,
        (qmp, shell): (&Path, &Path),
    ) -> Result<Self, Fault> {
        let (qmp, shell) = (listen(qmp)?, listen(shell)?);
        let mut process = Service::start(ServiceSpec::new("QEMU", qemu, args, log))?;
        let shell = Shell::new(accept(&shell, "the shell's port", &mut process)?)?;
        let stream = accept(&qmp, "the monitor", &mut process)?;
        let qmp = match Qmp::new(stream, CONNECT) {
            Ok(qmp) => qmp,
            // A broken monitor is nearly always a QEMU that refused its arguments: say what it said.
            Err(fault) => return Err(last_words(&mut process)?.unwrap_or(fault)),
        };
        Ok(Self { process, shell, qmp })
    }

    /// Whether it still runs; an abnormal end is an error.
    pub(crate) fn runs(&mut self) -> Result<bool, Fault> {
        match self.process.ended()? {
            Some(status) if status.success() => Ok(false),
            _ => Ok(self.process.check().map(|()| true)?),
        }
    }

    pub(crate) fn reset(&mut self) -> Result<(), Fault> {
        self.execute("system_reset", &json!({}))?;
        self.shell.doubt();
        Ok(())
    }

    /// Presses the power button until the machine has switched itself off, and gives how often that took. A press before the system
    /// listens (before logind is up, or in the firmware) is lost without a trace, so one press alone is no order.
    pub(crate) fn power_off(&mut self, deadline: Duration) -> Result<u32, Fault> {
        let end = Instant::now() + deadline;
        let mut presses = 0;
        loop {
            if self.press_power_button()? {
                presses += 1;
            }
            let left = poll::left(end).unwrap_or_default();
            match self
                .process
                .wait("the device's own power off", PRESS_AGAIN.min(left))
            {
                Ok(status) if status.success() => return Ok(presses),
                Ok(_) => self.process.check()?,
                Err(ServiceError::Late { .. }) if left > PRESS_AGAIN => {}
                Err(ServiceError::Late { .. }) => return Err(not_off(presses, deadline)),
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// `false` when the machine went off in that very moment.
    fn press_power_button(&mut self) -> Result<bool, Fault> {
        match self.execute("system_powerdown", &json!({})) {
            Ok(_) => Ok(true),
            Err(_) if self.process.ended()?.is_some_and(|status| status.success()) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Waits until the machine has switched itself off.
    fn wait_off(&mut self, deadline: Duration) -> Result<(), Fault> {
        let status = self.process.wait("the end of QEMU", deadline)?;
        if status.success() {
            Ok(())
        } else {
            Ok(self.process.check()?)
        }
    }

    pub(crate) fn set_link(&mut self, up: bool) -> Result<(), Fault> {
        self.execute("set_link", &json!({ "name": NIC, "up": up }))
            .map(drop)
    }

    /// Freezes the machine and writes its memory to `file`; its disk then holds the same moment. The machine is over.
    pub(crate) fn save_memory(mut self, file: &Path) -> Result<(), Fault> {
        self.execute("stop", &json!({}))?;
        self.execute(
            "migrate-set-parameters",
            &json!({ "max-bandwidth": BYTES_PER_SECOND }),
        )?;
        self.execute("migrate", &json!({ "uri": through("cat >", file) }))?;
        poll::until("the memory image", MEMORY_IMAGE, || {
            let state = self.execute("query-migrate", &json!({}))?;
            match state["status"].as_str().unwrap_or_default() {
                "completed" => Ok(Ok(())),
                "failed" => Err(Fault::Refused {
                    command: "migrate".into(),
                    description: state.to_string(),
                }),
                other => Ok(Err(other.to_owned())),
            }
        })?;
        self.execute("quit", &json!({}))?;
        self.wait_off(COMMAND)
    }

    /// Fills the memory of a machine that was started to wait for it, and lets it run.
    pub(crate) fn load_memory(&mut self, file: &Path) -> Result<(), Fault> {
        self.execute("migrate-incoming", &json!({ "uri": through("cat", file) }))?;
        poll::until("the memory image to be loaded", MEMORY_IMAGE, || {
            let status = self.execute("query-status", &json!({}))?["status"].to_string();
            Ok(if status.contains("inmigrate") {
                Err(status)
            } else {
                Ok(())
            })
        })?;
        self.execute("cont", &json!({})).map(drop)
    }

    /// A command; if it fails since QEMU is gone, the error is QEMU's last words.
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, Fault> {
        match self.qmp.execute(command, arguments, COMMAND) {
            Err(fault @ Fault::Connection { .. }) => Err(last_words(&mut self.process)?.unwrap_or(fault)),
            other => other,
        }
    }
}

fn not_off(presses: u32, deadline: Duration) -> Fault {
    Fault::Late {
        what: format!("the device's own power off, its power button pressed {presses} times,"),
        deadline,
        last: "it is on".to_owned(),
    }
}

fn listen(path: &Path) -> Result<UnixListener, Fault> {
    if path.exists() {
        std::fs::remove_file(path).map_err(Fault::file("remove", path))?;
    }
    let listener = UnixListener::bind(path).map_err(Fault::file("listen on", path))?;
    listener
        .set_nonblocking(true)
        .map_err(Fault::file("listen on", path))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, what: &str, process: &mut Service) -> Result<UnixStream, Fault> {
    let stream = process.wait_until(&format!("connect for {what}"), CONNECT, || {
        let accepted = listener.accept().map_err(|error| error.to_string());
        accepted.map(|(stream, _)| stream)
    })?;
    stream.set_nonblocking(false).map_err(Fault::connection("QEMU"))?;
    Ok(stream)
}

/// What QEMU said last, if it ends within a moment.
fn last_words(process: &mut Service) -> Result<Option<Fault>, Fault> {
    match process.wait("end", Duration::from_secs(2)) {
        Ok(_) => Ok(process.check().err().map(Fault::from)),
        Err(ServiceError::Late { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The memory's way through a program: QEMU writes files by itself only from 8.2 on, and Debian 12 has 7.2.
fn through(program: &str, file: &Path) -> String {
    format!("exec:{program} {}", quote(&file.display().to_string()))
}
