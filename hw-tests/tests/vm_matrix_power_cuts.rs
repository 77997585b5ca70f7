//! The long one: a device loses its power again and again, all through its first boots and in the middle of writing, and comes back each
//! time. It takes ten minutes and more, so it is built with the feature `matrix` only:
//!
//! ```sh
//! cargo nextest run -p fleet-hw-tests --features matrix --test vm_matrix_power_cuts
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::qemu::Hardware;
use fleet_hw_tests::site::{DEVICE, Site, SiteKeys};
use fleet_hw_tests::{DeviceImage, QemuRig, QemuSettings, Rig};

const BOOT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);
/// Large enough that growth extends the pool's metadata as well, which a small disk doesn't need.
const DISK_GIB: u32 = 40;
const ENROLLED: &str =
    "systemctl is-active fleet-first-boot.service && test -s /var/lib/fleet/identity/nats.nk";

/// The next boot of a device that lost its power must reach systemd. When it doesn't, the console says why.
fn come_back(rig: &mut QemuRig, from: &str) -> Result<()> {
    rig.power_on()?;
    rig.wait_for_shell(BOOT).with_context(|| {
        let text = rig.console().text();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        format!("the device did not come back from a cut {from}; its console:\n{tail}")
    })
}

fn require_whole(rig: &mut QemuRig) -> Result<()> {
    rig.run_until_ok(ENROLLED, BOOT)?;
    ensure!(rig.run_ok("hostname", COMMAND)? == DEVICE);
    let failed = rig.run_ok("systemctl --failed --plain --no-legend", COMMAND)?;
    ensure!(failed.is_empty(), "{failed}");
    Ok(())
}

fn mebibytes(rig: &mut QemuRig, volume: &str) -> Result<u64> {
    let sectors = rig.run_ok(&format!("blockdev --getsz /dev/mapper/fleet-{volume}"), COMMAND)?;
    Ok(sectors.parse::<u64>()? >> 11)
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
    // The moments that matter, as conditions in the device, in the order in which a first boot comes to them. MiB of the
    // image's own volumes: 32, 3,000, 2,048, 512.
    let larger = |volume: &str, mib: u32| {
        format!("test $(blockdev --getsz /dev/mapper/fleet-{volume}) -gt $(({mib} * 2048))")
    };
    let moments = [
        "systemctl show -P ActiveState fleet-grow-disk.service | grep -qxE 'activating|active'".to_owned(),
        larger("pool_tmeta", 33),
        larger("pool_tdata", 8000),
        larger("data", 8000),
        "test -e /var/lib/fleet-provision/grown-to".to_owned(),
        "systemctl show -P ActiveState fleet-first-boot.service | grep -qxE 'activating|active'".to_owned(),
        "test -e /var/lib/fleet/identity && ! test -e /boot/efi/fleet.toml".to_owned(),
    ];
    let mut last = "that never was";
    for moment in &moments {
        come_back(&mut rig, last)?;
        rig.run_until_ok(moment, BOOT)?;
        rig.cut_power()?;
        last = moment;
    }

    come_back(&mut rig, last)?;
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

/// Files are written, flushed, deleted and discarded without a pause, and the rounds are counted in `/run/churn`. A cut then
/// finds the pool between two commits of its metadata, and leaks the blocks that were given out or taken back since the first.
const CHURN: &str = "systemd-run -q --unit fleet-churn bash -c 'cd /var/lib/fleet; for round in {1..1000}; do \
     for file in {1..6}; do dd if=/dev/zero of=churn.$file bs=64k count=32 conv=fsync status=none & done; wait; \
     rm churn.*; fstrim . & echo $round >/run/churn; done'";

#[test]
fn cuts_in_the_middle_of_writing_lose_nothing() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("churn-cuts")?;
    for rounds in [1, 3, 2, 1] {
        rig.run_ok(CHURN, COMMAND)?;
        rig.run_until_ok(&format!("test \"$(cat /run/churn)\" -ge {rounds}"), BOOT)?;
        rig.cut_power()?;
        come_back(&mut rig, &format!("after {rounds} rounds of writing"))?;
    }
    require_whole(&mut rig)
}
