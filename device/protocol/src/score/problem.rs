//! One thing that is wrong with a specification, and where.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Path of the field, such as `spec.score.podman_v0.ports[0].host`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl FieldError {
    pub(crate) fn new(path: &str, problem: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    /// The same problem, seen from one level higher.
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        Self {
            path: format!("{parent}.{}", self.path),
            problem: self.problem,
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.problem)
    }
}

/// Most labels on one thing.
const MAX_LABELS: usize = 64;

/// Checks labels: keys `[A-Za-z0-9._/-]{1,63}`, values of at most 256 bytes, no control characters.
#[must_use]
pub fn label_problems(path: &str, labels: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut problems = Vec::new();
    if labels.len() > MAX_LABELS {
        problems.push(FieldError::new(
            path,
            format!("has {} entries: {MAX_LABELS} at most", labels.len()),
        ));
    }
    let key_char = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    for (key, value) in labels {
        let at = format!("{path}.{key}");
        if key.is_empty() || key.len() > 63 || !key.bytes().all(key_char) {
            problems.push(FieldError::new(
                &at,
                "has a key that is not 1 to 63 of A-Z, a-z, 0-9, '.', '_', '/', '-'",
            ));
        }
        if value.len() > 256 || value.chars().any(char::is_control) {
            problems.push(FieldError::new(
                &at,
                "has a value over 256 bytes or with control characters",
            ));
        }
    }
    problems
}
