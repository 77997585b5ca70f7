//! A device whose pool's metadata is damaged repairs it before the system starts, or says in plain words that it cannot. Power cuts by
//! the dozen are in `vm_matrix_power_cuts.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{DEVICE, Site};
use fleet_hw_tests::{QemuRig, Rig};

const BOOT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);
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
