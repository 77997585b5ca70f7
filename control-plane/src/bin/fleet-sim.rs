//! Simulated devices on a real NATS server.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use fleet_control_plane::clock::Clock;
use fleet_control_plane::sim::{Behaviour, SimOptions, Simulation};
use fleet_control_plane::store::nats::ConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Simulated devices: they speak the real protocol and run nothing.
#[derive(Debug, Parser)]
#[command(
    version,
    before_help = "Examples:\n  \
        fleet-sim run --devices 100 --labels site=lyon\n  \
        fleet-sim run --devices 1000 --prefix load --latency-ms 2000 --failure-rate 0.02 --churn 0.1\n  \
        fleet-sim run --devices 3 --nats-url tls://127.0.0.1:4222 --nats-ca ca.pem --credentials-dir keys/"
)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lets devices live until Ctrl-C
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// They are called PREFIX-0001 and on
    #[arg(long, default_value = "sim")]
    prefix: String,
    /// Their labels: key=value, several with commas or by repeating
    #[arg(long, value_delimiter = ',', value_parser = label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// Average time of each phase, in milliseconds
    #[arg(long, default_value_t = 500)]
    latency_ms: u64,
    /// Chance that a start fails, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = chance)]
    failure_rate: f64,
    /// Chance to go offline in any minute, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = chance)]
    churn: f64,
    /// Average time away when offline, in seconds
    #[arg(long, default_value_t = 90)]
    away_seconds: u64,
    /// Where NATS is
    #[arg(
        long,
        env = "FLEET_NATS_URL",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    nats_url: String,
    /// File with a NATS user seed that all devices share
    #[arg(
        long,
        env = "FLEET_NATS_CREDENTIAL",
        value_name = "FILE",
        conflicts_with = "credentials_dir"
    )]
    nats_credential: Option<PathBuf>,
    /// Folder with `<device>.nk` for each device: each has its own connection and rights, as in the field
    #[arg(long, value_name = "FOLDER")]
    credentials_dir: Option<PathBuf>,
    /// File with the certificates (PEM) of the authority that NATS' certificate is from
    #[arg(long, env = "FLEET_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// Prefix of inboxes of the shared credential; needed where it may not use the operator's
    #[arg(long, default_value = "", value_name = "PREFIX")]
    inbox_prefix: String,
    /// Devices on one shared connection
    #[arg(long, default_value_t = 100)]
    per_connection: usize,
    /// What to log
    #[arg(long, env = "FLEET_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("is not key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn chance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(chance) if (0.0..=1.0).contains(&chance) => Ok(chance),
        _ => Err("is not a number from 0 to 1".to_owned()),
    }
}

fn main() -> ExitCode {
    let Options {
        command: Command::Run(options),
    } = Options::parse();
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log).context("--log")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(options))
}

async fn run(options: Run) -> anyhow::Result<()> {
    let devices = usize::try_from(options.devices).context("--devices")?;
    let settings = SimOptions {
        devices,
        prefix: options.prefix,
        labels: options.labels.into_iter().collect(),
        connect: ConnectOptions {
            url: options.nats_url,
            credential: options.nats_credential,
            ca: options.nats_ca,
            name: "fleet-sim".to_owned(),
            inbox_prefix: options.inbox_prefix,
        },
        credentials: options.credentials_dir,
        per_connection: options.per_connection,
        behaviour: Behaviour {
            latency: Duration::from_millis(options.latency_ms),
            failure_rate: options.failure_rate,
            churn: options.churn,
            away: Duration::from_secs(options.away_seconds),
        },
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let simulation = Simulation::start(&settings, &Clock::system()).await?;
    tracing::info!(devices, "devices live; Ctrl-C ends them");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending all devices");
    simulation.close().await;
    Ok(())
}
