//! The main job on this machine: started by `cargo xtask demo`, which sets up and builds what it needs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fleet_hw_tests::demo::{Demo, DemoLine, DemoOptions};
use fleet_hw_tests::site::DEVICE;
use fleet_testbed::interrupt;

/// Exit code after Ctrl-C, as a shell reports it.
const EXIT_INTERRUPTED: u8 = 130;

/// A virtual device that runs a web application, seen on the dashboard.
#[derive(Debug, Parser)]
struct Options {
    /// Without a person: ends by itself, with one line of JSON
    #[arg(long)]
    check: bool,
    /// Simulated devices beside the virtual one
    #[arg(long, default_value_t = 0)]
    devices: u32,
    /// The dashboard's port on 127.0.0.1
    #[arg(long, default_value_t = 8480)]
    port: u16,
    /// Where the device's web application is reached, a port on 127.0.0.1
    #[arg(long, default_value_t = 8481)]
    web_port: u16,
    /// A stage that was done before, with its seconds; shown in the line at the end
    #[arg(long, value_name = "STAGE=SECONDS", value_parser = stage)]
    before: Vec<(String, f64)>,
}

fn stage(text: &str) -> Result<(String, f64), String> {
    let (name, seconds) = text.split_once('=').ok_or("is not STAGE=SECONDS")?;
    Ok((
        name.to_owned(),
        seconds.parse().map_err(|_| "has no number of seconds")?,
    ))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::requested() => {
            eprintln!("interrupted: everything that was started has ended");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<bool> {
    interrupt::watch().context("cannot watch for Ctrl-C")?;
    let mut line = DemoLine::new(DEVICE);
    for (stage, seconds) in &options.before {
        line.took(stage, *seconds);
    }
    let mut demo = Demo::new(DemoOptions {
        devices: options.devices,
        port: options.port,
        web_port: options.web_port,
        checkout: checkout()?,
    })?;
    let outcome = demo.run(&mut line);
    if outcome.is_ok() && !options.check {
        let looked = look_around(&mut demo);
        let ended = demo.end();
        return looked.and(ended).map(|()| true);
    }
    let ended = demo.end();
    let line = line.judged(outcome.is_ok() && ended.is_ok());
    if options.check {
        println!("{}", serde_json::to_string(&line)?);
    }
    outcome.and(ended).map(|()| line.ok)
}

/// Tells what there is to see, and waits for Ctrl-C, or for the end of something that should go on.
fn look_around(demo: &mut Demo) -> Result<()> {
    println!("\nThe fleet runs.\n");
    println!("  dashboard      {}", demo.dashboard());
    println!(
        "  application    {}   (served by the container on {DEVICE})",
        demo.page()
    );
    println!(
        "  on a terminal  FLEET_SERVER={} target/debug/fleetctl get pairs",
        demo.dashboard()
    );
    println!("\nCtrl-C ends all of it.");
    while !interrupt::requested() {
        // Nothing to wait for but a person, whose handler only sets a flag, and for what should not happen.
        std::thread::sleep(std::time::Duration::from_millis(100));
        demo.check().context("the demo cannot go on")?;
    }
    println!("ending …");
    Ok(())
}

fn checkout() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate lies in a workspace")?;
    root.canonicalize().with_context(|| {
        format!(
            "the checkout {} is gone: build this program again",
            root.display()
        )
    })
}
