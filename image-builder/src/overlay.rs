//! The device's own files over the Debian tree, and what is taken out of it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::bake::{BootFiles, BuildRequest};
use crate::boot::{ENTRY_TOKEN, kernel_options};
use crate::error::ImageError;
use crate::manifest::{Package, packages};
use crate::tree::{Node, Tree, header};

/// User id of `fleet`, fixed so that a data volume outlives the system it was made under. `sysusers.d/fleet.conf` has
/// the same number.
pub(crate) const FLEET_ID: u64 = 970;

/// Links of units that a device doesn't want, as Debian's packages make them. Nothing on a device changes by itself:
/// updates come from the fleet, so apt's timers and dpkg's backups go; see
/// `etc/lvm/lvmlocal.conf` for dmeventd.
const REMOVED: &[&str] = &[
    "etc/systemd/system/default.target.wants/netavark-dhcp-proxy.service",
    "etc/systemd/system/sockets.target.wants/netavark-dhcp-proxy.socket",
    "etc/systemd/system/firewalld.service.wants/netavark-firewalld-reload.service",
    "etc/systemd/system/timers.target.wants/apt-daily.timer",
    "etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer",
    "etc/systemd/system/timers.target.wants/dpkg-db-backup.timer",
    "etc/systemd/system/timers.target.wants/e2scrub_all.timer",
    "etc/systemd/system/multi-user.target.wants/e2scrub_reap.service",
    "etc/systemd/system/multi-user.target.wants/remote-fs.target",
    "etc/systemd/system/sockets.target.wants/dm-event.socket",
    "etc/systemd/system/sysinit.target.wants/blk-availability.service",
    "etc/systemd/system/sysinit.target.wants/lvm2-lvmpolld.socket",
    "etc/systemd/system/sysinit.target.wants/lvm2-monitor.service",
    "etc/systemd/user/sockets.target.wants/dirmngr.socket",
    "etc/systemd/user/sockets.target.wants/gpg-agent.socket",
    "etc/systemd/user/sockets.target.wants/gpg-agent-browser.socket",
    "etc/systemd/user/sockets.target.wants/gpg-agent-extra.socket",
    "etc/systemd/user/sockets.target.wants/gpg-agent-ssh.socket",
    "etc/systemd/user/sockets.target.wants/keyboxd.socket",
];

/// Everything that is ours on the root file system.
pub(crate) fn overlay(request: &BuildRequest) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    tree.add_folder(&request.dist, "")?;
    let agent = format!("usr/local/lib/fleet/agent/{}/fleet-agent", request.agent_version);
    tree.executable(&agent, &request.agent);
    let target = agent.replacen("usr/local/", "../", 1);
    tree.insert("usr/local/bin/fleet-agent", Node::Link { target });
    tree.executable("usr/lib/fleet/fleet-provision", &request.provision);
    tree.text(
        "etc/kernel/cmdline",
        &format!("{}\n", kernel_options(request.profile)),
    );
    tree.text("etc/kernel/entry-token", &format!("{ENTRY_TOKEN}\n"));
    for folder in ["boot/efi", "var/lib/fleet"] {
        tree.insert(folder, Node::Folder { mode: 0o755 });
    }
    // systemd compares these with /usr's time and would rebuild its databases at the first boot.
    for stamp in ["etc/.updated", "var/.updated"] {
        tree.text(stamp, "");
    }
    Ok(tree)
}

/// The root of the data file system: the home of `fleet`.
pub(crate) fn data_tar(to: &Path, epoch: u64) -> Result<(), ImageError> {
    let file = File::create(to).map_err(ImageError::io("create", to))?;
    let mut tar = tar::Builder::new(file);
    let mut home = header(tar::EntryType::Directory, 0o750, epoch);
    home.set_uid(FLEET_ID);
    home.set_gid(FLEET_ID);
    tar.append_data(&mut home, "./", io::empty())
        .map_err(ImageError::io("append to", to))?;
    tar.finish().map_err(ImageError::io("finish", to))
}

