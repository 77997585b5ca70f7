//! Takes the identity over, and keeps what is derived from it in step.
//!
//! Rules:
//! - A good `fleet.toml` is stored as one unit on the data volume, durable, before anything on FAT changes; then the file
//!   is wiped. A cut in between repeats the same at the next boot.
//! - On an enrolled device a file with the same device id replaces the identity (that is how a credential is changed on
//!   site). One with another id is refused: deployments and state belong to the old id; flash the device anew instead.
//! - A bad file never touches the identity: the device stays who it is, and the reason is on the console and on FAT.
//! - On an enrolled device a file with NUL bytes is removed, since it may be our own wipe that was cut off. A copy that
//!   was cut off looks the same, so that is said; only a file of nothing but NULs, which holds no news, goes silently.
//! - Host name, registries and time servers are derived from the identity at each boot, since a system rollback may undo them.

use std::io;

use fleet_protocol::enrolment::{ClockEnrolment, Enrolment, RegistryEnrolment};
use fleet_protocol::time_server::ServerName;

use crate::enrol::{Identity, Refusal, read_identity};

/// A file that first boot reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `fleet.toml` on FAT.
    FleetToml,
    /// `fleet-error.txt` on FAT.
    FleetError,
    /// The host name.
    HostName,
    /// The registries for podman.
    Registries,
    /// The time servers for systemd-timesyncd.
    TimeServers,
}

