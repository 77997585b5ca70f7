//! The command line. Parsed by hand: four commands and three flags are not worth the memory that a parser's
//! tables take in a process that lives for years.

use std::path::PathBuf;

/// Exit codes, as `--help` lists them.
pub mod exit {
    /// All went well.
    pub const OK: u8 = 0;
    /// It failed while it ran.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// Identity or configuration cannot be used.
    pub const SETTINGS: u8 = 3;
    /// `status`: the agent does not run.
    pub const NOT_RUNNING: u8 = 4;
    /// `run`: time servers call the system clock wrong.
    pub const CLOCK: u8 = 5;
}

/// The text of `--help`.
pub const HELP: &str = "\
fleet-agent runs the deployments of this device.

Examples:
  fleet-agent status               what runs here, and why not
  fleet-agent status --json        the same for a program
  fleet-agent config show          settings, and where each one comes from

Usage: fleet-agent [--data DIR] COMMAND

Commands:
  run                    run the agent; systemd does this
  status [--json]        show connection and deployments; needs no network
  config show [--json]   show the settings; secrets are never shown

Options:
  --data DIR    where identity and state are [default: /var/lib/fleet]
  --json        one JSON object on standard output
  --help        this text
  --version     the version

Exit codes:
  0  all went well
  1  it failed while it ran
  2  the command line makes no sense
  3  identity or configuration cannot be used; standard error names the file
  4  status: the agent does not run, and what is shown comes from its records
  5  run: the system clock is wrong, as time servers say; once it is right, the next start goes well
";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the agent.
    Run,
    /// Show connection and deployments.
    Status,
    /// Show the settings.
    ConfigShow,
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// What is asked for.
    pub command: Command,
    /// For a program.
    pub json: bool,
    /// Where identity and state are.
    pub data: PathBuf,
}

/// Why a command line makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No command.
    #[error("no command is given")]
    NoCommand,
    /// An argument that means nothing here.
    #[error("{0:?} means nothing here")]
    Unknown(String),
    /// `--data` without a folder.
    #[error("--data needs a folder")]
    NoFolder,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`UsageError`] names the argument.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Cli, UsageError> {
    let mut args = args.into_iter();
    let mut words: Vec<String> = Vec::new();
    let mut cli = Cli {
        command: Command::Help,
        json: false,
        data: PathBuf::from("/var/lib/fleet"),
    };
    let mut only = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" | "help" => only = only.or(Some(Command::Help)),
            "--version" | "-V" => only = only.or(Some(Command::Version)),
            "--json" => cli.json = true,
            "--data" => cli.data = args.next().ok_or(UsageError::NoFolder)?.into(),
            flag if flag.starts_with('-') => return Err(UsageError::Unknown(arg)),
            _ => words.push(arg),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cli.command = match (only, words.as_slice()) {
        (Some(command), _) => command,
        (None, []) => return Err(UsageError::NoCommand),
        (None, ["run"]) if !cli.json => Command::Run,
        (None, ["status"]) => Command::Status,
        (None, ["config", "show"]) => Command::ConfigShow,
        (
            None,
            ["run" | "status", extra, ..] | ["config", "show", extra, ..] | ["config", extra] | [extra, ..],
        ) => {
            return Err(UsageError::Unknown((*extra).to_owned()));
        }
    };
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, UsageError> {
        super::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn commands_and_flags_come_in_any_order() {
        let cli = parse("--json status --data /x").unwrap();
        assert_eq!(
            (cli.command, cli.json, cli.data),
            (Command::Status, true, "/x".into())
        );
        assert_eq!(parse("config show").unwrap().command, Command::ConfigShow);
        assert_eq!(parse("run --help").unwrap().command, Command::Help);
        assert_eq!(parse("-V").unwrap().command, Command::Version);
    }

    #[test]
    fn what_means_nothing_is_named() {
        for (line, word) in [
            ("fly", "fly"),
            ("status web", "web"),
            ("--fast run", "--fast"),
            ("config x", "x"),
        ] {
            assert_eq!(parse(line), Err(UsageError::Unknown(word.to_owned())), "{line}");
        }
        assert_eq!(parse(""), Err(UsageError::NoCommand));
        assert_eq!(parse("status --data"), Err(UsageError::NoFolder));
    }

    #[test]
    fn help_opens_with_three_examples() {
        let examples = HELP
            .lines()
            .filter(|line| line.starts_with("  fleet-agent "))
            .count();
        assert_eq!(examples, 3);
    }
}
