//! The runbook has a row for each kind of cause, and for no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const RUNBOOK: &str = include_str!("../../../../docs/RUNBOOK.md");

/// Where the kinds come from: the agent, what it calls, and the reader of values that both sides use.
const SOURCES: [&str; 3] = [
    "device/agent/src",
    "device/host/src",
    "device/protocol/src/wire.rs",
];

/// A file without any of these makes no cause: its words are those of systemd, of podman, or of a bucket.
const MAKES_CAUSES: [&str; 4] = ["Cause::new(", "Failure::new(", "failure(", "fn kind("];

/// Words of the same form in files that make causes.
const NO_KINDS: [&str; 2] = [
    // systemd's result of a unit.
    "oom-kill",
    // An event of the history.
    "phase-changed",
];

/// A kind of one word: those in the sources are told from other words by their hyphen.
const ONE_WORD: &str = "unhealthy";

/// The first cells of the rows of a table with this head.
fn first_cells(head: &str) -> Vec<&'static str> {
    let mut lines = RUNBOOK.lines();
    let mut cells = Vec::new();
    while lines.any(|line| line.starts_with(head)) {
        let rows = lines.by_ref().skip(1).take_while(|line| line.starts_with('|'));
        cells.extend(rows.filter_map(|row| row.split('|').nth(1)));
    }
    assert!(!cells.is_empty(), "no table begins with {head:?}");
    cells
}

/// What stands between backticks.
fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// The kinds of causes in the tables of the runbook, of deployments and of devices.
pub(super) fn kinds() -> BTreeSet<String> {
    let cells = first_cells("| kind |").into_iter();
    cells.flat_map(quoted).map(str::to_owned).collect()
}

fn rust_files(path: &Path, found: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap().to_str().unwrap();
    if path.is_dir() && !["tests", "fakes"].contains(&name) {
        for entry in std::fs::read_dir(path).unwrap() {
            rust_files(&entry.unwrap().path(), found);
        }
    } else if path.is_file() && name.ends_with(".rs") && name != "tests.rs" {
        found.push(path.to_owned());
    }
}

fn is_kind(word: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    word == ONE_WORD || word.contains('-') && word.split('-').all(is_part) && !NO_KINDS.contains(&word)
}

/// The kinds in the production code of a file.
fn made_in(text: &str) -> BTreeSet<String> {
    let production = text.split("#[cfg(test)]").next().unwrap();
    if !MAKES_CAUSES.iter().any(|sign| production.contains(sign)) {
        return BTreeSet::new();
    }
    let code = production
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    // By line, so that a quote in one does not turn the strings of all others inside out.
    let words = code.flat_map(|line| line.split('"'));
    words.filter(|word| is_kind(word)).map(str::to_owned).collect()
}

/// All that a device may say.
fn made() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for source in SOURCES {
        rust_files(&root.join(source), &mut files);
    }
    let made: BTreeSet<_> = files
        .iter()
        .flat_map(|file| made_in(&std::fs::read_to_string(file).unwrap()))
        .collect();
    // One of each place, so that a search that finds nothing is found out.
    for kind in [
        "image-corrupt",
        "value-malformed",
        "name-reserved",
        "exited-early",
        "unit-missing",
        ONE_WORD,
    ] {
        assert!(
            made.contains(kind),
            "{kind} is not found in the sources: {made:?}"
        );
    }
    made
}

#[test]
fn every_kind_that_a_device_may_say_has_a_row() {
    let answers = first_cells("| answer |")
        .into_iter()
        .flat_map(quoted)
        .map(str::to_owned);
    let told: BTreeSet<_> = kinds().into_iter().chain(answers).collect();
    let missing: Vec<_> = made().into_iter().filter(|kind| !told.contains(kind)).collect();
    assert!(
        missing.is_empty(),
        "docs/RUNBOOK.md has no row for {missing:?}; a word that is no kind belongs to NO_KINDS"
    );
}

#[test]
fn every_row_is_of_a_kind_that_somebody_says() {
    let made = made();
    let operators = include_str!("../attention.rs");
    for cell in first_cells("| kind |") {
        for kind in quoted(cell) {
            let said = match cell.contains("(operator)") {
                true => operators.contains(&format!("\"{kind}\"")),
                false => made.contains(kind),
            };
            assert!(said, "nobody says {kind}, of which docs/RUNBOOK.md has a row");
        }
    }
}
