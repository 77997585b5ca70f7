use fleet_protocol::score::PodmanV0Score;
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod docs;
mod guards;
mod sql;
mod tables;

/// A score with one init container that has the volume `app` at /data.
fn score(args: &[&str]) -> PodmanV0Score {
    score_with(&json!({
        "args": args,
        "volumes": [{ "source": { "volume": { "name": "app" } }, "path": "/data" }],
    }))
}

fn score_with(init: &serde_json::Value) -> PodmanV0Score {
    let mut init = init.clone();
    init["name"] = "prepare".into();
    init["image"] = "r.example/tools:1".into();
    serde_json::from_value(json!({ "image": "r.example/app:1", "init_containers": [init] })).unwrap()
}

fn rules_of(score: &PodmanV0Score) -> Vec<String> {
    lint(score).into_iter().map(|warning| warning.rule).collect()
}

/// The rules that a script breaks.
fn script(text: &str) -> Vec<String> {
    rules_of(&score(&["sh", "-ec", text]))
}

/// The rules that psql's SQL breaks.
fn psql(text: &str) -> Vec<String> {
    rules_of(&score(&["psql", "-c", text]))
}

#[test]
fn a_warning_says_where_what_why_and_what_to_write() {
    let script = "set -e\nmkdir /data/cache\n";
    let warnings = lint(&score(&["sh", "-ec", script]));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = &warnings[0];
    assert_eq!(
        (warning.path.as_str(), warning.line),
        ("init_containers[0].args[2]", 2)
    );
    assert_eq!(
        (warning.rule.as_str(), warning.found.as_str()),
        ("mkdir", "mkdir /data/cache")
    );
    assert!(warning.why.contains("in the volume `app`"), "{}", warning.why);
    assert!(warning.fix.contains("mkdir -p"), "{}", warning.fix);
}

#[test]
fn the_second_of_two_init_containers_is_named() {
    let mut two = score(&["true"]);
    let mut second = two.init_containers[0].clone();
    second.name = "second".to_owned();
    second.args = vec!["mkdir".to_owned(), "/data/x".to_owned()];
    two.init_containers.push(second);
    assert_eq!(lint(&two)[0].path, "init_containers[1].args[0]");
}

#[test]
fn the_example_of_the_documentation_is_silent() {
    assert_eq!(script("mkdir -p /data && touch /data/initialized"), [""; 0]);
}

#[test]
fn a_score_without_init_containers_is_silent() {
    let plain: PodmanV0Score = serde_json::from_value(json!({ "image": "r.example/app:1" })).unwrap();
    assert_eq!(lint(&plain), []);
}

#[test]
fn each_way_to_hand_a_shell_its_script_is_read() {
    for args in [
        &["sh", "-c", "mkdir /data/x"][..],
        &["/bin/bash", "-euxc", "mkdir /data/x"],
        &["bash", "-eu", "-o", "pipefail", "-c", "mkdir /data/x"],
        &["/usr/bin/env", "bash", "-c", "mkdir /data/x"],
        &["busybox", "sh", "-c", "mkdir /data/x"],
        &["ash", "-c", "mkdir /data/x"],
        &["dash", "-c", "mkdir /data/x"],
        &["tini", "--", "sh", "-c", "exec mkdir /data/x"],
        &["timeout", "30", "sh", "-c", "mkdir /data/x"],
        &["su", "postgres", "-c", "mkdir /data/x"],
        &["sh", "-c", "bash -c 'mkdir /data/x'"],
        &["sh", "-c", "sh <<EOF\nmkdir /data/x\nEOF"],
        &["-c", "mkdir /data/x"],
        &["mkdir", "/data/x"],
        &["busybox", "mkdir", "/data/x"],
    ] {
        assert_eq!(rules_of(&score(args)), ["mkdir"], "{args:?}");
    }
}

#[test]
fn a_script_or_sql_in_the_environment_is_shown_where_it_stands() {
    let warnings = lint(&score_with(&json!({
        "args": ["sh", "-c", "eval \"$SCRIPT\"; psql -c \"$SQL\""],
        "env": [
            { "name": "SCRIPT", "value": "mkdir /data/x" },
            { "name": "SQL", "value": "SELECT 1;\nINSERT INTO t VALUES (1)" },
        ],
    })));
    let places: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.path.as_str(), warning.line, warning.rule.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            ("init_containers[0].env[0].value", 1, "mkdir"),
            ("init_containers[0].env[1].value", 2, "sql-insert"),
        ]
    );
}

#[test]
fn a_variable_of_the_environment_leads_to_its_volume() {
    let warnings = lint(&score_with(&json!({
        "args": ["sh", "-c", "echo a >> $DIR/f"],
        "env": [{ "name": "DIR", "value": "/srv/state" }],
        "volumes": [{ "source": { "host_path": { "path": "/srv/app" } }, "path": "/srv/state" }],
    })));
    assert_eq!(warnings[0].rule, "append");
    assert!(
        warnings[0].why.contains("on the device, in /srv/app"),
        "{}",
        warnings[0].why
    );
}

