//! What every rig can do: power, console, disk, network faults and a root shell in the device.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::console::Console;
use crate::error::{Fault, RigError};
use crate::poll;
use crate::relay::Relay;

/// A service that every device reaches at a fixed address, wherever it really runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// NATS, seen by the device at `10.0.2.100:4222`.
    Nats,
    /// The container registry, seen by the device at `10.0.2.100:5000`.
    Registry,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Nats, Self::Registry];

    /// The address that the device sees.
    pub fn device_address(self) -> &'static str {
        match self {
            Self::Nats => "10.0.2.100:4222",
            Self::Registry => "10.0.2.100:5000",
        }
    }

    /// A short name for files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Registry => "registry",
        }
    }
}

/// What a command in the device left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 124 when it ran out of time and was ended.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Its standard output as text without surrounding white space.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Both streams as text, standard error first.
    pub fn said(&self) -> String {
        let error = String::from_utf8_lossy(&self.stderr);
        format!("{} {}", error.trim(), self.text()).trim().to_owned()
    }
}

/// A device on a test bench. Dropping a rig cuts the device's power.
///
/// Each wait has a deadline; each error names the folder with the logs.
pub trait Rig {
    /// The name used in messages.
    fn name(&self) -> &str;

    /// The folder with the serial log and the machine's own messages.
    fn logs(&self) -> &Path;

    /// Switches the device on; returns when the machine runs, long before the system in it is up.
    fn power_on(&mut self) -> Result<(), RigError>;

    /// Cuts the power at once. What the device wrote but did not flush may be lost.
    fn cut_power(&mut self) -> Result<(), RigError>;

    /// Presses the reset button: the machine restarts at once and keeps its power.
    fn reset(&mut self) -> Result<(), RigError>;

    /// Presses the power button (ACPI), again and again since a system that is not up yet does not hear it, until the system has
    /// shut down and the machine is off. Gives how often it was pressed.
    fn power_off(&mut self, deadline: Duration) -> Result<u32, RigError>;

    /// Whether the machine has power; a device that powered itself off is off.
    fn is_on(&mut self) -> Result<bool, RigError>;

    /// The serial console.
    fn console(&self) -> &Console;

    /// Waits for a line of the serial console since power on; see [`Console::wait_for`].
    fn wait_for_console(&self, pattern: &str, deadline: Duration) -> Result<String, RigError> {
        let late = |fault: Fault| fault.of_rig(self.name(), self.logs());
        self.console().wait_for(pattern, deadline).map_err(late)
    }

    /// The files behind the disk, top layer first.
    fn disk_files(&self) -> Vec<PathBuf>;

    /// A file of the FAT boot partition of a device that is off, `None` when there is none.
    fn read_boot_file(&mut self, path: &str) -> Result<Option<Vec<u8>>, RigError>;

    /// Puts a file on the FAT boot partition of a device that is off, as a person with a card reader would.
    fn put_boot_file(&mut self, path: &str, content: &[u8]) -> Result<(), RigError>;

    /// Whether the sectors of the FAT boot partition of a device that is off hold `text` anywhere, as whoever takes the card out can
    /// find it.
    fn boot_sectors_hold(&mut self, text: &str) -> Result<bool, RigError>;

    /// Pulls the network cable (`false`) or plugs it in.
    fn set_link(&mut self, up: bool) -> Result<(), RigError>;

    /// The way between the device and a service, where delay, refusal and silence are set, and the service's real address.
    fn way_to(&self, service: Service) -> &Relay;

    /// Where a port of the device is reached from this machine, if it was asked for.
    fn host_address(&self, device_port: u16) -> Option<SocketAddr>;

    /// Runs `command` by bash as root in the device, with `input` on its standard input. Waits for the shell first, so it
    /// can be called right after [`Rig::power_on`]. A command that is not done at the deadline is ended (status 124).
    fn run_with_input(&mut self, command: &str, input: &[u8], deadline: Duration)
    -> Result<Output, RigError>;

    /// Puts a file into the running device (parents are made, mode 0644, replaced atomically, synced).
    fn put_file(&mut self, path: &str, content: &[u8], deadline: Duration) -> Result<(), RigError>;

    /// A file of the running device.
    fn get_file(&mut self, path: &str, deadline: Duration) -> Result<Vec<u8>, RigError>;

    /// Runs `command` by bash as root in the device.
    fn run(&mut self, command: &str, deadline: Duration) -> Result<Output, RigError> {
        self.run_with_input(command, &[], deadline)
    }

    /// Runs `command`, which must end with status 0; gives its standard output as trimmed text.
    fn run_ok(&mut self, command: &str, deadline: Duration) -> Result<String, RigError> {
        let output = self.run(command, deadline)?;
        if output.success() {
            return Ok(output.text());
        }
        let (status, said) = (output.status, output.said());
        Err(Fault::Command {
            command: command.to_owned(),
            status,
            said,
        }
        .of_rig(self.name(), self.logs()))
    }

    /// Runs `command` as an ordinary user of the device, with that user's `systemctl --user` and D-Bus within reach.
    fn run_as(&mut self, user: &str, command: &str, deadline: Duration) -> Result<Output, RigError> {
        let script = "cd / && exec runuser -u \"$RIG_USER\" -- env XDG_RUNTIME_DIR=\"/run/user/$(id -u \"$RIG_USER\")\" \
                      HOME=\"$(getent passwd \"$RIG_USER\" | cut -d: -f6)\" bash -s";
        self.run_with_input(
            &format!("RIG_USER={}; {script}", quote(user)),
            command.as_bytes(),
            deadline,
        )
    }

    /// Runs `command` again and again until it ends with status 0; gives its standard output as trimmed text.
    fn run_until_ok(&mut self, command: &str, deadline: Duration) -> Result<String, RigError> {
        let (name, logs) = (self.name().to_owned(), self.logs().to_owned());
        let mut broken = None;
        let end = std::time::Instant::now() + deadline;
        let outcome = poll::until(&format!("`{command}` in the device"), deadline, || {
            let left = poll::left(end).unwrap_or(Duration::from_secs(1));
            match self.run(command, left) {
                Ok(output) if output.success() => Ok(Ok(Some(output.text()))),
                Ok(output) => Ok(Err(format!("status {}: {}", output.status, output.said()))),
                Err(error) => {
                    broken = Some(error);
                    Ok(Ok(None))
                }
            }
        });
        match (outcome, broken) {
            (_, Some(error)) => Err(error),
            (Ok(text), None) => Ok(text.unwrap_or_default()),
            (Err(fault), None) => Err(fault.of_rig(&name, logs)),
        }
    }

    /// The kernel's id of the current boot; it differs after each restart of the system.
    fn boot_id(&mut self, deadline: Duration) -> Result<String, RigError> {
        self.run_ok("cat /proc/sys/kernel/random/boot_id", deadline)
    }
}

/// `text` as one word of a shell command.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_keeps_its_quotes() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
