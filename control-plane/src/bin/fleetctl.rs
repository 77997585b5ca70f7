//! `fleetctl`: the fleet from a terminal. All of it is in [`fleet_control_plane::ctl`].

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use fleet_control_plane::clock::Clock;
use fleet_control_plane::ctl::{self, Cli, Client, Context, Terminal};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let progress = err.is_terminal();
    let mut terminal = Terminal::new(Box::new(out), Box::new(err), colour, progress);
    let clock = Clock::system();
    let actor = std::env::var("FLEET_ACTOR")
        .or_else(|_| std::env::var("USER"))
        .ok();
    let done = Client::new(&cli.server, actor).and_then(|client| {
        let now = || clock.now();
        let mut context = Context {
            client,
            terminal: &mut terminal,
            now: &now,
        };
        ctl::run(&cli.command, &mut context)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit() as u8)
        }
    }
}
