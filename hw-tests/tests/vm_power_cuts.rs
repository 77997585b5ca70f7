//! A device whose pool's metadata is damaged repairs it before the system starts, or says in plain words that it cannot. Power cuts by
//! the dozen are in `vm_matrix_power_cuts.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::pool::PoolMetadata;
use fleet_hw_tests::site::{Site, come_back, require_whole};
use fleet_hw_tests::{QemuRig, Rig};

const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(90);

#[test]
fn damaged_metadata_of_the_pool_is_repaired_before_the_system_starts() -> Result<()> {
    let site = Site::open()?;
    repaired(&site, "damaged-pool").map(drop)
}

/// A device whose pool was damaged while it was off, and that booted again with everything it had.
fn repaired(site: &Site, name: &str) -> Result<QemuRig> {
    let mut rig = site.device_running(name)?;
    rig.run_ok(
        "head -c 5M /dev/urandom >/var/lib/fleet/kept && sha256sum /var/lib/fleet/kept >/var/lib/fleet/kept.sum && sync",
        COMMAND,
    )?;
    let metadata = PoolMetadata::of_running(&mut rig)?;
    rig.cut_power()?;
    // The root of the data space map: no thin_check mends that, and it can be computed anew from the mappings.
    let root = metadata.space_map_root(&mut rig)?;
    metadata.destroy(&mut rig, root, 1)?;
    come_back(&mut rig).context("after its pool's space map was destroyed")?;
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
    Ok(rig)
}

#[test]
fn pool_beyond_repair_says_so_in_plain_words() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("lost-pool")?;
    let metadata = PoolMetadata::of_running(&mut rig)?;
    rig.cut_power()?;
    // The superblock and every mapping: there is nothing to compute anything from.
    metadata.destroy(&mut rig, 0, 4096)?;
    rig.power_on()?;
    let said = rig.wait_for_console("fleet: this device cannot start", BOOT)?;
    eprintln!("on the console: {said}");
    ensure!(said.contains("/dev/fleet/root"), "{said}");
    // A restart and not a shell for nobody: the fault may be one that passes.
    rig.wait_for_console("Rebooting automatically", BOOT)?;
    Ok(())
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    #[test]
    fn a_boot_after_a_repair_repairs_nothing() -> Result<()> {
        let site = Site::open()?;
        let mut rig = repaired(&site, "repaired-pool")?;
        rig.power_off(BOOT)?;
        come_back(&mut rig).context("after the repair")?;
        require_whole(&mut rig)?;
        ensure!(!rig.console().text().contains("fleet: repair"));
        Ok(())
    }
}