#[test]
fn what_lies_in_the_containers_own_file_system_is_new_each_time() {
    for quiet in [
        "mkdir /app/x",
        "echo x >> /etc/app.conf",
        "mkdir /tmp/x",
        "rm /app/x",
        "mv /app/a /data/a",
        "ln -s /data/a /app/a",
        "git clone https://example.com/x /src",
        "echo x >> /dev/stderr",
    ] {
        assert_eq!(script(quiet), [""; 0], "{quiet}");
    }
    // Without any volume it is not known what stays.
    assert_eq!(
        rules_of(&score_with(&json!({ "args": ["mkdir", "/app"] }))),
        ["mkdir"]
    );
}

#[test]
fn a_read_only_mount_keeps_nothing_of_this_run() {
    let warnings = lint(&score_with(&json!({
        "args": ["sh", "-c", "echo x >> /etc/x"],
        "volumes": [
            { "source": { "volume": { "name": "app" } }, "path": "/data" },
            { "source": { "volume": { "name": "conf" } }, "path": "/etc", "read_only": true },
        ],
    })));
    assert_eq!(warnings, []);
}

#[test]
fn a_comment_allows_a_rule_on_purpose() {
    let both = "mkdir /data/x\nrm /data/y\n";
    assert_eq!(script(both), ["mkdir", "remove"]);
    assert_eq!(script(&format!("# fleet-lint: allow mkdir\n{both}")), ["remove"]);
    assert_eq!(
        script("mkdir /data/x # fleet-lint: allow mkdir, remove\nrm /data/y"),
        [""; 0]
    );
    assert_eq!(script(&format!("# fleet-lint: allow all\n{both}")), [""; 0]);
    assert_eq!(
        script(&format!("echo fleet-lint: allow mkdir\n{both}")),
        ["mkdir", "remove"]
    );
    assert_eq!(
        psql("-- fleet-lint: allow sql-insert\nINSERT INTO t VALUES (1)"),
        [""; 0]
    );
}

#[test]
fn what_is_not_read_is_silent() {
    for quiet in [
        &["/migrate"][..],
        &["sh", "/scripts/prepare.sh"],
        &["psql", "-f", "/sql/init.sql"],
        &["sh", "-c"],
        &["sh"],
        &[""],
        &["--help"],
        &["alembic", "upgrade", "head"],
    ] {
        assert_eq!(rules_of(&score(quiet)), [""; 0], "{quiet:?}");
    }
}

#[test]
fn a_script_with_a_fault_is_read_around_it() {
    assert_eq!(script("mkdir /data/x\nfi done )) if [\n"), ["mkdir"]);
}

#[test]
fn characters_outside_ascii_do_not_crash_the_grammar_and_keep_their_places() {
    for first in ["{", "{1..", "<<", "$", "2", ""] {
        for character in ['\u{e9}', '\u{4e16}', '\u{1f600}', '\u{10fffd}'] {
            script(&format!("echo {first}{character}{character} > /tmp/x"));
        }
    }
    let warnings = lint(&score(&[
        "sh",
        "-c",
        "echo \u{e9}\u{1f600} && mkdir '/data/\u{e9}t\u{e9}'",
    ]));
    assert_eq!(warnings[0].found, "mkdir /data/\u{e9}t\u{e9}");
}

/// Half of the stack that a worker of the operator has.
const SMALL_STACK: usize = 1024 * 1024;

#[test]
fn the_work_is_bounded() {
    std::thread::Builder::new()
        .stack_size(SMALL_STACK)
        .spawn(hostile_inputs)
        .unwrap()
        .join()
        .unwrap();
}

