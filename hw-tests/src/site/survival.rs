//! After a power cut: does the device come back, and is it whole?

use std::time::Duration;

use super::DEVICE;
use crate::error::RigError;
use crate::qemu::QemuRig;
use crate::rig::Rig;

/// From power on to systemd; a limit for a boot that hangs. A boot takes ten seconds alone, and minutes on a machine that does
/// much else.
const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(90);

/// Boots a device that lost its power until its shell answers; when it doesn't, the error ends with what the console said last.
pub fn come_back(rig: &mut QemuRig) -> Result<(), RigError> {
    rig.power_on()?;
    rig.wait_for_shell(BOOT)
}

/// The device is enrolled as the site's, with its key, and no unit has failed.
pub fn require_whole(rig: &mut QemuRig) -> Result<(), RigError> {
    rig.run_until_ok(
        "systemctl is-active fleet-first-boot.service && test -s /var/lib/fleet/identity/nats.nk",
        BOOT,
    )?;
    rig.run_ok(
        &format!("name=$(hostname); echo \"it is called $name\"; test \"$name\" = {DEVICE}"),
        COMMAND,
    )?;
    rig.run_ok(
        "failed=$(systemctl --failed --plain --no-legend); echo \"failed units: $failed\"; test -z \"$failed\"",
        COMMAND,
    )
    .map(drop)
}
