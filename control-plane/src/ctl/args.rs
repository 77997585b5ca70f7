//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fleet_protocol::logs::{DEFAULT_LINES, MAX_LINES};

const EXAMPLES: &str = "Examples:
  fleetctl get devices                                 which devices there are, and how they are
  fleetctl example | fleetctl apply --dry-run -f -     what a first deployment would do
  fleetctl get deployments --watch                     what runs, and each change as it comes
";

const APPLY_EXAMPLES: &str = "Examples:
  fleetctl apply -f web.yaml                           create or change what it describes
  fleetctl apply -f web.yaml --strict                  only if the lint has nothing to say
  fleetctl apply -f manifests/ --dry-run -o json       what a folder of them would do, for programs
";

const DESCRIBE_EXAMPLES: &str = "Examples:
  fleetctl describe pair web/pi-1                      why web is as it is on pi-1, and what to do
  fleetctl describe device pi-1                        a device, and all that is on it
  fleetctl describe deployment web -o json             for programs
";

const DELETE_EXAMPLES: &str = "Examples:
  fleetctl delete deployment web                       away from every device that it is on
  fleetctl delete -f manifests/ --dry-run              what would go
  fleetctl delete -f web.yaml -o json                  for programs
";

const STATUS_EXAMPLES: &str = "Examples:
  fleetctl rollout status deployment web               wait until it runs everywhere, 10 min at most
  fleetctl rollout status deployment web --timeout 1h  longer
  fleetctl rollout status deployment web -o json       for programs: how it is at the end, well or not
";

const LINT_EXAMPLES: &str = "Examples:
  fleetctl lint -f web.yaml                            what its init containers must not do twice
  fleetctl lint -f manifests/ --strict                 the same as a gate of a build: ends with 9
  fleetctl lint -f web.yaml -o json                    for programs
";

const LOG_EXAMPLES: &str = "Examples:
  fleetctl logs web --device pi-1                      the last 200 lines of its newest run
  fleetctl logs web --device pi-1 -p --lines 50        how the run before it ended
  fleetctl logs web --device pi-1 --init migrate       what the init container migrate wrote
";

const AFTER: &str = "Exit codes:
  0  done
  1  refused or failed
  2  wrong usage
  3  not found
  4  invalid manifest: nothing of it was changed
  5  server not reached
  6  a rollout did not get through
  7  the operator is recovering: nothing is said to be missing, and a list may lack some
  8  a device is offline, or did not answer
  9  manifests have warnings, and --strict was given: nothing of them was changed";

/// The fleet from a terminal.
#[derive(Debug, Parser)]
#[command(name = "fleetctl", before_help = EXAMPLES, after_help = AFTER, disable_version_flag = true, max_term_width = 100)]
pub struct Cli {
    /// The operator's address.
    #[arg(
        long,
        global = true,
        env = "FLEET_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8480",
        value_name = "URL"
    )]
    pub server: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the fleet as manifests say: creates, changes, or leaves as it is.
    #[command(before_help = APPLY_EXAMPLES)]
    Apply(ApplyArgs),
    /// Check manifests without a server: what is wrong, and what their init containers must not do twice.
    #[command(before_help = LINT_EXAMPLES)]
    Lint(LintArgs),
    /// List devices, deployments or pairs (one deployment on one device), or show one.
    Get(GetArgs),
    /// Tell all about one thing, with the chain that says why it is as it is.
    #[command(before_help = DESCRIBE_EXAMPLES)]
    Describe(DescribeArgs),
    /// Print what a deployment's container wrote on a device.
    #[command(before_help = LOG_EXAMPLES)]
    Logs(LogsArgs),
    /// Take deployments away from every device they are on.
    #[command(before_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// Show the history: who did what, when, to what.
    Events(EventsArgs),
    /// Follow a rollout.
    Rollout(RolloutArgs),
    /// Print a manifest to begin with.
    Example,
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder; made if absent.
        dir: PathBuf,
    },
    /// Print the version.
    Version,
}

/// How what was done or asked is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// Words, for people.
    Text,
    /// JSON, as the API gives it. What fails is told on the error stream, as ever.
    Json,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A manifest, a folder of them (*.yaml, *.yml, *.json), or - for the standard input. May be given more than once.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// Check everything, on the server too, and say what would happen, but change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Refuse what has warnings: then nothing of it all is sent.
    #[arg(long)]
    pub strict: bool,
    /// How to tell what became of each; as JSON one list of those that were taken, at the end.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: AnswerFormat,
}

/// How warnings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// As a compiler writes them, on the error stream.
    Text,
    /// A JSON list, on the output.
    Json,
}

