//! `fleet-agent`: parses the command line and hands over to the library.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use fleet_agent::cli::{self, Cli, Command, exit};
use fleet_agent::fault::Faults;
use fleet_agent::journal::JournalLines;
use fleet_agent::settings::{FRAGMENT_FOLDERS, Identity, Settings, Source, Tuning};
use fleet_agent::{Agent, VERSION, clock, status};
use fleet_host::exec::Environment;
use fleet_host::{Clock, Device, FileLedger, Places, QuadletDir, Sntp, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args().skip(1)) {
        Ok(cli) => cli,
        Err(error) => {
            eprintln!("fleet-agent: {error}; see fleet-agent --help");
            return exit::USAGE.into();
        }
    };
    let done = match cli.command {
        Command::Help => print(cli::HELP),
        Command::Version => print(&format!("fleet-agent {VERSION}\n")),
        Command::ConfigShow => settings(&cli).map_or_else(unusable, |settings| show(&settings, cli.json)),
        Command::Status => runtime().and_then(|runtime| runtime.block_on(show_status(&cli))),
        Command::Run => settings(&cli).map_or_else(unusable, run),
    };
    done.unwrap_or_else(|error| {
        eprintln!("fleet-agent: {error:#}");
        exit::FAILED.into()
    })
}

/// A pipe that closed early is not our trouble.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(exit::OK.into()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stands in for commands that can fail")]
fn unusable(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    eprintln!("fleet-agent: {error:#}");
    Ok(exit::SETTINGS.into())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(6)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .context("cannot start")
}

/// Of the user that the agent runs as, which for `status` need not be the caller.
fn runtime_folder(cli: &Cli) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(cli.data.join("identity")).map(|identity| identity.uid());
    let base = match (&cli.command, owner) {
        (Command::Status, Ok(uid)) => Some(PathBuf::from(format!("/run/user/{uid}"))),
        _ => None,
    };
    let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = base.filter(|base| base.join("fleet-agent").exists()).or_else(own);
    base.unwrap_or_else(|| "/run/user/0".into()).join("fleet-agent")
}

fn settings(cli: &Cli) -> anyhow::Result<Settings> {
    let folders = FRAGMENT_FOLDERS.map(PathBuf::from);
    Ok(Settings::read(&cli.data, &folders, runtime_folder(cli))?)
}

/// Longest wait, after everything has ended, for blocking calls that nobody needs any more.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    tracing::subscriber::set_global_default(JournalLines::new(
        settings.tuning.log_level,
        std::env::var_os("JOURNAL_STREAM").is_some(),
    ))
    .context("cannot log")?;
    async_nats::rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a second crypto provider is linked in"))?;
    let environment = Environment::of_this_process()?;
    let data = settings
        .identity
        .folder
        .parent()
        .context("the identity folder has no parent")?;
    let tuning = &settings.tuning;
    let device = Device::new(&Places::under(data), &environment)
        .with_pull_stall(tuning.pull_stall)
        .with_time_servers(Sntp::new(tuning.clock_servers.clone(), tuning.clock_source_port));
    let faults = Faults::of_this_process(settings.runtime.clone())?;
    tracing::info!(
        "fleet-agent {VERSION} on {}",
        settings.identity.enrolment.device_id
    );
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut int = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let shutdown = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        match Agent::with_faults(device, settings, faults).run(shutdown).await {
            Ok(()) => Ok(exit::OK.into()),
            Err(refusal) => {
                tracing::error!("{refusal}");
                tracing::error!(
                    "the agent does not start with this clock; what runs goes on, and systemd tries again"
                );
                Ok(exit::CLOCK.into())
            }
        }
    });
    // A look-up of a name that nobody answers blocks its thread for a minute: nobody waits for it.
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

fn show(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let mut lines: BTreeMap<&str, (String, String)> = BTreeMap::new();
    let Identity {
        enrolment,
        ca,
        folder,
        ..
    } = &settings.identity;
    let device_toml = folder.join("device.toml").display().to_string();
    let mut add = |name, value: String, source: String| lines.insert(name, (value, source));
    add("device_id", enrolment.device_id.to_string(), device_toml.clone());
    let labels: Vec<String> = enrolment.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    add("labels", labels.join(","), device_toml.clone());
    add("nats.url", enrolment.nats.url.clone(), device_toml);
    add(
        "nats.credential",
        "(set)".to_owned(),
        folder.join("nats.nk").display().to_string(),
    );
    match ca {
        Some(ca) => add("nats.ca", "(set)".to_owned(), ca.display().to_string()),
        None => add("nats.ca", "the system's roots".to_owned(), "default".to_owned()),
    };
    let Tuning { sources, .. } = &settings.tuning;
    for (name, value) in settings.tuning.values() {
        let source = match sources.get(name) {
            Some(Source::File(path)) => path.display().to_string(),
            Some(Source::Default) | None => "default".to_owned(),
        };
        lines.insert(name, (value, source));
    }
    if json {
        let object: BTreeMap<_, _> = lines
            .iter()
            .map(|(name, (value, source))| (name, serde_json::json!({ "value": value, "source": source })))
            .collect();
        return print(&format!("{}\n", serde_json::to_string(&object)?));
    }
    let text: String = lines
        .iter()
        .map(|(name, (value, source))| format!("{name:<22} {value:<32} {source}\n"))
        .collect();
    print(&text)
}

async fn show_status(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (status, code) = match status::of_running_agent(&runtime_folder(cli)) {
        Some(mut status) => {
            // The agent writes this at each check, and the rest only when something in it changes.
            status.clock = clock::of_runtime(&runtime_folder(cli)).or(status.clock);
            (status, exit::OK)
        }
        None => match Identity::read(&cli.data.join("identity")) {
            Ok(identity) => {
                let places = Places::under(&cli.data);
                let (ledger, files) = (FileLedger::new(places.agent), QuadletDir::new(places.quadlet));
                let Identity { enrolment, .. } = identity;
                let mut status =
                    status::of_records(&ledger, &files, enrolment.device_id, enrolment.nats.url).await;
                status.clock = clock::of_runtime(&runtime_folder(cli));
                (status, exit::NOT_RUNNING)
            }
            Err(error) => return unusable(error.into()),
        },
    };
    match cli.json {
        true => print(&format!("{}\n", serde_json::to_string(&status)?))?,
        false => print(&status::text(&status, SystemClock.now()))?,
    };
    Ok(code.into())
}
