//! Against a `journalctl` that is a shell script.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::fixture;

const LIMITS: LogLimits = LogLimits {
    lines: 3,
    bytes: 1000,
    line: 100,
};

/// The script gets journalctl's arguments and notes them in the file `args`, a call a line.
fn journalctl(script: &str) -> (TempDir, Environment) {
    let (dir, environment) = fixture::podman(&format!("echo \"$*\" >> \"$HOME.args\"\n{script}"));
    std::os::unix::fs::symlink(dir.path().join("podman"), dir.path().join("journalctl")).unwrap();
    (dir, environment)
}

fn calls(dir: &TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(dir.path().join("home.args")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn line(run: char, text: &str) -> String {
    let id = run.to_string().repeat(64);
    format!(r#"{{"CONTAINER_ID_FULL":"{id}","PRIORITY":"6","MESSAGE":"{text}\n"}}"#)
}

fn created(run: char) -> String {
    let id = run.to_string().repeat(64);
    format!(r#"{{"PODMAN_EVENT":"create","PODMAN_ID":"{id}","MESSAGE":"m","__CURSOR":"s=1;i=2"}}"#)
}

fn texts(tail: &LogTail) -> Vec<&str> {
    tail.lines.iter().map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn no_more_is_read_than_is_needed_and_only_from_the_unit_itself() {
    let (dir, environment) = journalctl(&format!(
        "while :; do printf '%s\\n' '{}' || exit 1; done",
        line('a', "again")
    ));
    let began = Instant::now();
    let tail = newest(&environment, "fleet-web", LIMITS).await.unwrap();
    assert!(began.elapsed() < QUERY_WITHIN, "it was not waited for");
    assert_eq!((texts(&tail), tail.complete), (vec!["again"; 3], false));
    let calls = calls(&dir);
    let [call] = &calls[..] else { panic!("{calls:?}") };
    let (own, podmans) = call.split_once(" + ").unwrap();
    for term in [own, podmans] {
        assert!(term.contains("_SYSTEMD_USER_UNIT=fleet-web.service"), "{term}");
        assert!(term.contains(&format!("_UID={}", geteuid())), "{term}");
    }
    assert!(
        own.contains("--all --reverse") && own.ends_with("CONTAINER_NAME=fleet-web"),
        "{own}"
    );
    assert!(
        podmans.ends_with("PODMAN_NAME=fleet-web PODMAN_EVENT=create"),
        "{podmans}"
    );
}

#[tokio::test]
async fn the_run_before_is_read_from_where_the_newest_one_was_made() {
    let (dir, environment) = journalctl(&format!(
        "case \"$*\" in *--lines=1*) printf '%s\\n' '{made}';; *) printf '%s\\n' '{made}' '{old}' '{begun}';; esac",
        made = created('b'),
        old = line('a', "old"),
        begun = created('a'),
    ));
    let tail = previous(&environment, "fleet-web", LIMITS).await.unwrap();
    assert_eq!((texts(&tail), tail.complete), (vec!["old"], true));
    assert!(calls(&dir)[1].contains("--cursor=s=1;i=2"));
}

#[tokio::test]
async fn an_empty_journal_has_no_run_and_says_whether_the_unit_ever_started() {
    let (_dir, environment) = journalctl("");
    assert_eq!(
        previous(&environment, "fleet-web", LIMITS).await.unwrap(),
        LogTail::default()
    );
    assert_eq!(
        newest(&environment, "fleet-web", LIMITS).await.unwrap(),
        LogTail::default()
    );
    let (dir, environment) = journalctl("case \"$*\" in *MESSAGE_ID=*) echo '{}';; esac");
    let tail = newest(&environment, "fleet-web", LIMITS).await.unwrap();
    assert!(tail.complete && tail.run.is_none());
    assert!(calls(&dir)[1].contains("_SYSTEMD_USER_UNIT=init.scope USER_UNIT=fleet-web.service"));
}

#[tokio::test]
async fn a_failure_is_told_and_what_was_read_before_it_is_kept() {
    let (_dir, environment) = journalctl("echo 'no journal' >&2; exit 1");
    let error = newest(&environment, "fleet-web", LIMITS).await.unwrap_err();
    assert!(error.0.to_string().ends_with("no journal"), "{}", error.0);
    assert!(previous(&environment, "fleet-web", LIMITS).await.is_err());
    let (_dir, environment) = journalctl(&format!("printf '%s\\n' '{}'; exit 1", line('a', "one")));
    let tail = newest(&environment, "fleet-web", LIMITS).await.unwrap();
    assert_eq!((texts(&tail), tail.complete), (vec!["one"], false));
}

#[tokio::test]
async fn a_journal_that_hangs_is_given_up_with_what_it_gave() {
    let (_dir, environment) = journalctl(&format!(
        "printf '%s\\n' '{}'; /usr/bin/sleep 60",
        line('a', "one")
    ));
    let began = Instant::now();
    let tail = newest(&environment, "fleet-web", LIMITS).await.unwrap();
    assert_eq!((texts(&tail), tail.complete), (vec!["one"], false));
    assert!(began.elapsed() < QUERY_WITHIN + Duration::from_secs(2));
}

#[tokio::test]
async fn the_last_words_are_the_newest_lines_the_oldest_first() {
    let (dir, environment) = journalctl(&format!(
        "printf '%s\\n' '{}' '{}' '{}' '{}'",
        line('a', "three"),
        created('a'),
        line('a', "two"),
        line('a', "one"),
    ));
    let run = InvocationId::parse(&"ab".repeat(16)).unwrap();
    assert_eq!(last_words(&environment, &run, 2).await.unwrap(), ["two", "three"]);
    assert!(calls(&dir)[0].contains(&format!(
        "_SYSTEMD_INVOCATION_ID={run} + USER_INVOCATION_ID={run}"
    )));
}

/// What systemd says of a run.
fn told_of(run: &InvocationId, text: &str) -> String {
    format!(r#"{{"USER_INVOCATION_ID":"{run}","MESSAGE":"{text}"}}"#)
}

#[tokio::test]
async fn what_a_run_said_itself_is_not_crowded_out_by_what_systemd_says_of_its_end() {
    let run = InvocationId::parse(&"ab".repeat(16)).unwrap();
    let mut newest_first = vec![told_of(&run, "failed")];
    newest_first.extend((0..20).map(|n| told_of(&run, &format!("killing {n}"))));
    newest_first.extend([
        "not json".to_owned(),
        line('a', "no such program"),
        told_of(&run, "starting"),
    ]);
    let (_dir, environment) = journalctl(&format!("printf '%s\\n' '{}'", newest_first.join("' '")));
    assert_eq!(
        last_words(&environment, &run, 3).await.unwrap(),
        ["no such program", "killing 0", "failed"]
    );
}

#[tokio::test]
async fn the_words_that_were_read_before_the_journal_failed_are_given() {
    let run = InvocationId::parse(&"ab".repeat(16)).unwrap();
    let (_dir, environment) = journalctl(&format!("printf '%s\\n' '{}'; exit 1", line('a', "listening")));
    assert_eq!(last_words(&environment, &run, 3).await.unwrap(), ["listening"]);
    let (_dir, environment) = journalctl("exit 1");
    assert!(last_words(&environment, &run, 3).await.is_err());
}

#[test]
fn words_are_taken_from_text_and_bytes_and_what_podman_prints_for_itself_is_left_out() {
    let words = |json: &str| words(&Entry::read(json.as_bytes()).unwrap());
    assert_eq!(
        words(r#"{"MESSAGE":"listening on 8080\n","_PID":"1"}"#).unwrap(),
        "listening on 8080"
    );
    assert_eq!(
        words(r#"{"MESSAGE":[27,91,51,49,109,111,110]}"#).unwrap(),
        "[31mon"
    );
    assert_eq!(words(r#"{"MESSAGE":null}"#), None);
    assert_eq!(words(r#"{"MESSAGE":"x","PODMAN_EVENT":"start"}"#), None);
    let id = "20d3cba091d190e5f2a437e5cc292cd20d13985fe893fc527e476a740e09ebd8";
    assert_eq!(words(&format!(r#"{{"MESSAGE":"{id}"}}"#)), None);
    let long = words(&format!(r#"{{"MESSAGE":"{}"}}"#, "é".repeat(600))).unwrap();
    assert!(long.len() <= MAX_WORDS);
}
