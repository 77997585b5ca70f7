//! The device's real files.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use fleet_protocol::enrolment::{Enrolment, MAX_ENROLMENT_BYTES};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use nix::unistd::{User, sethostname};

use crate::enrol::Identity;
use crate::exec::run;
use crate::first_boot::{Place, Places};

/// The agent's user, who owns the identity.
const OWNER: &str = "fleet";
/// `fleet-error.txt` has one length for ever, so that writing it again changes no cluster and no directory entry.
const ERROR_BYTES: usize = 1024;

/// Files of a device, below a root folder (`/` unless in tests).
pub struct LocalPlaces {
    root: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Default for LocalPlaces {
    fn default() -> Self {
        let user = User::from_name(OWNER).ok().flatten();
        Self {
            root: "/".into(),
            owner: user.map(|user| (user.uid.as_raw(), user.gid.as_raw())),
        }
    }
}

impl LocalPlaces {
    fn path(&self, place: Place) -> PathBuf {
        self.root.join(match place {
            Place::FleetToml => "boot/efi/fleet.toml",
            Place::FleetError => "boot/efi/fleet-error.txt",
            Place::HostName => "etc/hostname",
            Place::Registries => "etc/containers/registries.conf.d/50-fleet.conf",
            Place::TimeServers => "etc/systemd/timesyncd.conf.d/50-fleet.conf",
        })
    }

    fn data(&self) -> PathBuf {
        self.root.join("var/lib/fleet")
    }

    fn give(&self, path: &Path, mode: u32) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// One file of the identity, durable but for its folder.
    fn write_part(&self, folder: &Path, name: &str, mode: u32, content: &str) -> io::Result<()> {
        let path = folder.join(name);
        let mut file = File::create_new(&path)?;
        self.give(&path, mode)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    }
}

impl Places for LocalPlaces {
    fn fat_is_mounted(&mut self) -> bool {
        let device = |path: &str| fs::metadata(self.root.join(path)).map(|facts| facts.dev()).ok();
        device("boot/efi").is_some_and(|fat| Some(fat) != device("boot"))
    }

    fn read(&mut self, place: Place) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(place)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        // One byte more than is allowed shows that there is more.
        file.take(MAX_ENROLMENT_BYTES as u64 + 1)
            .read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn replace(&mut self, place: Place, content: Option<&str>) -> io::Result<()> {
        let path = self.path(place);
        let folder = path.parent().expect("every place is in a folder").to_owned();
        let Some(content) = content else {
            return absent(fs::remove_file(&path)).and_then(|()| sync_folder(&folder));
        };
        fs::create_dir_all(&folder)?;
        let staged = path.with_extension("fleet-new");
        let mut file = File::create(&staged)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&staged, &path)?;
        sync_folder(&folder)
    }

