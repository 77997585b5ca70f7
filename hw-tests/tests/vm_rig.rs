//! The virtual rig itself, on the image that is flashed: power, console, disk, network and shell do what the trait says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_hw_tests::site::{Site, SiteKeys};
use fleet_hw_tests::{DeviceImage, Forward, PreparedDevice, QemuRig, QemuSettings, Rig, Service, Weather};

const BOOT: Duration = Duration::from_secs(300);
const COMMAND: Duration = Duration::from_secs(60);
/// Where the GPT's entries end and the first partition has not begun: nobody else writes there. In units of 64 KiB; a pipe gives
/// less than that at once when its writer is slow.
const GAP: &str = "seek=8 bs=64k count=1 iflag=fullblock oflag=direct conv=notrunc status=none of=/dev/vda";

/// The device that the other suites use too: freezing one takes as long as a first boot. Its agent finds no server, and tries on.
fn prepared() -> Result<PreparedDevice> {
    Ok(Site::prepared_with(&SiteKeys::kept()?)?)
}

/// A service on this machine that greets each connection with `greeting`.
fn greeter(greeting: &'static str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Held open until the other end goes, as NATS does.
            std::thread::spawn(move || {
                stream
                    .write_all(greeting.as_bytes())
                    .and_then(|()| stream.read(&mut [0]))
            });
        }
    });
    Ok(address)
}

/// A command in the device that prints the first line the service says.
fn greeting_of(service: Service) -> String {
    let address = service.device_address().replace(':', "/");
    format!("exec 4<>/dev/tcp/{address} && read -t 10 -r line <&4 && echo \"$line\"")
}

#[test]
fn a_device_boots_cold_its_shell_carries_status_streams_and_files_and_a_reset_restarts_it() -> Result<()> {
    let mut rig = QemuRig::new(&DeviceImage::find()?, QemuSettings::new("cold-boot"))?;
    let start = Instant::now();
    rig.power_on()?;
    rig.wait_for_shell(BOOT)?;
    eprintln!("shell after {:.1?}", start.elapsed());

    let output = rig.run("echo out; echo err >&2; exit 7", COMMAND)?;
    ensure!((output.status, output.stdout, output.stderr) == (7, b"out\n".to_vec(), b"err\n".to_vec()));
    let echoed = rig.run_with_input("cat", b"\n@fleet-rig-done 1 0 0 0\n\0\xff", COMMAND)?;
    ensure!(echoed.stdout == b"\n@fleet-rig-done 1 0 0 0\n\0\xff");
    ensure!(
        rig.run("sleep 60", Duration::from_secs(2))?.status == 124,
        "a late command is ended"
    );
    ensure!(rig.run_ok("echo after", COMMAND)? == "after");

    let content: Vec<u8> = (0..1_500_000u32)
        .flat_map(u32::to_le_bytes)
        .take(5_000_000)
        .collect();
    let sent = Instant::now();
    rig.put_file("/run/rig test/file", &content, COMMAND)?;
    ensure!(rig.get_file("/run/rig test/file", COMMAND)? == content);
    eprintln!("5 MB there and back in {:.1?}", sent.elapsed());

    let size: u64 = rig.run_ok("blockdev --getsize64 /dev/vda", COMMAND)?.parse()?;
    ensure!(size == 8 << 30, "the disk has {size} bytes");
    rig.wait_for_console("multi-user.target", BOOT)?;
    eprintln!("multi-user.target after {:.1?}", start.elapsed());

    let first = rig.boot_id(COMMAND)?;
    rig.reset()?;
    ensure!(rig.boot_id(BOOT)? != first, "it is the same boot");
    Ok(())
}

