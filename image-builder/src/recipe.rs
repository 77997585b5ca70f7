//! What the Debian part of an image is made of. Everything here is an input of the cache's key.

use std::path::Path;

use crate::error::ImageError;
use crate::identity::InputDigest;
use crate::profile::Profile;
use crate::tree::Tree;

/// Debian release of devices.
pub(crate) const SUITE: &str = "trixie";
/// Raised when the code below changes the result for the same inputs.
const FORMAT: &str = "1";

const SOURCES: &str = "deb http://deb.debian.org/debian trixie main\n\
                       deb http://deb.debian.org/debian trixie-updates main\n\
                       deb http://deb.debian.org/debian-security trixie-security main\n";

/// What a device has beside the kernel. No recommends: what is needed is listed, with its reason where it isn't plain.
const DEVICE_PACKAGES: &[&str] = &[
    "aardvark-dns", // names between containers
    "busybox",      // a shell in the initramfs
    "ca-certificates",
    "catatonit", // `podman run --init`, and the first process of a pod
    "crun",
    "dbus",
    "dbus-user-session", // systemctl --user
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "lvm2",
    "netavark",
    "netbase",
    "nftables", // podman's bridge networks
    "passt",    // podman's rootless network
    "podman",
    "systemd",
    "systemd-boot",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "thin-provisioning-tools", // thin_check, without which the pool does not activate
    "udev",
    "uidmap",
    "zstd",
];

/// What runs on the build machine, from the device's release so that the build machine's own does not matter.
const TOOL_PACKAGES: &[&str] = &[
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "libarchive13t64",
    "mtools",
    "thin-provisioning-tools",
];

/// Nobody reads manuals on a device; the copyright files stay. Nobody answers dpkg's questions either: the device's own
/// version of a configuration file stays.
const DPKG_OPTIONS: &[&str] = &[
    "force-confold",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
];

/// A call of mmdebstrap.
pub(crate) struct Recipe {
    /// Short name, for the cache's folder and messages.
    pub(crate) name: String,
    /// Debian's name of the architecture.
    pub(crate) architecture: &'static str,
    /// mmdebstrap's variant: `minbase` configures a system, `extract` only unpacks.
    pub(crate) variant: &'static str,
    /// Packages beside the variant's own.
    pub(crate) packages: Vec<&'static str>,
    /// apt's sources.
    pub(crate) sources: &'static str,
    /// dpkg's options, kept on the device.
    pub(crate) dpkg_options: &'static [&'static str],
    /// Files that must be there before the packages are set up.
    pub(crate) seed: Tree,
    /// Time of everything, seconds since 1970.
    pub(crate) epoch: u64,
}

impl Recipe {
    /// The root file system of devices. `hooks` is the initramfs-tools tree; it goes in before the kernel, so that the
    /// initramfs is made once. So do LVM's settings: the initramfs activates root by its own copy of them, and an overlay
    /// put there later would come too late.
    pub(crate) fn device(
        profile: Profile,
        dist: &Path,
        hooks: &Path,
        epoch: u64,
    ) -> Result<Self, ImageError> {
        let mut seed = Tree::default();
        seed.add_folder(hooks, "etc/initramfs-tools")?;
        seed.add_folder(&dist.join("usr/lib/sysusers.d"), "usr/lib/sysusers.d")?;
        seed.add_folder(&dist.join("etc/lvm"), "etc/lvm")?;
        let mut packages = DEVICE_PACKAGES.to_vec();
        packages.push(profile.kernel_package());
        Ok(Self {
            name: format!("root-{profile}"),
            architecture: profile.architecture(),
            variant: "minbase",
            packages,
            sources: SOURCES,
            dpkg_options: DPKG_OPTIONS,
            seed,
            epoch,
        })
    }

    /// The tools that lay the image out, for the machine that builds.
    pub(crate) fn tools(architecture: &'static str, epoch: u64) -> Self {
        Self::unpacked("tools", architecture, TOOL_PACKAGES, epoch)
    }

    /// Packages and what they depend on, without the system below them.
    pub(crate) fn unpacked(
        name: &str,
        architecture: &'static str,
        packages: &[&'static str],
        epoch: u64,
    ) -> Self {
        Self {
            name: format!("{name}-{architecture}"),
            architecture,
            variant: "extract",
            packages: packages.to_vec(),
            sources: SOURCES,
            dpkg_options: &[],
            seed: Tree::default(),
            epoch,
        }
    }

    /// Digest of all that is asked for (not of what the mirror has today: that is the result's digest).
    pub(crate) fn key(&self) -> Result<String, ImageError> {
        let mut digest = InputDigest::new("recipe");
        for part in [FORMAT, SUITE, self.architecture, self.variant, self.sources] {
            digest.add(part.as_bytes());
        }
        digest.add(self.packages.join(" ").as_bytes());
        digest.add(self.dpkg_options.join(" ").as_bytes());
        digest.add(&self.epoch.to_le_bytes());
        digest.add(self.seed.digest()?.as_bytes());
        Ok(digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_and_architecture_are_part_of_the_key() {
        let key = |architecture, epoch| Recipe::tools(architecture, epoch).key().expect("a key");
        assert_eq!(key("amd64", 1), key("amd64", 1));
        assert_ne!(key("amd64", 1), key("amd64", 2));
        assert_ne!(key("amd64", 1), key("arm64", 1));
    }
}