/// Everything outside that first boot touches. Each call is durable when it returns; a cut leaves the old or the new
/// content, except where the call says otherwise.
pub trait Places {
    /// Whether the FAT partition is there.
    fn fat_is_mounted(&mut self) -> bool;
    /// The content of a file, if it exists.
    fn read(&mut self, place: Place) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a small file on the system's volume. `None` removes it.
    fn replace(&mut self, place: Place, content: Option<&str>) -> io::Result<()>;
    /// The stored identity, if it is whole.
    fn identity(&mut self) -> io::Result<Option<Identity>>;
    /// Stores the identity: all files of it, or none.
    fn store_identity(&mut self, identity: &Identity) -> io::Result<()>;
    /// Overwrites `fleet.toml` with NULs, then removes it. A cut leaves NULs in it, or in parts of it.
    fn wipe_fleet_toml(&mut self) -> io::Result<()>;
    /// Writes `fleet-error.txt` in place: its clusters do not change once it exists.
    fn write_error(&mut self, text: &str) -> io::Result<()>;
    /// Overwrites `fleet-error.txt` with NULs, then removes it.
    fn remove_error(&mut self) -> io::Result<()>;
    /// Tells the running kernel the host name.
    fn set_host_name(&mut self, name: &str) -> io::Result<()>;
    /// Has the client for the time read its file again, if it runs. It is no matter of life and death: the next boot does it too.
    fn restart_time_client(&mut self);
    /// Says a line on the console.
    fn say(&mut self, line: &str);
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstBoot {
    /// The device has an identity, and nothing is to be said.
    Enrolled,
    /// A person is needed; the reason was told.
    Refused,
}

const NO_FILE: &str = "is not there: this device has no identity yet. Put fleet.toml on this partition (FLEETBOOT) and \
                       start the device again";

const NULS: &str = "held NUL bytes, as a write that is cut off leaves them, and was removed; the identity is unchanged; \
                    copy it again if it was new";

/// Runs the rules above once.
pub fn first_boot(places: &mut dyn Places) -> io::Result<FirstBoot> {
    let stored = places.identity()?;
    let fat = places.fat_is_mounted();
    let file = if fat { places.read(Place::FleetToml)? } else { None };
    match decide(stored.as_ref(), file.as_deref()) {
        Ok(action) => {
            let told = matches!(action, Action::TellAndWipe);
            let identity = carry_out(places, action, stored)?;
            derive(places, &identity.public)?;
            if fat && !told {
                places.remove_error()?;
            }
            Ok(FirstBoot::Enrolled)
        }
        Err(refusal) => {
            if let Some(identity) = stored {
                derive(places, &identity.public)?;
            }
            refuse(places, fat, &refusal)?;
            Ok(FirstBoot::Refused)
        }
    }
}

enum Action {
    /// No file, and an identity.
    Nothing,
    /// The file is what is stored, or nothing but NULs.
    Wipe,
    /// The file is the rest of an interrupted wipe, or of an interrupted copy.
    TellAndWipe,
    /// Store this, then wipe.
    Store(Box<Identity>),
}

fn decide(stored: Option<&Identity>, file: Option<&[u8]>) -> Result<Action, Refusal> {
    match (stored, file) {
        (Some(_), None) => Ok(Action::Nothing),
        (None, None) => Err(Refusal::whole(NO_FILE)),
        (Some(_), Some(bytes)) if bytes.contains(&0) && !is_utf16(bytes) => Ok(rest_of_a_file(bytes)),
        (Some(stored), Some(bytes)) => same_device(stored, read_identity(bytes)?),
        (None, Some(bytes)) => Ok(Action::Store(Box::new(read_identity(bytes)?))),
    }
}

/// No editor writes a NUL: a write was cut off, ours or that of a person's computer.
fn rest_of_a_file(bytes: &[u8]) -> Action {
    if bytes.iter().all(|byte| *byte == 0) {
        Action::Wipe
    } else {
        Action::TellAndWipe
    }
}

fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

fn same_device(stored: &Identity, new: Identity) -> Result<Action, Refusal> {
    let (old_id, new_id) = (&stored.public.device_id, &new.public.device_id);
    if old_id != new_id {
        return Err(Refusal::whole(format!(
            "names the device `{new_id}`, but this is `{old_id}`, with its deployments and data; it stays `{old_id}`. \
             To make it `{new_id}`, flash it anew; otherwise remove the file or correct `device_id`"
        )));
    }
    if *stored == new {
        Ok(Action::Wipe)
    } else {
        Ok(Action::Store(Box::new(new)))
    }
}

fn carry_out(places: &mut dyn Places, action: Action, stored: Option<Identity>) -> io::Result<Identity> {
    match (action, stored) {
        (Action::Store(new), _) => {
            places.store_identity(&new)?;
            places.wipe_fleet_toml()?;
            places.say(&format!(
                "this device is now `{}`; fleet.toml was taken over and wiped",
                new.public.device_id
            ));
            Ok(*new)
        }
        (Action::Wipe, Some(stored)) => {
            places.wipe_fleet_toml()?;
            Ok(stored)
        }
        (Action::TellAndWipe, Some(stored)) => {
            // Before the wipe: a cut in between says it again.
            refuse(places, true, &Refusal::whole(NULS))?;
            places.wipe_fleet_toml()?;
            Ok(stored)
        }
        (Action::Nothing, Some(stored)) => Ok(stored),
        (Action::Wipe | Action::TellAndWipe | Action::Nothing, None) => {
            unreachable!("decided only where an identity is stored")
        }
    }
}

/// Writes what differs from the identity.
fn derive(places: &mut dyn Places, public: &Enrolment) -> io::Result<()> {
    let name = format!("{}\n", public.device_id);
    if places.read(Place::HostName)?.as_deref() != Some(name.as_bytes()) {
        places.replace(Place::HostName, Some(&name))?;
    }
    places.set_host_name(public.device_id.as_str())?;
    keep_in_step(places, Place::Registries, registries(&public.registry).as_deref())?;
    let servers = public.clock.as_ref().and_then(time_servers);
    if keep_in_step(places, Place::TimeServers, servers.as_deref())? {
        places.restart_time_client();
    }
    Ok(())
}

/// Whether the file had to be changed.
fn keep_in_step(places: &mut dyn Places, place: Place, content: Option<&str>) -> io::Result<bool> {
    let differs = places.read(place)?.as_deref() != content.map(str::as_bytes);
    if differs {
        places.replace(place, content)?;
    }
    Ok(differs)
}

/// The file for timesyncd.conf(5); none where nothing of use is named, which leaves Debian's own servers. It knows no ports.
fn time_servers(clock: &ClockEnrolment) -> Option<String> {
    let usual = clock
        .servers
        .iter()
        .filter(|server| server.is_at_the_usual_port());
    let hosts: Vec<&str> = usual.map(ServerName::host).collect();
    (!hosts.is_empty()).then(|| {
        format!(
            "# From the time servers of fleet.toml; written at each boot.\n[Time]\nNTP={}\n",
            hosts.join(" ")
        )
    })
}

/// The file for containers-registries.conf(5); none without registries. `host:port` and addresses need no escapes in TOML.
fn registries(list: &[RegistryEnrolment]) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let entry = |registry: &RegistryEnrolment| {
        format!(
            "\n[[registry]]\nlocation = \"{}\"\ninsecure = {}\n",
            registry.location, registry.insecure
        )
    };
    let entries: String = list.iter().map(entry).collect();
    Some(format!(
        "# From the registries of fleet.toml; written at each boot.\n{entries}"
    ))
}

fn refuse(places: &mut dyn Places, fat: bool, refusal: &Refusal) -> io::Result<()> {
    places.say(&refusal.to_string());
    if !fat {
        places.say("the partition FLEETBOOT could not be mounted, so fleet.toml cannot be read");
        return Ok(());
    }
    places.write_error(&format!("{refusal}\n"))
}

#[cfg(test)]
#[path = "first_boot_tests.rs"]
mod tests;
