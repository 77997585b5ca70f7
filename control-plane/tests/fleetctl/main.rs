//! `fleetctl` against a server that serves a fabricated fleet: what a person reads, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[path = "../../examples/dashboard/fabricated/mod.rs"]
mod fabricated;
mod server;

mod changes;
mod command_line;
mod json;
mod lint;
mod logs;
mod reading;
mod recovering;
mod rollouts;
mod watching;

use std::io::Write;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use fabricated::{Fabricated, State, fixed_now};
use fleet_control_plane::api::ApiError;
use fleet_control_plane::api::types::{
    ChangeAnswer, ChangeQuery, EventQuery, ListQuery, LogAnswer, LogsQuery, Outcome, PairList, PairQuery,
    ProblemDetails, PutDeployment,
};
use fleet_control_plane::ctl::{self, Cli, Client, Context, Exit, Terminal};
use fleet_control_plane::deploy::companion::Placed;
use fleet_control_plane::deploy::companion::logs::LogsOf;
use fleet_control_plane::deploy::lint::{Warning, lint_score};
use fleet_control_plane::fleet::view::PairView;
use fleet_control_plane::fleet::words;
use fleet_control_plane::web::Source;
use futures_util::{StreamExt, stream};

use server::{Server, serve, serve_after};

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// One command line: what it printed, what it said besides, and how it ended (`None` is well).
struct Ended {
    out: String,
    err: String,
    exit: Option<Exit>,
}

fn fleetctl_into(out: Shown, address: &str, line: &[&str]) -> Ended {
    fleetctl_on(false, out, address, line)
}

/// `colour` as on a terminal.
fn fleetctl_on(colour: bool, out: Shown, address: &str, line: &[&str]) -> Ended {
    let cli = Cli::try_parse_from(["fleetctl", "--server", address].iter().chain(line)).unwrap();
    let err = Shown::default();
    let mut terminal = Terminal::new(Box::new(out.clone()), Box::new(err.clone()), colour, false);
    let done = Client::new(&cli.server, Some("anna".to_owned())).and_then(|client| {
        ctl::run(
            &cli.command,
            &mut Context {
                client,
                terminal: &mut terminal,
                now: &fixed_now,
            },
        )
    });
    let mut err = err.text();
    if let Err(error) = &done {
        err.push_str(&error.to_string());
    }
    Ended {
        out: out.text(),
        err,
        exit: done.err().map(|error| error.exit()),
    }
}

fn fleetctl(server: &Server, line: &[&str]) -> Ended {
    fleetctl_into(Shown::default(), &server.address, line)
}

fn shown(server: &Server, line: &[&str]) -> String {
    let ended = fleetctl(server, line);
    assert_eq!(ended.exit, None, "{}", ended.err);
    ended.out
}

fn file(dir: &FilePath, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    path.display().to_string()
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: fleet/v0\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  selector: {{ all: true }}\n  score:\n    podman_v0:\n      image: docker.io/library/nginx:1.27\n"
    )
}

/// Watches in a thread that ends with the test: a watch has no end of its own.
fn watching(server: &Server, line: &'static [&'static str]) -> Shown {
    let out = Shown::default();
    let (watcher, address) = (out.clone(), server.address.clone());
    std::thread::spawn(move || fleetctl_into(watcher, &address, line));
    out
}

fn wait(out: &Shown, what: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what(&out.text()) {
        assert!(Instant::now() < deadline, "in time only: {}", out.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}
