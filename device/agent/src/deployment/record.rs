//! The last desired state on disk, with what is needed to act on it without a network.

use std::collections::{BTreeMap, BTreeSet};

use fleet_host::quadlet;
use fleet_machine::deployment::{Failure, Goal, Retry, State, Unit};
use fleet_protocol::wire::{self, DecodeError};
use fleet_protocol::{DeploymentName, DesiredState, PodmanV0Score, Score};
use serde::{Deserialize, Serialize};

/// Where and when a key was seen: the store's creation time names the store, the sequence the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Creation time of the bucket's stream, as the server tells it.
    pub(crate) store: String,
    /// Sequence of the value in it.
    pub(crate) sequence: u64,
}

impl Seen {
    /// Whether a deletion seen there is older than this value. In one store a value that is newer than the
    /// deletion means that the store was restored from a backup: what it says was overtaken. Another store's
    /// sequences say nothing about this one's, and its deletion is somebody's wish.
    pub(crate) fn overtakes(&self, deletion: &Self) -> bool {
        self.store == deletion.store && deletion.sequence <= self.sequence
    }
}

/// What was last asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Latest {
    /// This, which can be run.
    Usable {
        /// Its generation.
        generation: u64,
        /// Hash of its score; the score is in [`Record::scores`].
        spec: String,
    },
    /// Something that cannot be run.
    Rejected {
        /// Its generation, as far as it could be read.
        generation: Option<u64>,
        /// Why.
        failure: Failure,
    },
}

/// The record on the shelf `Desired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where the latest value was seen.
    pub(crate) seen: Seen,
    /// What it was.
    pub(crate) latest: Latest,
    /// Scores by hash: the latest one, the one that is installed, and the one that runs.
    pub(crate) scores: BTreeMap<String, PodmanV0Score>,
    /// Volumes that any score so far wanted to outlive the deployment.
    #[serde(default)]
    pub(crate) kept: BTreeSet<String>,
}

impl Record {
    /// Takes a value in.
    pub(crate) fn take(&mut self, seen: Seen, value: Value) {
        self.seen = seen;
        self.latest = match value {
            Value::Usable { generation, score } => {
                let spec = hash(&score);
                self.kept.extend(quadlet::kept_volumes(&score));
                self.scores.insert(spec.clone(), *score);
                Latest::Usable { generation, spec }
            }
            Value::Rejected { generation, failure } => Latest::Rejected { generation, failure },
        };
    }

    pub(crate) fn new(seen: Seen, value: Value) -> Self {
        let latest = Latest::Usable {
            generation: 0,
            spec: String::new(),
        };
        let mut record = Self {
            seen: Seen::default(),
            latest,
            scores: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        record.take(seen, value);
        record
    }

    /// Whether it was made of this very value, seen there. A store that was restored from a backup gives a sequence that
    /// was seen before to another value, so the place alone says nothing.
    pub(crate) fn is_of(&self, seen: &Seen, value: &Value) -> bool {
        let same = match (&self.latest, value) {
            (
                Latest::Usable { generation, spec },
                Value::Usable {
                    generation: of,
                    score,
                },
            ) => generation == of && *spec == hash(score),
            (
                Latest::Rejected { generation, failure },
                Value::Rejected {
                    generation: of,
                    failure: why,
                },
            ) => generation == of && failure == why,
            (Latest::Usable { .. }, Value::Rejected { .. })
            | (Latest::Rejected { .. }, Value::Usable { .. }) => false,
        };
        same && self.seen == *seen
    }

    /// Drops scores that nothing refers to any more; whether any was dropped.
    pub(crate) fn tidy(&mut self, state: &State) -> bool {
        let before = self.scores.len();
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        if let Latest::Usable { spec, .. } = &self.latest {
            wanted.insert(spec);
        }
        wanted.extend(state.unit.installed().map(|of| of.spec.as_str()));
        // How they may be stopped is in their scores.
        wanted.extend(state.running.as_ref().map(|running| running.of.spec.as_str()));
        wanted.extend(state.older.as_ref().map(|older| older.of.spec.as_str()));
        if let Unit::Removing { was: Some(spec), .. } = &state.unit {
            wanted.insert(spec);
        }
        if let Goal::Fetching { target, .. }
        | Goal::FetchFailed { target, .. }
        | Goal::AfterRemoval { target } = &state.goal
        {
            wanted.insert(&target.spec);
        }
        self.scores.retain(|spec, _| wanted.contains(spec.as_str()));
        self.scores.len() != before
    }

    /// Volumes that outlive the deployment; a record of an older agent has them in its scores alone.
    pub(crate) fn kept_volumes(&self) -> BTreeSet<String> {
        let of_scores = self.scores.values().flat_map(quadlet::kept_volumes);
        of_scores.chain(self.kept.iter().cloned()).collect()
    }
}

/// A value of `desired-state`, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// It can be run.
    Usable {
        /// Its generation.
        generation: u64,
        /// What to run.
        score: Box<PodmanV0Score>,
    },
    /// It cannot.
    Rejected {
        /// Its generation, as far as it could be read.
        generation: Option<u64>,
        /// Why.
        failure: Failure,
    },
}