#[test]
fn a_power_cut_keeps_what_was_flushed_and_loses_what_was_not() -> Result<()> {
    let mut rig = prepared()?.restore(QemuSettings::new("power-cut"))?;
    let mut lost = 0;
    for round in 1..=3 {
        // A journal commit flushes the disk's cache for everyone; keep it from happening between write and cut.
        rig.run_until_ok("mount -o remount,commit=300 /", BOOT)?;
        rig.run_ok(
            &format!("head -c 65536 /dev/zero | tr '\\0' F | dd {GAP} && sync /dev/vda"),
            COMMAND,
        )?;
        rig.cut_power()?;
        rig.power_on()?;
        let flushed = gap(&mut rig)?;
        ensure!(
            flushed == "F",
            "round {round}: flushed data is gone, there is {flushed:?}"
        );

        rig.run_until_ok("mount -o remount,commit=300 /", BOOT)?;
        rig.run_ok(
            &format!("head -c 65536 /dev/zero | tr '\\0' U | dd {GAP}"),
            COMMAND,
        )?;
        rig.cut_power()?;
        rig.power_on()?;
        match gap(&mut rig)?.as_str() {
            "F" => lost += 1,
            other => ensure!(
                other == "U",
                "round {round}: neither the old nor the new content but {other}"
            ),
        }
        if lost > 0 {
            return Ok(());
        }
    }
    anyhow::bail!("in three rounds no unflushed write was lost: the fault does not fire")
}

/// The distinct bytes in the gap before the first partition.
fn gap(rig: &mut QemuRig) -> Result<String> {
    Ok(rig.run_ok(
        "set -o pipefail; dd if=/dev/vda skip=8 bs=64k count=1 iflag=direct status=none | fold -w1 | sort -u",
        BOOT,
    )?)
}

/// The control is the same device with the way out open: only then does silence behind a closed one mean anything.
#[test]
fn there_is_a_way_out_only_when_it_is_asked_for() -> Result<()> {
    let host = greeter("the world\n")?;
    let greeting = format!(
        "exec 4<>/dev/tcp/10.0.2.2/{} && read -t 10 -r line <&4 && echo \"$line\"",
        host.port()
    );
    let device = prepared()?;
    let settings = |name: &str, internet| QemuSettings {
        internet,
        ..QemuSettings::new(name)
    };
    let mut open = device.restore(settings("way-out", true))?;
    ensure!(open.run_until_ok(&greeting, COMMAND)? == "the world");
    drop(open);
    let mut closed = device.restore(settings("no-way-out", false))?;
    let output = closed.run(&greeting, COMMAND)?;
    ensure!(
        !output.success() && output.text().is_empty(),
        "a closed device reached this machine: {}",
        output.said()
    );
    Ok(())
}

#[test]
fn the_network_fails_as_it_is_told_to() -> Result<()> {
    let settings = QemuSettings {
        nats: Some(greeter("first nats\n")?),
        registry: Some(greeter("registry\n")?),
        forwards: vec![Forward {
            device_port: 8080,
            host_port: None,
        }],
        ..QemuSettings::new("network")
    };
    let mut rig = prepared()?.restore(settings)?;
    ensure!(rig.run_until_ok(&greeting_of(Service::Nats), COMMAND)? == "first nats");
    ensure!(rig.run_ok(&greeting_of(Service::Registry), COMMAND)? == "registry");
    rig.way_to(Service::Nats)
        .set_target(Some(greeter("second nats\n")?));
    ensure!(rig.run_ok(&greeting_of(Service::Nats), COMMAND)? == "second nats");

    rig.way_to(Service::Nats).set_weather(Weather::Refusing);
    ensure!(!rig.run(&greeting_of(Service::Nats), COMMAND)?.success());
    ensure!(
        rig.run_ok(&greeting_of(Service::Registry), COMMAND)? == "registry",
        "the other service is not touched"
    );
    rig.way_to(Service::Nats).set_weather(Weather::Clear);
    ensure!(rig.run_ok(&greeting_of(Service::Nats), COMMAND)? == "second nats");

    let carrier = "cat $(grep -l '' /sys/class/net/e*/carrier)";
    rig.set_link(false)?;
    rig.run_until_ok(&format!("[ \"$({carrier})\" = 0 ]"), COMMAND)?;
    ensure!(
        !rig.run(&greeting_of(Service::Nats), Duration::from_secs(5))?
            .success()
    );
    rig.set_link(true)?;
    ensure!(rig.run_until_ok(&greeting_of(Service::Nats), BOOT)? == "second nats");

    rig.run_ok(
        "systemd-run -q systemd-socket-activate -l 8080 -a --inetd /bin/echo hello",
        COMMAND,
    )?;
    let address = rig.host_address(8080).context("the forward was asked for")?;
    let end = Instant::now() + COMMAND;
    let mut heard = String::new();
    while heard.is_empty() && Instant::now() < end {
        heard.clear();
        // An error is a port that nobody listens on yet.
        let _ = TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut heard));
    }
    ensure!(heard == "hello\n", "heard {heard:?}");
    Ok(())
}