    fn identity(&mut self) -> io::Result<Option<Identity>> {
        let folder = self.data().join("identity");
        let part = |name: &str| read_part(&folder.join(name));
        let parts = || Ok::<_, io::Error>((part("device.toml")?, part("nats.nk")?, part("ca.pem")?));
        let (device, seed, ca) = match parts() {
            Ok((Some(device), Some(seed), ca)) => (device, seed, ca),
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.say(&format!("{error}; a fleet.toml is needed again"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // What is derived from it is written as root: it is checked as strictly as when it was taken over.
        let checked = toml::from_str::<Enrolment>(&device).ok();
        let Some(public) = checked.filter(|public| public.problems().is_empty()) else {
            self.say(
                "the stored identity (device.toml) cannot be read; a fleet.toml with it is needed again",
            );
            return Ok(None);
        };
        Ok(Some(Identity {
            public,
            seed: seed.trim().to_owned(),
            ca,
        }))
    }

    fn store_identity(&mut self, identity: &Identity) -> io::Result<()> {
        let (data, current) = (self.data(), self.data().join("identity"));
        let staged = data.join("identity.new");
        absent(fs::remove_dir_all(&staged))?;
        fs::create_dir(&staged)?;
        self.give(&staged, 0o700)?;
        let device = toml::to_string(&identity.public).map_err(io::Error::other)?;
        self.write_part(&staged, "device.toml", 0o600, &device)?;
        self.write_part(&staged, "nats.nk", 0o600, &format!("{}\n", identity.seed))?;
        if let Some(pem) = &identity.ca {
            self.write_part(&staged, "ca.pem", 0o644, pem)?;
        }
        sync_folder(&staged)?;
        // All files of the identity change in one step.
        if current.exists() {
            renameat2(
                AT_FDCWD,
                &staged,
                AT_FDCWD,
                &current,
                RenameFlags::RENAME_EXCHANGE,
            )?;
        } else {
            fs::rename(&staged, &current)?;
        }
        sync_folder(&data)?;
        absent(fs::remove_dir_all(&staged))
    }

    fn wipe_fleet_toml(&mut self) -> io::Result<()> {
        wipe(&self.path(Place::FleetToml))
    }

    fn write_error(&mut self, text: &str) -> io::Result<()> {
        // Spaces, so that an editor shows one line and not a thousand.
        let mut content = text.trim_end().as_bytes().to_vec();
        content.resize(ERROR_BYTES - 1, b' ');
        content.push(b'\n');
        if self.read(Place::FleetError)?.as_ref() == Some(&content) {
            return Ok(());
        }
        let path = self.path(Place::FleetError);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.rewind()?;
        file.write_all(&content)?;
        file.sync_all()?;
        sync_folder(path.parent().expect("fleet-error.txt is in a folder"))
    }

    fn remove_error(&mut self) -> io::Result<()> {
        absent(wipe(&self.path(Place::FleetError)))
    }

    fn set_host_name(&mut self, name: &str) -> io::Result<()> {
        if self.root == Path::new("/") {
            sethostname(OsStr::new(name))?;
        }
        Ok(())
    }

    fn restart_time_client(&mut self) {
        if self.root == Path::new("/")
            && let Err(error) = run(
                "/usr/bin/systemctl",
                &["--no-block", "try-restart", "systemd-timesyncd.service"],
            )
        {
            self.say(&format!(
                "the time servers of fleet.toml are asked from the next boot on: {error}"
            ));
        }
    }

    fn say(&mut self, line: &str) {
        println!("fleet: {line}");
    }
}

/// A file of the identity, whose folder belongs to the agent's user: never a link, a pipe or a device, and bounded.
fn read_part(path: &Path) -> io::Result<Option<String>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Err(unusable(path)),
        Err(error) => return Err(error),
    };
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > MAX_ENROLMENT_BYTES as u64 {
        return Err(unusable(path));
    }
    let mut bytes = Vec::new();
    file.take(MAX_ENROLMENT_BYTES as u64).read_to_end(&mut bytes)?;
    // A damaged file must not keep a new fleet.toml out.
    String::from_utf8(bytes).map(Some).map_err(|_| unusable(path))
}

fn unusable(path: &Path) -> io::Error {
    let problem = format!(
        "the stored identity ({}) is no text file of a sensible size",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Unlinking on FAT leaves the content on the card, for whoever reads it raw.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let size = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(size), &mut file)?;
    file.sync_all()?;
    fs::remove_file(path)?;
    sync_folder(path.parent().expect("a file is in a folder"))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrol::read_identity;
    use crate::enrol::tests::{fleet_toml, seed};

    struct Device {
        folder: tempfile::TempDir,
        places: LocalPlaces,
    }

    fn device() -> Device {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["boot/efi", "etc", "var/lib/fleet"] {
            fs::create_dir_all(folder.path().join(path)).expect("a folder");
        }
        let places = LocalPlaces {
            root: folder.path().to_owned(),
            owner: None,
        };
        Device { folder, places }
    }

    fn identity(device: &str) -> Identity {
        read_identity(fleet_toml(device, &seed()).as_bytes()).expect("an identity")
    }

    #[test]
    fn stored_identity_is_read_back_and_its_secret_is_private() {
        let Device { folder, mut places } = device();
        let identity = identity("a");
        places.store_identity(&identity).expect("a store");
        assert_eq!(places.identity().expect("a read"), Some(identity));
        let mode = |path: &str| {
            fs::metadata(folder.path().join("var/lib/fleet/identity").join(path))
                .expect("a file")
                .mode()
                & 0o777
        };
        assert_eq!(
            [mode("."), mode("nats.nk"), mode("device.toml")],
            [0o700, 0o600, 0o600]
        );
        let public =
            fs::read_to_string(folder.path().join("var/lib/fleet/identity/device.toml")).expect("text");
        assert!(!public.contains("credential"), "{public}");
    }

    #[test]
    fn stored_identity_that_is_no_text_does_not_keep_a_new_one_out() {
        let Device { folder, mut places } = device();
        places.store_identity(&identity("a")).expect("a store");
        let path = folder.path().join("var/lib/fleet/identity/device.toml");
        let mut file = File::options().write(true).open(path).expect("a file");
        file.write_all(&[0xff, 0xfe, 0xff]).expect("damage");
        assert_eq!(places.identity().expect("no error"), None);
        let new = identity("a");
        places.store_identity(&new).expect("a store");
        assert_eq!(places.identity().expect("a read"), Some(new));
    }

    #[test]
    fn second_identity_replaces_the_first_and_leaves_no_copy() {
        let Device { folder, mut places } = device();
        places.store_identity(&identity("a")).expect("a store");
        let second = identity("a");
        places.store_identity(&second).expect("a store");
        assert_eq!(places.identity().expect("a read"), Some(second));
        assert!(!folder.path().join("var/lib/fleet/identity.new").exists());
    }

    #[test]
    fn rest_of_an_interrupted_store_does_not_stop_the_next() {
        let Device { folder, mut places } = device();
        let rest = folder.path().join("var/lib/fleet/identity.new");
        fs::create_dir(&rest).expect("a folder");
        File::create(rest.join("nats.nk")).expect("a file");
        places.store_identity(&identity("a")).expect("a store");
        assert!(!rest.exists());
    }

    #[test]
    fn error_file_keeps_its_length_and_inode() {
        let Device { folder, mut places } = device();
        let path = folder.path().join("boot/efi/fleet-error.txt");
        places.write_error("a long reason").expect("a write");
        let first = fs::metadata(&path).expect("a file");
        places.write_error("short").expect("a write");
        let second = fs::metadata(&path).expect("a file");
        assert_eq!((first.ino(), first.len()), (second.ino(), second.len()));
        assert_eq!(fs::read_to_string(&path).expect("text").trim_end(), "short");
        let mut opened = File::open(&path).expect("a second handle");
        places.remove_error().expect("a removal");
        let mut content = Vec::new();
        opened.read_to_end(&mut content).expect("what is left");
        assert_eq!(content, [0; ERROR_BYTES]);
        places.remove_error().expect("nothing to remove");
    }

    /// The identity's folder belongs to a user who may have been taken over, and this runs as root.
    #[test]
    fn an_identity_of_links_pipes_or_endless_files_is_none_and_nothing_hangs() {
        use nix::sys::stat::Mode;
        for kind in ["link", "pipe", "huge"] {
            let Device { folder, mut places } = device();
            places.store_identity(&identity("a")).expect("a store");
            let path = folder.path().join("var/lib/fleet/identity/device.toml");
            let kept = folder.path().join("kept.toml");
            fs::rename(&path, &kept).expect("a rename");
            match kind {
                "link" => std::os::unix::fs::symlink(&kept, &path).expect("a link"),
                "pipe" => nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe"),
                _ => {
                    let file = File::create(&path).expect("a file");
                    file.set_len(1 << 40).expect("a hole");
                }
            }
            assert_eq!(places.identity().expect(kind), None, "{kind}");
            let new = identity("a");
            places.store_identity(&new).expect("a new one heals it");
            assert_eq!(places.identity().expect(kind), Some(new), "{kind}");
        }
    }

    #[test]
    fn a_stored_identity_cannot_write_lines_of_its_own_into_the_systems_files() {
        let Device { folder, mut places } = device();
        places.store_identity(&identity("a")).expect("a store");
        let path = folder.path().join("var/lib/fleet/identity/device.toml");
        let text = fs::read_to_string(&path).expect("text");
        assert!(places.identity().expect("a read").is_some());
        let bad = text.replace("10.0.2.100:5000", "a\\\"\\n[[registry]]\\nlocation = \\\"b");
        assert!(bad != text, "{text}");
        let mut file = File::create(&path).expect("the file");
        file.write_all(bad.as_bytes()).expect("a write");
        assert!(places.identity().expect("a read").is_none());
    }

    #[test]
    fn wiped_file_is_gone() {
        let Device { folder, mut places } = device();
        let path = folder.path().join("boot/efi/fleet.toml");
        let mut file = File::create(&path).expect("a file");
        file.write_all(b"secret").expect("content");
        let mut opened = File::open(&path).expect("a second handle");
        places.wipe_fleet_toml().expect("a wipe");
        assert!(!path.exists());
        let mut content = Vec::new();
        opened.read_to_end(&mut content).expect("what is left");
        assert_eq!(content, [0; 6]);
    }

    #[test]
    fn folder_without_a_mount_is_not_taken_for_the_partition() {
        assert!(!device().places.fat_is_mounted());
    }
}
