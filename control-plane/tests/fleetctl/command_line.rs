//! The command line itself, and how the process ends.

use super::*;

#[test]
fn a_server_that_is_away_is_said_with_what_to_check() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ended = fleetctl_into(Shown::default(), &address, &["get", "devices"]);
    assert_eq!(ended.exit, Some(Exit::Unreachable));
    assert!(
        ended.err.contains("was not reached") && ended.err.contains("FLEET_SERVER"),
        "{}",
        ended.err
    );
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    for address in ["nonsense", "https://fleet.example", "ftp://x", "http://x/path"] {
        let ended = fleetctl_into(Shown::default(), address, &["get", "devices"]);
        assert_eq!(ended.exit, Some(Exit::Usage), "{address}: {}", ended.err);
    }
}

/// The commands of the three examples that a help opens with.
fn examples(help: &str) -> Vec<String> {
    assert!(help.starts_with("Examples:\n"), "{help}");
    let lines = help.lines().skip(1).take(3);
    let commands = lines.flat_map(|line| line.trim_start().split("  ").next().unwrap().split('|'));
    commands.map(|command| command.trim().to_owned()).collect()
}

#[test]
fn help_opens_with_examples_that_parse() {
    use clap::CommandFactory;
    let help = Cli::command().render_long_help().to_string();
    let mut all = examples(&help);
    let mut root = Cli::command();
    root.build();
    for name in ["apply", "lint", "describe", "logs", "delete"] {
        let command = root.find_subcommand_mut(name).unwrap();
        all.extend(examples(&command.render_long_help().to_string()));
    }
    let rollout = root.find_subcommand_mut("rollout").unwrap();
    let status = rollout.find_subcommand_mut("status").unwrap();
    all.extend(examples(&status.render_long_help().to_string()));
    // Those of the first help are four commands: one is a pipe.
    assert_eq!(all.len(), 4 + 6 * 3, "{all:?}");
    for example in &all {
        Cli::try_parse_from(example.split_whitespace()).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
    for command in ["apply", "lint", "describe", "delete", "rollout status"] {
        let told = |example: &&String| {
            example.starts_with(&format!("fleetctl {command} ")) && example.ends_with(" -o json")
        };
        assert!(all.iter().any(|example| told(&example)), "{command}");
    }
    insta::assert_snapshot!(help);
}

#[test]
fn the_command_line_is_sound_and_documents_itself() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let server = serve(fabricated::empty(fixed_now()));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            shown(&server, &["completion", shell]).contains("rollout"),
            "{shell}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("man").display().to_string();
    shown(&server, &["man", &path]);
    assert!(dir.path().join("man/fleetctl-apply.1").is_file());
    assert!(
        fleetctl(&server, &["get", "devices"]).err.contains("fleet-sim"),
        "an empty list teaches the next command"
    );
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the exit codes are those of the real process"
)]
fn the_process_ends_with_the_documented_codes() {
    let server = serve(fabricated::calm(fixed_now()));
    let run = |line: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fleetctl"));
        command
            .env("FLEET_SERVER", &server.address)
            .args(line)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["version"]).status.code(), Some(0));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(run(&["get", "device", "nope"]).status.code(), Some(3));
    assert_eq!(
        run(&["--server", "http://127.0.0.1:1", "get", "devices"])
            .status
            .code(),
        Some(5)
    );
    let listed = run(&["get", "devices"]);
    assert!(!listed.stdout.contains(&0x1b), "no colour into a pipe");
}
