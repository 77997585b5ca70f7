//! The demo and the benches: programs of their own (`fleet-demo`, `fleet-bench`), so that xtask itself builds in seconds. Here is
//! what comes before them: setup, build, image.

use anyhow::Result;
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
    // Asked first, so that a taken port is said before an hour of building.
    for (flag, port) in [("--port", args.port), ("--web-port", args.web_port)] {
        require_free(flag, port)?;
    }
    let mut stages = Stages::default();
    prepare(workspace, &mut stages)?;
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
    run(workspace, "fleet-bench", &flags)
}

fn require_free(flag: &str, port: u16) -> Result<()> {
    match std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!(
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
