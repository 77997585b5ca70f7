//! The device's storage is sound by the field's own tools. The image is written in user space, byte by byte: this keeps it honest.

use std::time::Duration;

use anyhow::{Result, ensure};
use fleet_hw_tests::Rig;
use fleet_hw_tests::site::Site;

const CHECK: Duration = Duration::from_secs(180);

#[test]
fn lvm_and_file_systems_of_a_device_that_booted_and_grew_are_sound() -> Result<()> {
    let site = Site::open()?;
    let mut rig = site.device_running("storage")?;
    let mut check = |what: &str, command: &str| -> Result<String> {
        let said = rig.run_ok(&format!("set -o pipefail; ({command}) 2>&1"), CHECK)?;
        eprintln!("{what}: {said}");
        Ok(said)
    };
    check("vgck", "vgck --verbose fleet")?;
    let headers = check("pvck", "pvck --dump headers /dev/vda2")?;
    for part in [
        "label_header at 512",
        "pv_header at",
        "mda_header_1 at",
        "metadata text at",
    ] {
        ensure!(headers.contains(part), "no {part} in {headers}");
    }
    ensure!(
        !headers.to_lowercase().contains("warning") && !headers.contains("CHECK: "),
        "{headers}"
    );
    check(
        "pvck --dump metadata",
        "pvck --dump metadata /dev/vda2 | grep -c seqno",
    )?;

    // The pool is in use: its metadata is checked through the snapshot that the kernel makes for this.
    check(
        "thin_check",
        "dmsetup message fleet-pool-tpool 0 reserve_metadata_snap && \
         thin_check --metadata-snap /dev/mapper/fleet-pool_tmeta; status=$?; \
         dmsetup message fleet-pool-tpool 0 release_metadata_snap && exit $status",
    )?;
    let pool = check("pool", "lvs --noheadings -o lv_attr,lv_health_status fleet/pool")?;
    ensure!(
        pool.split_whitespace().count() == 1,
        "the pool is not healthy: {pool}"
    );

    // Mounted file systems are checked on snapshots, for which the kernel brings them to rest.
    for volume in ["root", "data"] {
        check(
            volume,
            &format!(
                "lvcreate -q --snapshot --setactivationskip n --name check fleet/{volume} && \
                 e2fsck -f -n /dev/fleet/check; status=$?; lvremove -q --yes fleet/check && exit $status"
            ),
        )?;
    }
    check(
        "ESP",
        "sync; umount /boot/efi 2>/dev/null; fsck.vfat -n -v /dev/vda1",
    )?;
    let table = check("GPT", "sfdisk --verify /dev/vda")?;
    ensure!(table.contains("No errors detected"), "{table}");
    Ok(())
}
