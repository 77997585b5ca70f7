//! The diagram in `docs/deployment-states.md` is what `step` does, edge by edge.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it is"
)]

mod common;

use std::collections::{BTreeSet, VecDeque};

use common::{alphabet, event};
use fleet_machine::deployment::{Fact, Failure, Goal, Stage, State, Unit, step};

/// Long after everything that began at 0, in milliseconds.
const LATER: i64 = 1_000_000;

type Edge = (String, String, String);

/// Every change of stage that some sequence of facts can cause.
fn edges_of_step() -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([State::default()]);
    while let Some(state) = queue.pop_front() {
        for fact in alphabet() {
            let name = fact.name();
            // Timers fire after everything has settled.
            let at = if matches!(fact, Fact::RetryDue(_)) {
                LATER
            } else {
                0
            };
            let Ok((mut after, _)) = step(&state, event(at, fact)) else {
                continue;
            };
            let (from, to) = (state.stage(), after.stage());
            if from != to {
                edges.insert((from.to_string(), name.to_owned(), to.to_string()));
            }
            forget_what_decides_nothing(&mut after);
            if seen.insert(format!("{after:?}")) {
                queue.push_back(after);
            }
        }
    }
    edges
}

/// History, counters, times and words do not decide the way: without them the states are finite, and few.
fn forget_what_decides_nothing(state: &mut State) {
    state.marks.clear();
    (state.since, state.cutover) = (0, None);
    state.pull_tries = 0;
    state.unit_tries = state.unit_tries.min(1);
    let plain = |failure: &mut Failure| *failure = common::failure("any", failure.retry);
    state.unproven.iter_mut().chain(&mut state.drift).for_each(plain);
    if let Goal::FetchFailed {
        failure, next_try, ..
    } = &mut state.goal
    {
        plain(failure);
        *next_try = next_try.map(|_| 0);
    }
    match &mut state.unit {
        Unit::Starting { from, init, .. } => (*from, *init) = (None, None),
        Unit::Removing {
            failure,
            next_try,
            was,
        } => {
            failure.iter_mut().for_each(plain);
            (*next_try, *was) = (next_try.map(|_| 0), None);
        }
        Unit::StopIgnored {
            failure, next_try, ..
        }
        | Unit::InstallFailed {
            failure, next_try, ..
        }
        | Unit::Down {
            failure, next_try, ..
        } => {
            plain(failure);
            *next_try = next_try.map(|_| 0);
        }
        Unit::None | Unit::Installing { .. } | Unit::Up { .. } | Unit::Finished { .. } => {}
    }
}

/// Lines such as `Pulling --> PullFailed: pull-failed, pulled`; `[*]` is `Absent`.
fn edges_of_diagram(text: &str) -> BTreeSet<Edge> {
    let name = |word: &str| match word.trim() {
        "[*]" => "Absent".to_owned(),
        word => word.to_owned(),
    };
    text.lines()
        .filter_map(|line| line.split_once("-->"))
        .flat_map(|(from, rest)| {
            let (to, facts) = rest.split_once(':').expect("an edge names its facts");
            facts
                .split(',')
                .map(|fact| (name(from), fact.trim().to_owned(), name(to)))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The diagram as it ought to be, to be pasted.
fn render(edges: &BTreeSet<Edge>) -> String {
    let order = |word: &str| Stage::ALL.iter().position(|stage| stage.as_str() == word);
    let pairs: BTreeSet<_> = edges
        .iter()
        .map(|(from, _, to)| (order(from), order(to), from, to))
        .collect();
    let shown = |word: &str| match word {
        "Absent" => "[*]".to_owned(),
        word => word.to_owned(),
    };
    pairs
        .into_iter()
        .map(|(_, _, from, to)| {
            let facts: Vec<&str> = edges
                .iter()
                .filter(|edge| &edge.0 == from && &edge.2 == to)
                .map(|edge| edge.1.as_str())
                .collect();
            format!("    {} --> {}: {}\n", shown(from), shown(to), facts.join(", "))
        })
        .collect()
}

#[test]
fn the_diagram_shows_every_change_of_stage_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/deployment-states.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (drawn, real) = (edges_of_diagram(&text), edges_of_step());
    assert!(
        drawn == real,
        "draw this in docs/deployment-states.md:\n{}",
        render(&real)
    );
}

#[test]
fn every_stage_can_be_reached() {
    let reached: BTreeSet<String> = edges_of_step().into_iter().map(|edge| edge.2).collect();
    assert_eq!(reached.len(), Stage::ALL.len());
}
