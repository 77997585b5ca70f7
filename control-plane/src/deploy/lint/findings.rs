//! What was found so far, and what was allowed on purpose.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::rule::Rule;
use super::word::{HOLE, Spot};
use super::{MAX_READ, MAX_WARNINGS, Warning};

/// Longest text of a finding, in characters.
const MAX_FOUND: usize = 100;
/// What allows a rule, in a comment of a script or of SQL: `# fleet-lint: allow mkdir, append`.
const ALLOW: &str = "fleet-lint: allow ";

/// What may still be read of one score: its texts, each call of a function in them, and each value that is filled in.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    /// Takes that many bytes; whether they were there.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let read = self.0.get().saturating_add(bytes);
        self.0.set(read);
        read <= MAX_READ
    }
}

/// The warnings of one score.
#[derive(Debug, Default)]
pub(super) struct Findings {
    warnings: Vec<Warning>,
    budget: Budget,
    allowed: BTreeSet<(String, String)>,
}

impl Findings {
    /// Whether there is room to read another text of that many bytes.
    pub(super) fn may_read(&mut self, bytes: usize) -> bool {
        self.budget.take(bytes) && self.warnings.len() < MAX_WARNINGS
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// Takes up what the comments of a field's text allow.
    pub(super) fn allow(&mut self, field: &Spot, text: &str) {
        for line in text.lines() {
            let Some((before, names)) = line.split_once(ALLOW) else {
                continue;
            };
            if !before.trim_end().ends_with(['#', '-']) {
                continue;
            }
            for name in names.split([',', ' ', '\t']).filter(|name| !name.is_empty()) {
                self.allowed.insert((field.path.to_string(), name.to_owned()));
            }
        }
    }

    pub(super) fn add(&mut self, rule: &Rule, spot: &Spot, found: &str, place: Option<&str>) {
        let allowed = |name: &str| self.allowed.contains(&(spot.path.to_string(), name.to_owned()));
        if self.warnings.len() >= MAX_WARNINGS || allowed(rule.name) || allowed("all") {
            return;
        }
        let why = match place {
            Some(place) => format!("{} ({place})", rule.why),
            None => rule.why.to_owned(),
        };
        let warning = Warning {
            path: spot.path.to_string(),
            line: spot.line,
            rule: rule.name.to_owned(),
            found: on_one_line(found),
            why,
            fix: rule.fix.to_owned(),
        };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }
}

/// A text on one line, without control characters, cut.
fn on_one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let plain = words.join(" ").replace(HOLE, "…");
    let mut shown: String = plain
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_FOUND)
        .collect();
    if plain.chars().count() > MAX_FOUND {
        shown.push('…');
    }
    shown
}