#[cfg(feature = "matrix")]
mod matrix {
    use super::*;

    #[test]
    fn files_on_the_boot_partition_go_in_and_out_while_the_device_is_off() -> Result<()> {
        let mut rig = prepared()?.restore(QemuSettings::new("boot-files"))?;
        ensure!(
            rig.read_boot_file("x").is_err(),
            "a card that is in the device cannot be read elsewhere"
        );
        rig.run_ok("echo from the device > /boot/efi/device.txt", COMMAND)?;
        let start = Instant::now();
        rig.power_off(BOOT)?;
        eprintln!("powered off in {:.1?}", start.elapsed());
        ensure!(!rig.is_on()?);

        let start = Instant::now();
        ensure!(rig.read_boot_file("device.txt")?.as_deref() == Some(b"from the device\n".as_slice()));
        ensure!(rig.read_boot_file("absent.txt")?.is_none());
        rig.put_boot_file("person.txt", b"from a card reader\n")?;
        ensure!(rig.read_boot_file("person.txt")?.as_deref() == Some(b"from a card reader\n".as_slice()));
        eprintln!("four looks at the boot partition in {:.1?}", start.elapsed());

        rig.power_on()?;
        rig.run_until_ok("findmnt /boot/efi", BOOT)?;
        ensure!(rig.run_ok("cat /boot/efi/person.txt", COMMAND)? == "from a card reader");
        Ok(())
    }

    /// In its firmware a machine does not hear the button: the first press is lost for certain.
    #[test]
    fn a_power_button_pressed_before_the_system_listens_is_pressed_until_it_does() -> Result<()> {
        let mut rig = prepared()?.cold(QemuSettings::new("early-press"))?;
        rig.power_on()?;
        let start = Instant::now();
        let presses = rig.power_off(BOOT)?;
        eprintln!(
            "off {:.1?} after power on, with {presses} presses",
            start.elapsed()
        );
        ensure!(presses > 1, "the first press was not lost: nothing is proved");
        ensure!(!rig.is_on()?);
        rig.wait_for_console("reboot: Power down", COMMAND)?;

        rig.power_on()?;
        let never = rig
            .power_off(Duration::from_secs(1))
            .err()
            .context("it was not off in a second")?;
        ensure!(
            never.to_string().contains("power button pressed 1 times"),
            "{never}"
        );
        Ok(())
    }

    #[test]
    fn restored_devices_are_ready_in_seconds_with_the_right_time_and_apart_from_each_other() -> Result<()> {
        let prepared = prepared()?;
        let start = Instant::now();
        let mut first = prepared.restore(QemuSettings::new("restored-a"))?;
        let took = start.elapsed();
        eprintln!("restored in {took:.1?}");
        ensure!(took < Duration::from_secs(60), "{took:?}");
        let mut second = prepared.restore(QemuSettings::new("restored-b"))?;

        first.run_ok("echo a > /root/mark && sync", COMMAND)?;
        ensure!(
            !second.run("test -e /root/mark", COMMAND)?.success(),
            "one device sees the other's disk"
        );
        let folder = tempfile::tempdir()?;
        let here = std::fs::metadata(folder.path())?
            .modified()?
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        let there: u64 = second.run_ok("date +%s", COMMAND)?.parse()?;
        ensure!(
            there.abs_diff(here) < 30,
            "the device's clock says {there}, this machine's {here}"
        );

        // What was restored is a whole device: it survives a cut and boots by itself.
        first.cut_power()?;
        first.power_on()?;
        ensure!(first.run_ok("cat /root/mark", BOOT)? == "a");
        Ok(())
    }
}
