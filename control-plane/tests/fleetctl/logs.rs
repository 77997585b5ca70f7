//! `logs`: lines on the output and nothing else, safe on a terminal and in a pipe.

use super::*;

fn with_log(lines: &[&str]) -> Server {
    let mut state = fabricated::busy(fixed_now());
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    state.logs.insert("web/basement-lyon-3".to_owned(), lines);
    serve(state)
}

const LINE: [&str; 4] = ["logs", "web", "--device", "basement-lyon-3"];

#[test]
fn lines_go_to_the_output_and_the_rest_to_the_error_stream() {
    let server = serve(fabricated::calm(fixed_now()));
    let ended = fleetctl(&server, &[&LINE[..], &["--tail", "3"]].concat());
    assert_eq!(ended.exit, None, "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
    assert_eq!(
        ended.err,
        "fleetctl: older lines are not shown; these are the last 3\n"
    );
    let last = ended.out.lines().last().unwrap();
    assert!(last.starts_with("info  web GET /health 200 640"), "{last}");
}

#[test]
fn what_is_asked_for_reaches_the_server() {
    let server = serve(fabricated::busy(fixed_now()));
    let line = [
        "logs",
        "orders",
        "-d",
        "basement-lyon-3",
        "-c",
        "migrate",
        "-p",
        "--lines",
        "7",
        "--timestamps",
    ];
    assert_eq!(fleetctl(&server, &line).exit, None);
    let asked = server.changes.lock().unwrap().join("\n");
    for part in [
        "lines: Some(7)",
        "init: Some(\"migrate\")",
        "previous: true",
        "timestamps: true",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[test]
fn a_pipe_gets_no_escape_and_a_terminal_colours_only() {
    let hostile: Vec<String> = fabricated::hostile_log();
    let mut lines: Vec<&str> = hostile.iter().map(String::as_str).collect();
    lines.push("\u{1b}[31mred\u{1b}[0m");
    let server = with_log(&lines);
    let piped = shown(&server, &LINE);
    let acts = |text: &str| {
        text.chars()
            .any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{2069}').contains(&c))
    };
    assert!(!acts(&piped), "{piped:?}");
    assert!(
        piped.contains("␛click␛") && piped.contains("user⟨U+202E⟩gpj.exe") && piped.ends_with("red\n"),
        "{piped}"
    );

    let out = Shown::default();
    fleetctl_on(true, out.clone(), &server.address, &LINE);
    let coloured = out.text();
    assert!(coloured.ends_with("\u{1b}[31mred\u{1b}[0m\n"), "{coloured:?}");
    let without = coloured.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
    assert_eq!(without, piped, "nothing but colours is added");
}

#[test]
fn json_is_what_the_api_gives_and_acts_on_no_terminal() {
    let hostile = fabricated::hostile_log();
    let server = with_log(&hostile.iter().map(String::as_str).collect::<Vec<_>>());
    let text = shown(&server, &[&LINE[..], &["-o", "json"]].concat());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'), "{text:?}");
    let answer: LogAnswer = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.chunk.lines, hostile, "and nothing is lost");
}

#[test]
fn an_empty_log_says_so_and_an_offline_device_ends_with_its_own_code() {
    let server = with_log(&[]);
    let ended = fleetctl(&server, &LINE);
    assert_eq!((ended.exit, ended.out.as_str()), (None, ""));
    assert!(
        ended.err.contains("has written nothing") && ended.err.contains("--previous"),
        "{}",
        ended.err
    );

    let ended = fleetctl(&server, &["logs", "web", "--device", "basement-nice-10"]);
    assert_eq!(ended.exit, Some(Exit::DeviceAway));
    assert!(
        ended.err.contains("is offline since 2026-03-14 02:41:09 UTC"),
        "{}",
        ended.err
    );
    insta::assert_snapshot!(ended.err);
}

#[test]
fn a_log_that_the_journal_lost_is_told_from_one_that_never_was() {
    let mut state = fabricated::busy(fixed_now());
    state.logs.insert("web/basement-lyon-3".to_owned(), Vec::new());
    state.lost.insert("web/basement-lyon-3".to_owned());
    let ended = fleetctl(&serve(state), &LINE);
    assert_eq!((ended.exit, ended.out.as_str()), (None, ""));
    assert!(
        ended.err.contains("the device's journal no longer has its lines")
            && ended.err.contains("describe pair web/basement-lyon-3")
            && !ended.err.contains("last 0")
            && !ended.err.contains("has written nothing"),
        "{}",
        ended.err
    );
}

#[test]
fn lines_of_an_older_version_are_told_as_such() {
    let mut state = fabricated::calm(fixed_now());
    let is = |p: &&mut fleet_control_plane::fleet::view::PairView| {
        p.deployment == "web" && p.device == "basement-lyon-3"
    };
    let pair = state.pairs.iter_mut().find(is).unwrap();
    pair.observed_generation = Some(7);
    pair.running.as_mut().unwrap().generation = 6;
    let ended = fleetctl(&serve(state), &LINE);
    let note = "fleetctl: generation 7's container was not started yet; these lines are of generation 6\n";
    assert!(ended.err.starts_with(note), "{}", ended.err);
    assert!(!ended.out.contains("generation 7"), "the output is lines only");
}

#[test]
fn what_a_device_refuses_is_told_in_its_words_and_not_found_is_not_found() {
    use fleet_control_plane::deploy::companion::logs::LogQueryError;
    let mut state = fabricated::calm(fixed_now());
    state.log_error = Some(LogQueryError::Refused {
        device: "basement-lyon-3".parse().unwrap(),
        cause: Box::new(fleet_protocol::Cause::new(
            "logs-no-previous",
            "web ran only once since the boot\u{1b}[2J",
        )),
    });
    let ended = fleetctl(&serve(state), &[&LINE[..], &["-p"]].concat());
    assert_eq!(ended.exit, Some(Exit::NotFound));
    assert!(
        ended.err.contains("web ran only once") && !ended.err.contains('\u{1b}'),
        "{}",
        ended.err
    );
}

#[test]
fn a_log_needs_a_device_and_has_at_most_so_many_lines() {
    for bad in [
        &["logs", "web"][..],
        &["logs", "web", "--device", "x", "--lines", "0"],
        &["logs", "web", "--device", "x", "--lines", "5001"],
    ] {
        assert!(
            Cli::try_parse_from(["fleetctl"].iter().chain(bad)).is_err(),
            "{bad:?}"
        );
    }
}