/// What was found in the Debian tree on the way.
pub(crate) struct Merged {
    /// Files for the ESP.
    pub(crate) boot: BootFiles,
    /// Installed packages.
    pub(crate) packages: Vec<Package>,
}

/// Writes `debian` with `tree` over it to `to`.
pub(crate) fn merge(debian: &Path, tree: &Tree, epoch: u64, to: &Path) -> Result<Merged, ImageError> {
    let input = File::open(debian).map_err(ImageError::io("open", debian))?;
    let output = File::create(to).map_err(ImageError::io("create", to))?;
    let mut merge = Merge {
        tree,
        out: tar::Builder::new(BufWriter::new(output)),
        found: Found::default(),
    };
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, input));
    let read = ImageError::io("read", debian);
    merge.base(&mut archive).map_err(read)?;
    let Merge { mut out, found, .. } = merge;
    tree.append_to(&mut out, epoch, &|path| {
        found.folders.iter().any(|known| known == path)
    })?;
    let mut writer = out.into_inner().map_err(ImageError::io("finish", to))?;
    writer.flush().map_err(ImageError::io("finish", to))?;
    found.complete()
}

struct Merge<'a, W: Write> {
    tree: &'a Tree,
    out: tar::Builder<W>,
    found: Found,
}

impl<W: Write> Merge<'_, W> {
    fn base<R: Read>(&mut self, archive: &mut tar::Archive<R>) -> io::Result<()> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let name = path.trim_start_matches("./").trim_end_matches('/').to_owned();
            if unwanted(&name, entry.header().entry_type()) || self.tree.replaces(&name) {
                continue;
            }
            if entry.header().entry_type().is_dir() {
                self.found.folders.push(name.clone());
            }
            self.copy(&mut entry, &path, &name)?;
        }
        Ok(())
    }

    fn copy<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &str, name: &str) -> io::Result<()> {
        self.extended_attributes(entry)?;
        let mut header = entry.header().clone();
        if let Some(target) = entry.link_name()? {
            return self.out.append_link(&mut header, path, target);
        }
        if self.found.wants(name) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            self.out.append_data(&mut header, path, content.as_slice())?;
            self.found.take(name, content);
            return Ok(());
        }
        if header.entry_type().is_file() {
            return self.out.append_data(&mut header, path, entry);
        }
        if header.entry_type().is_dir() {
            return self.out.append_data(&mut header, path, io::empty());
        }
        // A device: all of it is in its header.
        header.set_path(path)?;
        header.set_cksum();
        self.out.append(&header, io::empty())
    }

    /// File capabilities travel as attributes of the entry.
    fn extended_attributes<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        let mut kept = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let key = extension.key().unwrap_or_default().to_owned();
                if key.starts_with("SCHILY.xattr.") {
                    kept.push((key, extension.value_bytes().to_vec()));
                }
            }
        }
        let borrowed: Vec<_> = kept
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .collect();
        if borrowed.is_empty() {
            Ok(())
        } else {
            self.out.append_pax_extensions(borrowed)
        }
    }
}

/// What of Debian's tree stays out: logs and caches of the build, units a device doesn't want.
fn unwanted(name: &str, kind: tar::EntryType) -> bool {
    let content = !kind.is_dir();
    REMOVED.contains(&name)
        || content
            && ["var/log/", "var/cache/", "run/", "tmp/"]
                .iter()
                .any(|folder| name.starts_with(folder))
}

/// Signed by Debian; bootctl prefers it too.
const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed";
const STATUS: &str = "var/lib/dpkg/status";
const KERNEL: &str = "boot/vmlinuz-";
const INITRD: &str = "boot/initrd.img-";

#[derive(Default)]
struct Found {
    folders: Vec<String>,
    boot: BootFiles,
    status: String,
}

impl Found {
    fn wants(&self, name: &str) -> bool {
        name == LOADER || name == STATUS || name.starts_with(KERNEL) || name.starts_with(INITRD)
    }

