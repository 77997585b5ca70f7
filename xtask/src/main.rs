//! `cargo xtask`: see `cargo xtask --help`.

use std::process::ExitCode;

use clap::Parser;
use xtask::cli::{self, Cli};
use xtask::interrupt;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let outcome = interrupt::watch().and_then(|()| cli::run(arguments));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            eprintln!("interrupted: everything that was started has ended");
            ExitCode::from(cli::EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
