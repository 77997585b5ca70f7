//! `fleet-provision`: grows the disk and takes the identity over, at each boot.

use std::process::ExitCode;

use fleet_provision::{FirstBoot, LocalMachine, LocalPlaces, first_boot, grow_disk};

const HELP: &str =
    "Makes a machine a device. Runs as root at each boot; writes nothing when there is nothing to do.

Usage:
  fleet-provision first-boot   take the identity over from /boot/efi/fleet.toml
  fleet-provision grow-disk    grow the last partition, the volumes and the file systems to the disk
  fleet-provision --version

Exit codes: 0 done or nothing to do, 1 failed (the reason is on the console), 2 wrong usage, 3 not enrolled";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["first-boot"] => report(enrol()),
        ["grow-disk"] => report(grow()),
        ["--version"] => tell(concat!("fleet-provision ", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => tell(HELP),
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn tell(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("fleet: {error:#}");
        ExitCode::FAILURE
    })
}

fn enrol() -> anyhow::Result<ExitCode> {
    match first_boot(&mut LocalPlaces::default())? {
        FirstBoot::Enrolled => Ok(ExitCode::SUCCESS),
        FirstBoot::Refused => Ok(ExitCode::from(3)),
    }
}

fn grow() -> anyhow::Result<ExitCode> {
    for line in grow_disk(&mut LocalMachine::find()?)? {
        println!("fleet: {line}");
    }
    Ok(ExitCode::SUCCESS)
}