    fn take(&mut self, name: &str, content: Vec<u8>) {
        match name {
            LOADER => self.boot.loader = content,
            STATUS => self.status = String::from_utf8_lossy(&content).into_owned(),
            _ => match name.strip_prefix(KERNEL) {
                Some(version) => {
                    self.boot.kernel_version = version.to_owned();
                    self.boot.kernel = content;
                }
                None => self.boot.initrd = content,
            },
        }
    }

    fn complete(self) -> Result<Merged, ImageError> {
        let parts = [
            ("boot loader", self.boot.loader.is_empty()),
            ("kernel", self.boot.kernel.is_empty()),
            ("initramfs", self.boot.initrd.is_empty()),
            ("list of packages", self.status.is_empty()),
        ];
        match parts.iter().find(|(_, missing)| *missing) {
            Some((what, _)) => Err(ImageError::Incomplete {
                what: (*what).to_owned(),
            }),
            None => Ok(Merged {
                packages: packages(&self.status),
                boot: self.boot,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_id_is_the_one_sysusers_gives() {
        let line = include_str!("../../device/dist/usr/lib/sysusers.d/fleet.conf");
        assert!(line.contains(&format!("u fleet {FLEET_ID} ")), "{line}");
    }

    #[test]
    fn logs_and_removed_units_stay_out_and_their_folders_stay() {
        assert!(unwanted("var/log/dpkg.log", tar::EntryType::Regular));
        assert!(!unwanted("var/log/journal", tar::EntryType::Directory));
        assert!(unwanted(REMOVED[0], tar::EntryType::Symlink));
        assert!(!unwanted("var/lib/dpkg/status", tar::EntryType::Regular));
    }

    #[test]
    fn overlay_replaces_a_debian_file_and_keeps_devices_links_and_folder_modes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (base, out) = (folder.path().join("base.tar"), folder.path().join("out.tar"));
        base_tar(&base);
        let mut tree = Tree::default();
        tree.text("etc/hostname", "device");
        merge(&base, &tree, 1, &out).expect("a merge");
        let listed = list(&out);
        let of = |name: &str| {
            listed
                .iter()
                .filter(|(path, ..)| path == name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("etc/hostname"),
            [&("etc/hostname".to_owned(), 0o644, "device".to_owned())]
        );
        assert_eq!(of("etc/"), [&("etc/".to_owned(), 0o700, String::new())]);
        assert_eq!(of("dev/null").len(), 1);
    }

    fn base_tar(path: &Path) {
        let mut tar = tar::Builder::new(File::create(path).expect("a file"));
        let mut folder = header(tar::EntryType::Directory, 0o700, 1);
        tar.append_data(&mut folder, "./etc/", io::empty())
            .expect("a folder");
        let mut device = header(tar::EntryType::Char, 0o666, 1);
        device.set_device_major(1).expect("a number");
        device.set_device_minor(3).expect("a number");
        tar.append_data(&mut device, "./dev/null", io::empty())
            .expect("a device");
        for name in [
            "etc/hostname",
            LOADER,
            STATUS,
            "boot/vmlinuz-6.12",
            "boot/initrd.img-6.12",
        ] {
            let mut file = header(tar::EntryType::Regular, 0o644, 1);
            file.set_size(4);
            tar.append_data(&mut file, format!("./{name}"), &b"base"[..])
                .expect("a file");
        }
        tar.finish().expect("a tar");
    }

    fn list(path: &Path) -> Vec<(String, u32, String)> {
        let mut archive = tar::Archive::new(File::open(path).expect("a tar"));
        let entry = |entry: io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.expect("an entry");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            let path = String::from_utf8_lossy(&entry.path_bytes())
                .trim_start_matches("./")
                .to_owned();
            (path, entry.header().mode().expect("a mode"), content)
        };
        archive.entries().expect("entries").map(entry).collect()
    }
}