/// `lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// A manifest, a folder of them (*.yaml, *.yml, *.json), or - for the standard input. May be given more than once.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub files: Vec<PathBuf>,
    /// End with 9 when there is a warning.
    #[arg(long)]
    pub strict: bool,
    /// How to write them.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: LintFormat,
}

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Boards in the field.
    #[value(alias = "device")]
    Devices,
    /// What a customer wants to run, and where.
    #[value(alias = "deployment", alias = "deploy")]
    Deployments,
    /// One deployment on one device; the name is DEPLOYMENT or DEPLOYMENT/DEVICE.
    #[value(alias = "pair")]
    Pairs,
}

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for people.
    Table,
    /// More columns.
    Wide,
    /// JSON, as the API gives it.
    Json,
    /// YAML; deployments come as manifests that can be applied again.
    Yaml,
    /// One `kind/name` a line.
    Name,
}

/// `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to list.
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only this one.
    pub name: Option<String>,
    /// Labels that must match: site=lyon,rack=3.
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub labels: Option<String>,
    /// Only devices in this state (Online, Offline, Unknown).
    #[arg(long, value_name = "STATE")]
    pub state: Option<crate::fleet::view::DeviceState>,
    /// Only with a container in this state (Failed, Stuck, Running, …).
    #[arg(long, value_name = "STATE")]
    pub phase: Option<crate::fleet::view::PairState>,
    /// How to write it.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Format,
    /// Stay, and print each change as it comes.
    #[arg(short, long)]
    pub watch: bool,
}

/// What can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum One {
    /// A device.
    #[value(alias = "devices")]
    Device,
    /// A deployment.
    #[value(alias = "deployments", alias = "deploy")]
    Deployment,
    /// One deployment on one device: DEPLOYMENT/DEVICE.
    #[value(alias = "pairs")]
    Pair,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// What it is.
    #[arg(value_enum)]
    pub kind: One,
    /// Its name; for a pair DEPLOYMENT/DEVICE.
    pub name: String,
    /// How to write it.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: AnswerFormat,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// The lines. Colours on a terminal, none in a pipe; whatever else would act is taken out or shown.
    Text,
    /// JSON, as the API gives it: the lines as the container wrote them, escaped.
    Json,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The deployment.
    pub deployment: String,
    /// The device.
    #[arg(short, long, value_name = "DEVICE")]
    pub device: String,
    /// How many lines, counted from the end.
    #[arg(long, visible_alias = "tail", default_value_t = DEFAULT_LINES, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LINES)))]
    pub lines: u32,
    /// The init container of this name instead of the main one.
    #[arg(short = 'c', long, visible_alias = "container", value_name = "NAME")]
    pub init: Option<String>,
    /// The run before the newest one.
    #[arg(short, long)]
    pub previous: bool,
    /// Begin each line with its time, in UTC.
    #[arg(long)]
    pub timestamps: bool,
    /// How to write it.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: LogFormat,
}

/// The only kind that a person deletes or follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeploymentKind {
    /// A deployment.
    #[value(alias = "deployments", alias = "deploy")]
    Deployment,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// What it is.
    #[arg(value_enum, requires = "names", required_unless_present = "files")]
    pub kind: Option<DeploymentKind>,
    /// Their names.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// What these manifests name.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with = "kind"
    )]
    pub files: Vec<PathBuf>,
    /// Say what would happen, but change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What is already gone is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// How to tell what became of each; as JSON one list of those that were deleted, at the end.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: AnswerFormat,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only about this and what is below it: deployment/web, device/pi-1.
    #[arg(long, value_name = "SUBJECT")]
    pub about: Option<String>,
    /// How many, at most.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// How to write them.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Format,
    /// Stay, and print each new one.
    #[arg(short, long)]
    pub watch: bool,
}

/// `rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Wait until a deployment runs on every device it selects; ends with 6 when it cannot.
    #[command(before_help = STATUS_EXAMPLES)]
    Status {
        /// What it is.
        #[arg(value_enum)]
        kind: DeploymentKind,
        /// Its name.
        name: String,
        /// Longest wait, such as 30s or 10m.
        #[arg(long, default_value = "10m", value_parser = span)]
        timeout: Duration,
        /// How to write how it ends; as JSON the deployment, also when it does not get through.
        #[arg(short, long, value_enum, default_value = "text")]
        output: AnswerFormat,
    },
}

fn span(text: &str) -> Result<Duration, String> {
    let span: fleet_protocol::quantity::Span = text.parse().map_err(|error| format!("{error}"))?;
    Ok(span.duration())
}
