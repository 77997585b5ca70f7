//! The demo and the benches: programs of their own (`fleet-demo`, `fleet-bench`), so that xtask itself builds in seconds. Here is
//! what comes before them: setup, build, image.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use fleet_testbed::interrupt;

use crate::image::{self, Profile};
use crate::setup;
use crate::setup::needs::Purpose;
use crate::stages::Stages;
use crate::workspace::Workspace;

/// Options of the demo.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Without a person: ends by itself, with one line of JSON
    #[arg(long)]
    check: bool,
    /// Simulated devices beside the virtual one
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=5000))]
    devices: u32,
    /// The dashboard's port on 127.0.0.1
    #[arg(long, default_value_t = 8480)]
    port: u16,
    /// Where the device's web application is reached, a port on 127.0.0.1
    #[arg(long, default_value_t = 8481)]
    web_port: u16,
}

/// Options of a bench.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    name: Bench,
    /// How often each of the two sides is measured
    #[arg(long)]
    rounds: Option<u32>,
    /// For deploy-latency: other deployments on the device, such as 1,10,50; one line for each number
    #[arg(long)]
    deployments: Option<String>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// KV put to Running seen in KV, against a start by systemctl of the same unit
    DeployLatency,
    /// Memory, processor time, disk writes and size of the idle agent
    AgentFootprint,
    /// Power on to the container's first answer, against boot to login
    BootToRunning,
    /// 200 lines of a log by NATS, against podman logs on the device
    LogLatency,
    /// The old container's last answer to the new one's first, against stop and start by hand
    UpgradeDowntime,
}

/// Sets up, builds, and runs the demo.
pub fn demo(workspace: &Workspace, args: &DemoArgs) -> Result<()> {
    let mut flags = vec![
        format!("--devices={}", args.devices),
        format!("--port={}", args.port),
        format!("--web-port={}", args.web_port),
    ];
    if args.check {
        flags.push("--check".to_owned());
    }
    let mut stages = Stages::default();
    // Asked first, so that a taken port is said before minutes of building.
    let ready = ports(args).and_then(|()| prepare(workspace, &mut stages));
    if let Err(error) = ready {
        if args.check {
            println!("{}", line_without_a_device(&stages));
        }
        return Err(error);
    }
    flags.extend(
        stages
            .list()
            .iter()
            .map(|stage| format!("--before={}={:.3}", stage.name, stage.took.as_secs_f64())),
    );
    run(workspace, "fleet-demo", &flags)
}

/// Sets up, builds, and runs one bench.
pub fn bench(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    prepare(workspace, &mut Stages::default())?;
    let name = args.name.to_possible_value().expect("no bench is hidden");
    let mut flags = vec![name.get_name().to_owned()];
    flags.extend(args.rounds.map(|rounds| format!("--rounds={rounds}")));
    flags.extend(
        args.deployments
            .iter()
            .map(|numbers| format!("--deployments={numbers}")),
    );
    run(workspace, "fleet-bench", &flags)
}

/// The line that `--check` ends on where it did not come to the device; `fleet-demo` prints all others.
fn line_without_a_device(stages: &Stages) -> serde_json::Value {
    let stages: serde_json::Map<_, _> = stages
        .list()
        .iter()
        .map(|stage| (stage.name.clone(), stage.took.as_secs_f64().into()))
        .collect();
    serde_json::json!({ "ok": false, "stages": stages, "device": null, "deployment_phase": null, "page_status": null })
}

fn ports(args: &DemoArgs) -> Result<()> {
    if args.port == args.web_port {
        bail!("--port and --web-port are both {}: they must differ", args.port);
    }
    require_free("--port", args.port)?;
    require_free("--web-port", args.web_port)
}

fn require_free(flag: &str, port: u16) -> Result<()> {
    match std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(
            "port {port} of 127.0.0.1 cannot be used ({error}): end the program that has it, or give another with {flag}"
        ),
    }
}

fn prepare(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    let image = image::in_cache(Profile::Amd64Vm)?;
    let build = [
        "build",
        "--locked",
        "--package",
        "fleet-control-plane",
        "--package",
        "fleet-hw-tests",
        "--bins",
    ];
    let good = stages.run("setup", || setup::ensure(workspace, &[Purpose::Field]))?
        && stages.run("build", || workspace.cargo(build).run())?
        && stages.run("image", || image::build(workspace, Profile::Amd64Vm, &image))?;
    interrupt::check()?;
    if good { Ok(()) } else { stages.verdict() }
}

fn run(workspace: &Workspace, program: &str, flags: &[String]) -> Result<()> {
    let built = workspace.target_folder()?.join("debug").join(program);
    workspace.tool(&built.to_string_lossy()).args(flags).run()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn args(port: u16, web_port: u16) -> DemoArgs {
        DemoArgs {
            check: true,
            devices: 0,
            port,
            web_port,
        }
    }

    #[test]
    fn a_taken_port_is_named_with_its_flag_before_anything_is_built() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let taken = taken.local_addr().map(|address| (taken, address.port()));
        let (_held, port) = taken.expect("it has an address");
        let error = ports(&args(port, port + 1)).expect_err("taken").to_string();
        assert!(
            error.contains(&format!("port {port} of 127.0.0.1")) && error.contains("--port"),
            "{error}"
        );
        let error = ports(&args(port, port))
            .expect_err("one port for two")
            .to_string();
        assert!(error.contains("must differ"), "{error}");
    }

    #[test]
    fn a_check_that_comes_to_no_device_still_says_what_was_done() {
        let mut stages = Stages::default();
        assert!(!stages.run("setup", || bail!("no room")).expect("not interrupted"));
        let line = line_without_a_device(&stages);
        assert_eq!(line["ok"], false);
        assert!(
            line["stages"]["setup"].is_number() && line["page_status"].is_null(),
            "{line}"
        );
    }
}
