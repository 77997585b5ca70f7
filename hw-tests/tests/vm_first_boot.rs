//! First boot on the real image: the disk grows, `fleet.toml` becomes the identity, and whatever goes wrong can be mended with a
//! card reader.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::{DeviceImage, QemuRig, QemuSettings, Rig};
use fleet_testbed::ca::Authority;
use fleet_testbed::nats::UserKey;

const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(90);
/// First boot is over, well or badly.
const SETTLED: &str = "systemctl show -P ActiveState fleet-first-boot.service | grep -qxE 'active|failed'";
const IDENTITY: &str = "/var/lib/fleet/identity";

struct Enrolment {
    seed: String,
    toml: String,
}

impl Enrolment {
    fn new(device: &str) -> Result<Self> {
        let seed = UserKey::generate()?.seed().to_owned();
        let ca = Authority::new()?.pem();
        let toml = format!(
            "device_id = \"{device}\"\n[labels]\nsite = \"lyon\"\n[nats]\nurl = \"tls://10.0.2.100:4222\"\n\
             credential = \"{seed}\"\nca = \"\"\"{ca}\"\"\"\n[[registry]]\nlocation = \"10.0.2.100:5000\"\ninsecure = true\n"
        );
        Ok(Self { seed, toml })
    }
}

fn device(name: &str, fleet_toml: &str) -> Result<QemuRig> {
    let mut rig = QemuRig::new(&DeviceImage::find()?, QemuSettings::new(name))?;
    rig.put_boot_file("fleet.toml", fleet_toml.as_bytes())?;
    Ok(rig)
}

/// The device is who it should be, and nobody else on the device or with the card can read its secret.
fn require_enrolled(rig: &mut QemuRig, device: &str, enrolment: &Enrolment) -> Result<()> {
    let start = Instant::now();
    rig.run_until_ok(SETTLED, BOOT)?;
    eprintln!("first boot settled after {:.1?}", start.elapsed());
    ensure!(rig.run_ok("systemctl is-active fleet-first-boot.service", COMMAND)? == "active");
    ensure!(rig.run_ok(&format!("cat {IDENTITY}/nats.nk"), COMMAND)? == enrolment.seed);
    let modes = rig.run_ok(&format!("stat -L -c '%a %U %n' {IDENTITY} {IDENTITY}/*"), COMMAND)?;
    let expected = [
        format!("700 fleet {IDENTITY}"),
        format!("644 fleet {IDENTITY}/ca.pem"),
        format!("600 fleet {IDENTITY}/device.toml"),
        format!("600 fleet {IDENTITY}/nats.nk"),
    ];
    ensure!(modes.lines().eq(expected), "{modes}");
    ensure!(rig.run_ok("hostname", COMMAND)? == device);
    let public = rig.run_ok(&format!("cat {IDENTITY}/device.toml"), COMMAND)?;
    ensure!(
        public.contains("lyon") && !public.contains(&enrolment.seed) && !public.contains("BEGIN"),
        "{public}"
    );
    let registries = rig.run_ok("cat /etc/containers/registries.conf.d/50-fleet.conf", COMMAND)?;
    ensure!(registries.contains("10.0.2.100:5000"), "{registries}");

    let on_fat = rig.run(
        "ls /boot/efi/fleet.toml /boot/efi/fleet-error.txt 2>/dev/null",
        COMMAND,
    )?;
    ensure!(on_fat.stdout.is_empty(), "left on the card: {}", on_fat.text());
    Ok(())
}

/// Whoever takes the card out of a device that is off, or lost its power, finds no secret in its sectors.
fn require_no_secret_on_the_card(rig: &mut QemuRig, enrolment: &Enrolment) -> Result<()> {
    let start = Instant::now();
    ensure!(
        !rig.boot_sectors_hold(&enrolment.seed)?,
        "the secret can still be read from the card's sectors"
    );
    eprintln!("the card's sectors searched in {:.1?}", start.elapsed());
    Ok(())
}