fn hostile_inputs() {
    let start = std::time::Instant::now();
    for (text, times) in [
        ("(", 8000),
        ("$(", 4000),
        ("if ", 2600),
        ("while a; do ", 660),
        ("\"$(", 2600),
        ("a <<A <<B ", 800),
        ("case a in a) ", 600),
        ("[[ ( ", 1600),
        ("f() { f; f; }; f; ", 400),
        ("! ", 4000),
        ("mkdir /data/$x\n", 500),
        ("a=\"$a$a\"; ", 700),
        ("eval \"", 1000),
        ("psql -c \"$(cat <<A\n", 380),
    ] {
        let args: Vec<String> = vec!["sh".into(), "-c".into(), text.repeat(times)];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert!(rules_of(&score(&args)).len() <= MAX_WARNINGS);
    }
    for (text, times) in [
        ("(", 8000),
        ("1+", 4000),
        ("SELECT (", 900),
        ("NOT ", 2000),
        ("a.", 4000),
        ("[", 8000),
    ] {
        for before in [
            "SELECT ",
            "UPDATE t SET a = ",
            "INSERT INTO t VALUES (",
            "CREATE TABLE t (a int default ",
        ] {
            psql(&format!("{before}{}", text.repeat(times)));
            psql(&format!("{before}{}1", text.repeat(times)));
        }
    }
    for (open, close) in [
        ("{ ", "; }"),
        ("( ", ")"),
        ("! ", ""),
        ("if a; then ", "; fi"),
        ("{ { ", "; } && a; }"),
        ("( a || ( ", ") )"),
        ("a && { ", "; }"),
        ("[ \"$(", ")\" = 1 ]"),
        ("psql -c \"$(cat <<A\n", "\nA\n)\""),
    ] {
        let times = (MAX_TEXT - 60) / (open.len() + close.len());
        let nested = format!("{}echo a{}", open.repeat(times), close.repeat(times));
        for behind in [
            " | psql",
            " | sh",
            " && mkdir /data/x",
            " || mkdir /data/x",
            " >> /data/x",
        ] {
            script(&format!("{nested}{behind}"));
            script(&format!("mkdir /data/x || {nested}{behind}"));
        }
    }
    let large = "mkdir /data/x; ".repeat(600);
    let args: Vec<&str> = std::iter::repeat_n(large.as_str(), 100).collect();
    rules_of(&score(&args));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn a_script_that_is_joined_of_parts_is_no_longer_than_an_argument() {
    let joined = |times: usize| {
        let parts = "echo \"$A\"; ".repeat(times);
        rules_of(&score_with(&json!({
            "args": ["sh", "-c", format!("{{ {parts}echo mkdir /data/x; }} | sh")],
            "env": [{ "name": "A", "value": format!(": {}", "a".repeat(4000)) }],
        })))
    };
    assert_eq!(joined(1), ["mkdir"]);
    assert_eq!(joined(3), [""; 0]);
}

#[test]
fn values_that_are_filled_in_count_as_what_is_read() {
    let before = expand::tests::FILLED_IN.get();
    let a = "a".repeat(8000);
    for script in [
        format!("f() {{ x \"{}\"; }}; {}", "$A".repeat(2000), "f; ".repeat(3000)),
        format!("f() {{ x \"$A\"; }}; {}", "f; ".repeat(4000)),
        format!("x=\"{}\"; {}", "$A".repeat(2000), "y \"$x\" | psql; ".repeat(200)),
    ] {
        rules_of(&score_with(&json!({
            "args": ["sh", "-c", script],
            "env": [{ "name": "A", "value": a }],
        })));
    }
    let filled_in = expand::tests::FILLED_IN.get() - before;
    assert!((1..=3 * MAX_READ).contains(&filled_in), "{filled_in}");
}

#[test]
fn a_word_is_no_longer_than_twice_an_argument() {
    let before = expand::tests::FILLED_IN.get();
    rules_of(&score_with(&json!({
        "args": ["sh", "-c", format!("x \"{}\"", "$A".repeat(100))],
        "env": [{ "name": "A", "value": "a".repeat(4000) }],
    })));
    let filled_in = expand::tests::FILLED_IN.get() - before;
    // The command is looked at a few times.
    assert!(filled_in <= 4 * 5 * 4000, "{filled_in}");
}

#[test]
fn each_call_of_a_function_counts_as_what_is_read() {
    let body = "a ".repeat(3000);
    let calls = |times: usize| {
        script(&format!(
            "f() {{ : {body}; }}; {}mkdir /data/x; f() {{ mkdir /data/y; }}; f",
            "f; ".repeat(times)
        ))
    };
    assert_eq!(calls(1), ["mkdir", "mkdir"]);
    assert_eq!(calls(100), ["mkdir"]);
}

#[test]
fn names_of_rules_are_stable_words_and_each_is_told_once() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    assert!(
        names
            .iter()
            .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    );
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
    assert_eq!(script("mkdir /data/x; mkdir /data/x"), ["mkdir"]);
}

proptest! {
    #[test]
    fn no_script_makes_it_panic(text in "\\PC{0,200}") {
        script(&text);
        psql(&text);
    }

    #[test]
    fn no_script_like_text_makes_it_panic(
        text in "((mkdir|psql -c|sqlite3 f|if|then|fi|case|esac|do|done|exit|>>|<<EOF|EOF|\\||&&|;|\\(|\\)|\\{|\\}|\"|'|`|\\$\\(|\\$\\{X|\\}|/data/x|INSERT INTO t|VALUES \\(1\\)|\u{e9})[ \n]?){0,40}",
    ) {
        for warning in lint(&score(&["sh", "-c", &text])) {
            prop_assert!(warning.line >= 1 && warning.line <= text.lines().count().max(1) + 1);
            prop_assert!(RULES.iter().any(|rule| rule.name == warning.rule));
        }
    }

    #[test]
    fn no_sql_like_text_makes_it_panic(
        text in "((INSERT INTO|CREATE TABLE|IF NOT EXISTS|UPDATE t SET|ALTER TABLE t|DROP|ADD COLUMN|a = a \\+ 1|WHERE|ON CONFLICT|\\(|\\)|;|'|\"|--|/\\*|\\$\\$|,|t|1|\\\\d)[ \n]){0,30}",
    ) {
        psql(&text);
        rules_of(&score(&["mysql", "-e", &text]));
        rules_of(&score(&["sqlite3", "f", &text]));
    }
}
