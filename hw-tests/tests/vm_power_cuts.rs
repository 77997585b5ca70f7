//! A device comes back from every power cut: those of its first boots, those in the middle of writing, and the one that leaves the
//! pool's metadata damaged.

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

/// Writes over the pool's metadata behind the kernel's back: `count` blocks of 4 KiB from the block that `$block` names.
/// It is done again if the kernel committed in between.
fn destroy_metadata(rig: &mut QemuRig, block: &str, count: u32) -> Result<()> {
    let script = format!(
        "set -e; sync; fsfreeze -f /var/lib/fleet; read -r _ _ _ _ start < <(dmsetup table fleet-pool_tmeta)\n\
         superblock() {{ dd if=/dev/vda2 bs=512 skip=$start count=1 iflag=direct status=none; }}\n\
         for try in 1 2 3; do before=$(superblock | od -A n -t u8 -j 80 -N 8 | tr -d ' '); bitmap=$before; block={block}\n\
         head -c $((4096 * {count})) /dev/zero | tr '\\0' '\\245' \
         | dd of=/dev/vda2 bs=4096 seek=$((start / 8 + block)) iflag=fullblock oflag=direct conv=notrunc status=none\n\
         after=$(superblock | od -A n -t u8 -j 80 -N 8 | tr -d ' '); test $before != $after || break; done"
    );
    rig.run_ok(&script, COMMAND)?;
    rig.cut_power().map_err(Into::into)
}

#[test]
fn damaged_metadata_of_the_pool_is_repaired_before_the_system_starts() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("damaged-pool")?;
    rig.run_ok(
        "head -c 5M /dev/urandom >/var/lib/fleet/kept && sha256sum /var/lib/fleet/kept >/var/lib/fleet/kept.sum && sync",
        COMMAND,
    )?;
    // The root of the data space map: no thin_check mends that, and it can be computed anew from the mappings.
    destroy_metadata(&mut rig, "$bitmap", 1)?;
    come_back(&mut rig, "that destroyed the pool's space map")?;
    let said = rig.wait_for_console("fleet: repaired", COMMAND)?;
    eprintln!("on the console: {said}");
    require_whole(&mut rig)?;
    rig.run_ok("sha256sum -c /var/lib/fleet/kept.sum", COMMAND)?;
    // The system is up, so the repair has helped: what it replaced was kept until now, and must not count against the next one.
    rig.run_until_ok(
        "journalctl -b -u fleet-forget-repairs.service | grep -q 'pool_meta0.*was removed'",
        COMMAND,
    )?;
    let left = rig.run_ok("lvs --noheadings -o lv_name fleet", COMMAND)?;
    ensure!(!left.contains("pool_meta"), "{left}");

    rig.power_off(BOOT)?;
    come_back(&mut rig, "after the repair")?;
    require_whole(&mut rig)?;
    ensure!(!rig.console().text().contains("fleet: repair"));
    Ok(())
}

#[test]
fn pool_beyond_repair_says_so_in_plain_words() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("lost-pool")?;
    destroy_metadata(&mut rig, "0", 4096)?;
    rig.power_on()?;
    let said = rig.wait_for_console("fleet: this device cannot start", BOOT)?;
    eprintln!("on the console: {said}");
    ensure!(said.contains("/dev/fleet/root"), "{said}");
    // A restart and not a shell for nobody: the fault may be one that passes.
    rig.wait_for_console("Rebooting automatically", BOOT)?;
    Ok(())
}
