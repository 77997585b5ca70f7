//! The long one: a device loses its power again and again, all through its first boots and in the middle of writing, and comes back each
//! time. And the control: without what protects it, what such a cut leaves makes a brick of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleet_hw_tests::pool::PoolMetadata;
use fleet_hw_tests::qemu::Hardware;
use fleet_hw_tests::site::{Site, SiteKeys, come_back, require_whole};
use fleet_hw_tests::{DeviceImage, QemuRig, QemuSettings, Rig, cpio};

/// Limits for hangs, not for speed: the machine may be doing a lot else.
const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(120);
/// Large enough that growth extends the pool's metadata as well, which a small disk doesn't need.
const DISK_GIB: u32 = 40;

fn mebibytes(rig: &mut QemuRig, volume: &str) -> Result<u64> {
    let sectors = rig.run_ok(&format!("blockdev --getsz /dev/mapper/fleet-{volume}"), COMMAND)?;
    Ok(sectors.parse::<u64>()? >> 11)
}

/// The moments that matter, as conditions in the device, in the order in which a first boot comes to them.
fn moments() -> Vec<(&'static str, String)> {
    let unit = |unit: &str| format!("systemctl show -P ActiveState {unit} | grep -qxE 'activating|active'");
    // MiB of the image's own volumes: 32, 3,000, 512.
    let larger = |volume: &str, mib: u32| {
        format!("test $(blockdev --getsz /dev/mapper/fleet-{volume}) -gt $(({mib} * 2048))")
    };
    vec![
        ("growth begins", unit("fleet-grow-disk.service")),
        ("the pool's metadata has grown", larger("pool_tmeta", 33)),
        ("the pool has grown", larger("pool_tdata", 8000)),
        ("the volume data has grown", larger("data", 8000)),
        (
            "growth is recorded",
            "test -e /var/lib/fleet-provision/grown-to".to_owned(),
        ),
        ("enrolment begins", unit("fleet-first-boot.service")),
        (
            "the identity is written, the file with the secret is gone",
            "test -e /var/lib/fleet/identity && ! test -e /boot/efi/fleet.toml".to_owned(),
        ),
    ]
}

#[test]
fn cuts_all_through_the_first_boots_lose_nothing() -> Result<()> {
    let toml = Site::fleet_toml(&SiteKeys::kept()?)?;
    let settings = QemuSettings {
        hardware: Hardware {
            disk_gib: DISK_GIB,
            ..Hardware::default()
        },
        ..QemuSettings::new("first-boot-cuts")
    };
    let mut rig = QemuRig::new(&DeviceImage::find()?, settings)?;
    rig.put_boot_file("fleet.toml", toml.as_bytes())?;
    let mut last = "there was none yet";
    for (name, condition) in moments() {
        boot_after(&mut rig, last)?;
        rig.run_until_ok(&condition, BOOT)
            .with_context(|| format!("before the cut when {name}"))?;
        rig.cut_power()?;
        last = name;
    }

    boot_after(&mut rig, last)?;
    require_whole(&mut rig)?;
    ensure!(rig.run_ok("systemctl is-active fleet-grow-disk.service", COMMAND)? == "active");
    let sizes = ["pool_tmeta", "pool_tdata", "data"].map(|volume| mebibytes(&mut rig, volume));
    let [metadata, pool, data] = sizes;
    let (metadata, pool, data) = (metadata?, pool?, data?);
    eprintln!("MiB of a disk of {DISK_GIB} GiB: metadata {metadata}, pool {pool}, data {data}");
    ensure!(metadata > 36 && pool > 34_000 && data > 16_000);
    let file_system: u64 = rig
        .run_ok("df --output=size -m /var/lib/fleet | tail -1", COMMAND)?
        .parse()?;
    ensure!(
        file_system > data * 9 / 10,
        "data's file system has {file_system} MiB"
    );
    Ok(())
}

fn boot_after(rig: &mut QemuRig, cut: &str) -> Result<()> {
    let start = Instant::now();
    come_back(rig).with_context(|| format!("after the cut when {cut}"))?;
    let repaired = rig.console().text().contains("fleet: repair");
    eprintln!(
        "cut when {cut}: back after {:.0?}{}",
        start.elapsed(),
        if repaired { ", with a repair" } else { "" }
    );
    Ok(())
}

