//! `cargo xtask`: see `cargo xtask --help`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use fleet_testbed::interrupt;
use xtask::cli::{self, Cli};

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let outcome = interrupt::watch()
        .context("cannot watch for Ctrl-C")
        .and_then(|()| cli::run(arguments));
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
