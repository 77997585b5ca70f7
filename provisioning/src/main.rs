//! `fleet-provision`: grows the disk, takes the identity over and forgets repairs that helped, at each boot.

use std::process::ExitCode;

use fleet_provision::{
    FirstBoot, LocalMachine, LocalPlaces, LocalVolumes, first_boot, forget_repairs, grow_disk,
};

const HELP: &str =
    "Makes a machine a device. Runs as root at each boot; writes nothing when there is nothing to do.

Usage:
  fleet-provision first-boot      take the identity over from /boot/efi/fleet.toml
  fleet-provision grow-disk       grow the last partition, the volumes and the file systems to the disk
  fleet-provision forget-repairs  remove what repairs of the pool left over; only once the system is up
  fleet-provision --version

Exit codes: 0 done or nothing to do, 1 failed (the reason is on the console), 2 wrong usage, 3 not enrolled";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["first-boot"] => report(enrol()),
        ["grow-disk"] => report(grow()),
        ["forget-repairs"] => report(forget()),
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

fn forget() -> anyhow::Result<ExitCode> {
    for line in forget_repairs(&mut LocalVolumes)? {
        println!("fleet: {line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn grow() -> anyhow::Result<ExitCode> {
    for line in grow_disk(&mut LocalMachine::find()?)? {
        println!("fleet: {line}");
    }
    Ok(ExitCode::SUCCESS)
}
