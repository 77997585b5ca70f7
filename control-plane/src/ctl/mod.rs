//! `fleetctl`: the fleet from a terminal.
//!
//! Entry point: [`run`] does one command line against one server and says with which exit code to end. It speaks the HTTP API and
//! nothing else; what it prints goes through [`Terminal`], so tests read what a person would.
//!
//! Exit codes, also in `fleetctl --help`: 0 done, 1 refused or failed, 2 wrong usage, 3 not found, 4 invalid manifest, 5 server not
//! reached, 6 a rollout did not get through, 7 the operator is recovering, 8 a device is offline or did not answer,
//! 9 manifests have warnings and `--strict` was given.

mod answers;
mod apply;
mod args;
mod client;
mod delete;
mod describe;
mod error;
mod events;
mod generate;
mod get;
mod json;
mod lint;
mod logs;
mod rollout;
mod stream;
mod table;
mod terminal;

use chrono::{DateTime, Utc};

pub use args::{Cli, Command};
pub use client::Client;
pub use error::{CtlError, Exit};
pub use terminal::Terminal;

/// What a command needs: the server, the terminal, the clock.
pub struct Context<'a> {
    /// The server.
    pub client: Client,
    /// Where output goes.
    pub terminal: &'a mut Terminal,
    /// The time, for ages.
    pub now: &'a dyn Fn() -> DateTime<Utc>,
}

/// Does one command.
///
/// # Errors
/// [`CtlError`] says what failed, on what, why, what to do, and the exit code. A reader of our output that went away (`| head`) is
/// no error.
pub fn run(command: &Command, context: &mut Context<'_>) -> Result<(), CtlError> {
    let done = match command {
        Command::Apply(args) => apply::run(args, context),
        Command::Lint(args) => lint::run(args, context),
        Command::Get(args) => get::run(args, context),
        Command::Describe(args) => describe::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Delete(args) => delete::run(args, context),
        Command::Events(args) => events::run(args, context),
        Command::Rollout(args) => rollout::run(args, context),
        Command::Example => context.terminal.print(crate::web::SAMPLE_MANIFEST),
        Command::Completion { shell } => generate::completion(*shell, context.terminal),
        Command::Man { dir } => generate::man(dir, context.terminal),
        Command::Version => context
            .terminal
            .line(&format!("fleetctl {}", env!("CARGO_PKG_VERSION"))),
    };
    match done {
        Err(error) if error.is_closed_pipe() => Ok(()),
        other => other,
    }
}
