//! The operator: aggregate, API and dashboard in one process beside `nats-server`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use fleet_control_plane::api::{self, ApiState};
use fleet_control_plane::clock::Clock;
use fleet_control_plane::fleet::FleetHandle;
use fleet_control_plane::metrics::Metrics;
use fleet_control_plane::operator::Operator;
use fleet_control_plane::store::nats::ask::NatsAsks;
use fleet_control_plane::store::nats::{ConnectOptions, Connection, NatsStore, setup, write::NatsWriter};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// How long answers that were begun may take once the end was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Keeps a fleet's devices at what its deployments ask for, and shows how they are.
#[derive(Debug, Parser)]
#[command(
    version,
    before_help = "Examples:\n  \
        fleet-operator\n  \
        fleet-operator --nats-url tls://127.0.0.1:4222 --nats-ca ca.pem --nats-credential operator.nk\n  \
        curl http://127.0.0.1:8480/api/v0/status",
    after_help = "Needs nats-server >= 2.11 with JetStream and `sync_interval: always`. It makes its buckets itself.\n\
        Exit status: 0 ended in order, 1 could not start, 2 wrong usage, 3 NATS refused the credential for good."
)]
struct Options {
    /// Where NATS is; several with commas
    #[arg(
        long,
        env = "FLEET_NATS_URL",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL"
    )]
    nats_url: String,
    /// File with the operator's NATS user seed (SU…)
    #[arg(long, env = "FLEET_NATS_CREDENTIAL", value_name = "FILE")]
    nats_credential: Option<PathBuf>,
    /// File with the certificates (PEM) of the authority that NATS' certificate is from
    #[arg(long, env = "FLEET_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// Where to serve API and dashboard; loopback only, until there are roles
    #[arg(
        long,
        env = "FLEET_LISTEN",
        default_value = "127.0.0.1:8480",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// What to log, such as `info` or `fleet_control_plane=debug`
    #[arg(long, env = "FLEET_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = start(&options);
    outcome.unwrap_or_else(|error| {
        eprintln!("fleet-operator: {error:#}");
        ExitCode::from(1)
    })
}

fn start(options: &Options) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(&options.log).context("--log")?;
    let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(on_terminal)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // First what can fail at once, so that nothing is half done.
    let listener = api::bind(options.listen).await?;
    let connection = Connection::open(&ConnectOptions {
        url: options.nats_url.clone(),
        credential: options.nats_credential.clone(),
        ca: options.nats_ca.clone(),
        name: "fleet-operator".to_owned(),
        inbox_prefix: String::new(),
    })
    .await?;
    setup::say_what_cannot_be_verified();
    let (stop, stopped) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let fleet = FleetHandle::new(Clock::system());
    let (store, events) = NatsStore::start(&connection);
    let writer = Arc::new(NatsWriter::new(&connection));
    let asks = Arc::new(NatsAsks::new(&connection));
    let operator = Operator::start(&fleet, events, writer.clone(), Arc::clone(&metrics));
    let state = ApiState::new(fleet, writer, asks, metrics, stopped.clone());
    let router = api::router(state.clone());
    let mut server = tokio::spawn(api::serve(listener, router, wait(stopped)));
    tracing::info!(address = %options.listen, nats = %options.nats_url, "serving; until NATS answers, /readyz says why not");
    tell_systemd(&sd_notify::NotifyState::Ready);

    let code = tokio::select! {
        () = asked_to_end() => ExitCode::SUCCESS,
        () = connection.closed() => {
            tracing::error!("NATS refused the credential, or closed the connection, for good: ending, so that a new start can try");
            ExitCode::from(3)
        }
        ended = &mut server => {
            ended.context("the server's task broke")?.context("the server ended")?;
            ExitCode::from(1)
        }
    };
    tell_systemd(&sd_notify::NotifyState::Stopping);
    tracing::info!("ending in order");
    stop.send(true).ok();
    if !server.is_finished() && tokio::time::timeout(GRACE, server).await.is_err() {
        tracing::warn!("some clients did not take their answers in time");
    }
    // Also for those whose caller went away: a change without its line would be one that nobody made.
    match state.settled(GRACE).await {
        0 => {}
        left => tracing::error!(
            left,
            "AUDIT: lines are missing in the history; they are in this log"
        ),
    }
    operator.close().await;
    store.close().await;
    Ok(code)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    stopped.wait_for(|stop| *stop).await.ok();
}

async fn asked_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals: ending is by SIGKILL only");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn tell_systemd(state: &sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!(%error, "not under systemd");
    }
}
