//! Benches on the virtual device: started by `cargo xtask bench`, which sets up and builds what they need.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use fleet_hw_tests::bench::{
    BenchLine, agent_footprint, boot_to_running, deploy_latency, log_latency, upgrade_downtime,
};
use fleet_testbed::interrupt;

/// Exit code after Ctrl-C, as a shell reports it.
const EXIT_INTERRUPTED: u8 = 130;

/// Measures against a baseline in the same run; the last line is JSON.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// KV put to Running seen in KV, against a start by systemctl of the same unit
    DeployLatency {
        /// Pairs of measurements
        #[arg(long, default_value_t = 15)]
        rounds: u32,
        /// Other deployments that run on the device meanwhile: one measurement for each of these numbers
        #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
        deployments: Vec<u32>,
    },
    /// Memory, processor time, disk writes and size of the idle agent
    AgentFootprint {
        /// Minutes to watch
        #[arg(long, default_value_t = 10)]
        rounds: u32,
    },
    /// Power on to the container's first answer, against boot to login
    BootToRunning {
        /// Boots
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// 200 lines of a log by NATS, against podman logs on the device; three devices at once
    LogLatency {
        /// Pairs of measurements on each device
        #[arg(long, default_value_t = 40)]
        rounds: u32,
    },
    /// The old container's last answer to the new one's first, against stop and start by hand
    UpgradeDowntime {
        /// Pairs of measurements
        #[arg(long, default_value_t = 15)]
        rounds: u32,
    },
}

fn main() -> ExitCode {
    match start(&Options::parse().bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A goal that is missed is a result and no failure: the line says so.
fn start(bench: &Bench) -> Result<()> {
    interrupt::watch().context("cannot watch for Ctrl-C")?;
    let lines: Vec<BenchLine> = match bench {
        Bench::DeployLatency { rounds, deployments } => deploy_latency(*rounds, deployments)?,
        Bench::AgentFootprint { rounds } => vec![agent_footprint(*rounds)?],
        Bench::BootToRunning { rounds } => vec![boot_to_running(*rounds)?],
        Bench::LogLatency { rounds } => vec![log_latency(*rounds)?],
        Bench::UpgradeDowntime { rounds } => vec![upgrade_downtime(*rounds)?],
    };
    for line in lines {
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}