/// A file with a fault, then with none; the power goes once, at its worst moment: the identity has just appeared. The matrix has all
/// moments.
#[test]
fn a_bad_file_is_mended_with_a_card_reader_and_a_cut_later_the_device_is_enrolled_and_grown() -> Result<()> {
    let mut rig = device(
        "first-boot",
        "device_id = \"basement-lyon-7\"\n[nats]\nurl = tls://oops\n",
    )?;
    rig.power_on()?;
    rig.run_until_ok(SETTLED, BOOT)?;
    ensure!(rig.run_ok("systemctl show -P ActiveState fleet-first-boot.service", COMMAND)? == "failed");
    ensure!(
        !rig.run(&format!("test -e {IDENTITY}/nats.nk"), COMMAND)?
            .success()
    );
    let console = rig.wait_for_console("fleet.toml", COMMAND)?;
    eprintln!("on the console: {console}");
    rig.power_off(BOOT)?;
    let reason = rig
        .read_boot_file("fleet-error.txt")?
        .context("the reason is on the card")?;
    let reason = String::from_utf8(reason)?;
    eprintln!("on the card: {reason}");
    ensure!(reason.contains("line 3"), "{reason}");

    let enrolment = Enrolment::new("basement-lyon-7")?;
    rig.put_boot_file("fleet.toml", enrolment.toml.as_bytes())?;
    ensure!(
        rig.boot_sectors_hold(&enrolment.seed)?,
        "the search doesn't find the secret of a card that has one"
    );
    rig.power_on()?;
    rig.run_until_ok(&format!("test -e {IDENTITY}"), BOOT)?;
    rig.cut_power()?;
    rig.power_on()?;
    require_enrolled(&mut rig, "basement-lyon-7", &enrolment)?;
    require_grown(&mut rig)?;
    rig.cut_power()?;
    require_no_secret_on_the_card(&mut rig, &enrolment)
}

/// The pool has the whole disk, and data what the pool can spare.
fn require_grown(rig: &mut QemuRig) -> Result<()> {
    ensure!(rig.run_ok("systemctl is-active fleet-grow-disk.service", BOOT)? == "active");
    let pool = rig.run_ok(
        "lvs --noheadings --nosuffix --units m -o lv_size fleet/pool",
        COMMAND,
    )?;
    let data = rig.run_ok("df --output=size -m /var/lib/fleet | tail -1", COMMAND)?;
    let failed = rig.run_ok("systemctl --failed --plain --no-legend", COMMAND)?;
    eprintln!("pool {pool} MiB, data {data} MiB of an 8192 MiB disk; failed units: {failed:?}");
    // 4 GiB is the image's own size: what is beyond it was grown into.
    ensure!(pool.parse::<f64>()? > 5000.0, "the pool has {pool} MiB");
    // The pool less twice root (2 GiB each) and what ext4 takes; ungrown it has 512 MiB.
    ensure!(data.parse::<u32>()? > 2500, "data has {data} MiB");
    Ok(())
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    /// Nothing is asked of an enrolled device again.
    #[test]
    fn a_boot_after_the_first_changes_nothing() -> Result<()> {
        let enrolment = Enrolment::new("basement-lyon-7")?;
        let mut rig = device("second-boot", &enrolment.toml)?;
        rig.power_on()?;
        require_enrolled(&mut rig, "basement-lyon-7", &enrolment)?;
        let before = rig.boot_id(COMMAND)?;
        let start = Instant::now();
        rig.power_off(BOOT)?;
        eprintln!("powered off in {:.1?}", start.elapsed());
        require_no_secret_on_the_card(&mut rig, &enrolment)?;
        rig.power_on()?;
        require_enrolled(&mut rig, "basement-lyon-7", &enrolment)?;
        ensure!(rig.boot_id(COMMAND)? != before);
        Ok(())
    }
}
