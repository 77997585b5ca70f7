//! The EFI system partition: systemd-boot, one entry, kernel and initramfs.
//!
//! Paths and names are those `kernel-install` uses with the entry token `fleet`, so that a kernel upgrade on the device
//! adds its entry beside this one.

use std::collections::BTreeMap;

use crate::bake::BootFiles;
use crate::profile::Profile;

/// Entry token of `kernel-install`, and the folder of kernels on the ESP.
pub(crate) const ENTRY_TOKEN: &str = "fleet";

/// Options of the kernel. `root` is named by LV path: a snapshot has the same UUID. `panic=30` also makes the initramfs
/// reboot instead of offering a shell nobody can reach, and `fsck.repair=yes` answers the questions of `fsck` that nobody
/// would. `gpt` lets the kernel take the second partition table when a cut tore the first.
pub(crate) fn kernel_options(profile: Profile) -> String {
    format!(
        "root=/dev/fleet/root rootfstype=ext4 rw {} gpt loglevel=4 panic=30 fsck.repair=yes systemd.gpt_auto=no systemd.show_status=yes",
        profile.console_options()
    )
}

/// Files of the ESP, by path.
pub(crate) fn esp_files(profile: Profile, files: &BootFiles) -> BTreeMap<String, Vec<u8>> {
    let version = &files.kernel_version;
    let folder = format!("{ENTRY_TOKEN}/{version}");
    let initrd = format!("{folder}/initrd.img-{version}");
    let entry = format!(
        "title      Fleet device\nversion    {version}\nsort-key   fleet\noptions    {}\nlinux      /{folder}/linux\n\
         initrd     /{initrd}\n",
        kernel_options(profile)
    );
    BTreeMap::from([
        ("EFI/BOOT/BOOTX64.EFI".to_owned(), files.loader.clone()),
        ("EFI/systemd/systemd-bootx64.efi".to_owned(), files.loader.clone()),
        (
            "loader/loader.conf".to_owned(),
            b"timeout 0\neditor no\nconsole-mode keep\n".to_vec(),
        ),
        ("loader/entries.srel".to_owned(), b"type1\n".to_vec()),
        (
            format!("loader/entries/{ENTRY_TOKEN}-{version}.conf"),
            entry.into_bytes(),
        ),
        (format!("{folder}/linux"), files.kernel.clone()),
        (initrd, files.initrd.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_names_root_by_lv_path_and_the_files_that_are_there() {
        let files = BootFiles {
            kernel_version: "6.12".into(),
            ..BootFiles::default()
        };
        let esp = esp_files(Profile::Amd64Vm, &files);
        let entry = String::from_utf8(esp["loader/entries/fleet-6.12.conf"].clone()).expect("text");
        assert!(entry.contains("root=/dev/fleet/root "));
        for key in ["linux", "initrd"] {
            let line = entry.lines().find(|line| line.starts_with(key)).expect("a line");
            let path = line
                .split_whitespace()
                .nth(1)
                .expect("a path")
                .trim_start_matches('/');
            assert!(esp.contains_key(path), "{path} is not on the ESP");
        }
    }
}