/// Files are written, flushed, deleted and discarded without a pause, and the rounds are counted in `/run/churn`. A cut then
/// finds the pool between two commits of its metadata, and leaks the blocks that were given out or taken back since the first.
const CHURN: &str = "systemd-run -q --unit fleet-churn bash -c 'cd /var/lib/fleet; for round in {1..1000}; do \
     for file in {1..6}; do dd if=/dev/zero of=churn.$file bs=64k count=32 conv=fsync status=none & done; wait; \
     rm churn.*; fstrim . & echo $round >/run/churn; done'";

/// Cuts the power after so many rounds of [`CHURN`].
fn cut_in_churn(rig: &mut QemuRig, rounds: u32) -> Result<()> {
    rig.run_ok(CHURN, COMMAND)?;
    rig.run_until_ok(&format!("test \"$(cat /run/churn)\" -ge {rounds}"), BOOT)?;
    rig.cut_power()?;
    Ok(())
}

#[test]
fn cuts_in_the_middle_of_writing_lose_nothing() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("churn-cuts")?;
    rig.run_ok(KEEP, COMMAND)?;
    for rounds in [1, 3, 2, 1, 2, 4] {
        cut_in_churn(&mut rig, rounds)?;
        boot_after(&mut rig, &format!("{rounds} rounds were written"))?;
        rig.run_until_ok(KEPT, BOOT)?;
    }
    require_whole(&mut rig)?;
    Ok(())
}

/// A file that was flushed long before any cut.
const KEEP: &str = "head -c 5M /dev/urandom >/var/lib/fleet/kept && sha256sum /var/lib/fleet/kept >/var/lib/fleet/kept.sum && sync";

/// It is there, whole, as soon as the volume is.
const KEPT: &str = "systemctl is-active var-lib-fleet.mount && sha256sum -c /var/lib/fleet/kept.sum";

/// LVM's settings as Debian has them, and no repair by our script: what an initramfs is without what protects ours.
const UNPROTECTED: &[(&str, &str)] = &[
    ("etc/lvm/lvmlocal.conf", "activation {\n\tmonitoring = 0\n}\n"),
    ("scripts/local-block/fleet", "#!/bin/sh\nexit 0\n"),
    // The initramfs reads it first of all, and so tells that it is this one.
    (
        "conf/conf.d/unprotected",
        "echo 'unprotected initramfs' >/dev/console\n",
    ),
];

const UNPROTECTED_SAYS: &str = "unprotected initramfs";

/// What a cut in the middle of writing leaves now and then, made by hand so that it is there each time: one leaked block.
#[test]
fn a_leaked_block_makes_a_brick_of_a_device_whose_initramfs_repairs_nothing() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("unprotected")?;
    rig.run_ok(KEEP, COMMAND)?;
    let entry = rig.run_ok("cd /boot/efi && ls loader/entries/*.conf", COMMAND)?;
    let metadata = PoolMetadata::of_running(&mut rig)?;
    rig.power_off(BOOT)?;
    let protected = rig.read_boot_file(&entry)?.context("there is a boot entry")?;
    let mut unprotected = protected.clone();
    unprotected.extend_from_slice(b"initrd     /unprotected.cpio\n");
    rig.put_boot_file("unprotected.cpio", &cpio::archive(UNPROTECTED))?;
    rig.put_boot_file(&entry, &unprotected)?;

    rig.power_on()?;
    ensure!(comes_back(&mut rig)?, "it is lost without any damage");
    ensure!(
        rig.console().text().contains(UNPROTECTED_SAYS),
        "it boots as always"
    );
    rig.run_until_ok(KEPT, BOOT)?;
    rig.power_off(BOOT)?;
    let block = metadata.leak(&mut rig)?;
    rig.power_on()?;
    ensure!(
        !comes_back(&mut rig)?,
        "a leak of block {block} does no harm to a device without protection: the other tests prove nothing"
    );

    // The very same disk comes back with the protection on: it is this that saves the devices of the other tests.
    rig.cut_power()?;
    rig.put_boot_file(&entry, &protected)?;
    boot_after(&mut rig, "it was lost")?;
    ensure!(!rig.console().text().contains(UNPROTECTED_SAYS));
    rig.run_until_ok(KEPT, BOOT)?;
    require_whole(&mut rig)?;
    Ok(())
}

/// Whether the boot ends at a shell, or with an initramfs that has given up on root.
fn comes_back(rig: &mut QemuRig) -> Result<bool> {
    let end = Instant::now() + BOOT;
    while Instant::now() < end {
        if rig.wait_for_shell(Duration::from_secs(5)).is_ok() {
            return Ok(true);
        }
        if rig.console().text().contains("Gave up waiting for root") {
            return Ok(false);
        }
    }
    bail!("neither a shell nor an end of the boot: {}", rig.console().tail())
}