/// Judges the bytes of a key.
pub(crate) fn judge(name: &DeploymentName, bytes: &[u8]) -> Value {
    let desired: DesiredState = match wire::decode(bytes) {
        Ok(desired) => desired,
        Err(error) => return rejected(generation_of(bytes, &error), error.kind(), error.detail()),
    };
    let generation = Some(desired.generation);
    let problems = desired.score.problems();
    if !problems.is_empty() {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return rejected(generation, "spec-invalid", words.join("; "));
    }
    let Score::PodmanV0(score) = desired.score;
    match quadlet::render(name, &score, &quadlet::Digests::new()) {
        Ok(_) => Value::Usable {
            generation: desired.generation,
            score,
        },
        Err(error) => rejected(generation, error.kind(), error.to_string()),
    }
}

fn rejected(generation: Option<u64>, kind: &str, detail: String) -> Value {
    let failure = Failure::new(kind, detail, Retry::Never);
    Value::Rejected { generation, failure }
}

/// The generation of a value that is not understood, if it says one; never of one that is too large.
fn generation_of(bytes: &[u8], error: &DecodeError) -> Option<u64> {
    #[derive(Deserialize)]
    struct GenerationOnly {
        generation: u64,
    }
    match error {
        DecodeError::TooLarge(_) => None,
        _ => serde_json::from_slice::<GenerationOnly>(bytes)
            .ok()
            .map(|only| only.generation),
    }
}

/// Hash of the bytes of a key.
pub(crate) fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut print = [0; 32];
    print.copy_from_slice(digest.as_ref());
    print
}

/// Hash of a score's canonical bytes: equal hash, equal unit.
fn hash(score: &PodmanV0Score) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &wire::encode(score));
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(bytes: &[u8]) -> (Option<u64>, Failure) {
        match judge(&"web".parse().unwrap(), bytes) {
            Value::Rejected { generation, failure } => (generation, failure),
            Value::Usable { .. } => panic!("{} is usable", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn only_a_deletion_that_is_older_in_the_same_store_is_overtaken() {
        let seen = |store: &str, sequence| Seen {
            store: store.to_owned(),
            sequence,
        };
        let value = seen("a", 7);
        assert!(value.overtakes(&seen("a", 6)));
        assert!(!value.overtakes(&seen("a", 8)));
        assert!(!value.overtakes(&seen("b", 6)));
    }

    #[test]
    fn a_good_value_is_usable_and_its_hash_is_that_of_the_score_alone() {
        let value = |generation: u64| {
            let text = format!(
                r#"{{"protocol":0,"generation":{generation},"score":{{"podman_v0":{{"image":"r.io/a:1"}}}}}}"#
            );
            judge(&"web".parse().unwrap(), text.as_bytes())
        };
        let spec = |value| match Record::new(Seen::default(), value).latest {
            Latest::Usable { spec, .. } => spec,
            Latest::Rejected { failure, .. } => panic!("{failure:?}"),
        };
        assert_eq!(spec(value(1)), spec(value(2)));
        assert_eq!(spec(value(1)).len(), 64);
    }

    #[test]
    fn what_cannot_be_run_is_told_with_its_kind_and_field() {
        let huge = vec![b' '; wire::MAX_VALUE_BYTES + 1];
        assert_eq!(rejection(&huge).1.kind, "value-too-large");
        assert_eq!(rejection(b"{\"generation\":").1.kind, "value-malformed");
        assert_eq!(rejection(b"\xff\x00").1.kind, "value-malformed");
        let newer = rejection(br#"{"protocol":9,"generation":4,"score":{"podman_v9":{}}}"#);
        assert_eq!(
            (newer.0, newer.1.kind.as_str()),
            (Some(4), "value-of-newer-version")
        );
        let unknown =
            br#"{"protocol":0,"generation":4,"score":{"podman_v0":{"image":"r.io/a:1","root":true}}}"#;
        let (generation, failure) = rejection(unknown);
        assert_eq!((generation, failure.kind.as_str()), (Some(4), "value-malformed"));
        assert!(failure.detail.contains("root"), "{}", failure.detail);
        let port = br#"{"protocol":0,"generation":4,"score":{"podman_v0":{"image":"r.io/a:1","ports":[{"host":80,"container":80}]}}}"#;
        let (_, failure) = rejection(port);
        assert_eq!(failure.kind, "spec-invalid");
        assert!(
            failure.detail.contains("score.podman_v0.ports[0].host"),
            "{}",
            failure.detail
        );
    }

    #[test]
    fn a_name_that_belongs_to_the_platform_is_refused() {
        let text = br#"{"protocol":0,"generation":1,"score":{"podman_v0":{"image":"r.io/a:1"}}}"#;
        let value = judge(&"agent".parse().unwrap(), text);
        assert!(matches!(value, Value::Rejected { .. }));
    }
}
