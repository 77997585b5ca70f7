//! Bytes to manifests.

use std::collections::BTreeMap;

use fleet_protocol::DeploymentSpec;
use fleet_protocol::deployment::name_problem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_path_to_error::Segment;
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use super::error::{ManifestError, ManifestErrors};
use super::explain::explain;
use super::node::{Content, Node, Place};
use super::warning;
use super::{API_VERSION, KIND, Manifest, ManifestWarning, Metadata, Origin};
use crate::deploy::lint::{Warning, lint_score};

/// Largest manifest file, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// Most documents in one file.
pub const MAX_DOCUMENTS: usize = 1000;
/// Deepest nesting: a manifest needs 8.
const MAX_DEPTH: usize = 24;
/// Most nodes in one file, aliases expanded.
const MAX_NODES: usize = 200_000;
/// Most nodes that aliases may add: anchors save typing, they do not multiply.
const MAX_FROM_ALIASES: usize = 20_000;

/// Reads every object of one file. `file` is its name in error messages.
///
/// # Errors
/// [`ManifestErrors`] with everything that is wrong: in YAML itself (the first fault ends the reading),
/// in the shape of a document (the first fault of each), and in its values (all of them).
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Manifest>, ManifestErrors> {
    let text = text_of(file, bytes)?;
    let source = Source {
        file,
        lines: text.lines().collect(),
    };
    let documents = parse(text)
        .map_err(|(place, problem, help)| ManifestErrors(vec![source.error(place, "", &problem, help)]))?;
    let mut manifests = Vec::new();
    let mut errors = Vec::new();
    for document in documents.iter().filter(|d| !is_empty(d)) {
        match source.manifest(document) {
            Ok(manifest) => manifests.push(manifest),
            Err(found) => errors.extend(found),
        }
    }
    if manifests.is_empty() && errors.is_empty() {
        let help = Some(format!(
            "begin with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
        ));
        errors.push(source.error(Place::START, "", "holds no object", help));
    }
    if errors.is_empty() {
        Ok(manifests)
    } else {
        Err(ManifestErrors(errors))
    }
}

/// Refuses two objects of the same name: the second would silently undo the first.
///
/// # Errors
/// [`ManifestErrors`] with each repetition.
pub fn refuse_repeated(manifests: &[Manifest]) -> Result<(), ManifestErrors> {
    let mut seen: BTreeMap<_, &Origin> = BTreeMap::new();
    let mut errors = Vec::new();
    for manifest in manifests {
        let name = &manifest.metadata.name;
        match seen.get(name) {
            None => {
                seen.insert(name, &manifest.origin);
            }
            Some(first) => errors.push(ManifestError {
                file: manifest.origin.file.clone(),
                line: manifest.origin.line,
                column: 1,
                width: 1,
                path: "metadata.name".to_owned(),
                problem: format!(
                    "is `{name}` a second time: first in {}:{}",
                    first.file, first.line
                ),
                help: Some("rename or remove one of them".to_owned()),
                source_line: String::new(),
            }),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ManifestErrors(errors))
    }
}

fn text_of<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, ManifestErrors> {
    let refuse = |place, problem: String| {
        let source = Source {
            file,
            lines: Vec::new(),
        };
        ManifestErrors(vec![source.error(place, "", &problem, None)])
    };
    if bytes.len() > MAX_MANIFEST_BYTES {
        let problem = format!("the file is {} bytes: {MAX_MANIFEST_BYTES} at most", bytes.len());
        return Err(refuse(Place::START, problem));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let place = Place {
            line,
            column,
            width: 1,
        };
        refuse(place, "the file is not UTF-8 text here".to_owned())
    })
}

type Fault = (Place, String, Option<String>);

fn parse(text: &str) -> Result<Vec<Node>, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_documents: MAX_DOCUMENTS,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_FROM_ALIASES,
            max_replay_stack_depth: 8,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::from);
        let message = UserMessageFormatter.format_message(error.without_snippet());
        let message: String = message.chars().filter(|c| !c.is_control()).collect();
        let tab = message.contains("found a tab") || message.contains("tab character");
        let help = tab.then(|| "indent with spaces: YAML takes no tabs there".to_owned());
        (
            Place { width: 1, ..place },
            format!("not valid YAML: {message}"),
            help,
        )
    })
}

fn is_empty(document: &Node) -> bool {
    matches!(document.content, Content::Scalar(Value::Null))
}

/// A document as serde sees it. `status` is what `get -o yaml` adds; it is not ours to set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: DeploymentSpec,
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

/// The file that is being read.
struct Source<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
}

impl Source<'_> {
    fn error(&self, place: Place, path: &str, problem: &str, help: Option<String>) -> ManifestError {
        let source_line = place.line.checked_sub(1).and_then(|i| self.lines.get(i));
        ManifestError {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            width: place.width,
            path: path.to_owned(),
            problem: problem.to_owned(),
            help,
            source_line: source_line.copied().unwrap_or_default().to_owned(),
        }
    }

    fn warning(&self, node: &Node, warning: Warning) -> ManifestWarning {
        let scalar = value_place(node, &warning.path);
        let place = warning::place(&warning, scalar, &self.lines);
        let source_line = place.line.checked_sub(1).and_then(|i| self.lines.get(i));
        ManifestWarning {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            width: place.width,
            source_line: source_line.copied().unwrap_or_default().to_owned(),
            warning,
        }
    }

    fn manifest(&self, node: &Node) -> Result<Manifest, Vec<ManifestError>> {
        self.check_kind(node)?;
        let json = node.to_json();
        let document: Document = serde_path_to_error::deserialize(&json)
            .map_err(|error| vec![self.shape_error(node, &json, error)])?;
        let mut problems = document.spec.problems();
        problems.extend(fleet_protocol::score::label_problems(
            "metadata.labels",
            &document.metadata.labels,
        ));
        problems.extend(name_problem(&document.metadata.name));
        if !problems.is_empty() {
            let errors = problems
                .iter()
                .map(|p| self.error(value_place(node, &p.path), &p.path, &p.problem, None));
            return Err(errors.collect());
        }
        let warnings = lint_score(&document.spec.score)
            .into_iter()
            .map(|warning| self.warning(node, warning.under("spec")));
        Ok(Manifest {
            origin: Origin {
                file: self.file.to_owned(),
                line: node.place.line,
            },
            warnings: warnings.collect(),
            metadata: document.metadata,
            spec: document.spec,
        })
    }

    /// Kind and version first: with another kind, every other message would mislead.
    fn check_kind(&self, node: &Node) -> Result<(), Vec<ManifestError>> {
        if !matches!(node.content, Content::Map(_)) {
            let help = Some(format!(
                "begin with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
            ));
            return Err(vec![self.error(node.place, "", "is not an object", help)]);
        }
        for (field, right) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            let help = Some(format!("write `{field}: {right}`"));
            match node.get(field) {
                None => return Err(vec![self.error(node.place, field, "is missing", help)]),
                Some(entry) if entry.value.to_json() != right => {
                    let problem = format!("is {}, which this build does not know", entry.value.to_json());
                    return Err(vec![self.error(entry.value.place, field, &problem, help)]);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn shape_error(
        &self,
        node: &Node,
        json: &Value,
        error: serde_path_to_error::Error<serde_json::Error>,
    ) -> ManifestError {
        let path = path_text(error.path());
        let message = error.inner().to_string();
        let found = node.find(&path);
        let here = if path.is_empty() {
            json.clone()
        } else {
            found.node.to_json()
        };
        let explained = explain(&message, &here);
        if let Some(key) = explained.unknown_key {
            return self.unknown_key(node, &path, &key, &explained.problem, explained.help);
        }
        let lacks = explained.problem.starts_with("lacks ");
        let place = match found.key {
            // An entry of a list has no key of its own.
            Some(_) if lacks && path.ends_with(']') => Place {
                width: 1,
                ..found.node.place
            },
            Some(key) if lacks || !found.whole => key,
            _ => found.node.place,
        };
        let path = if path.is_empty() {
            "the document".to_owned()
        } else {
            path
        };
        self.error(place, &path, &explained.problem, explained.help)
    }

    /// serde may report the path with or without the unknown key at its end.
    fn unknown_key(
        &self,
        node: &Node,
        path: &str,
        key: &str,
        problem: &str,
        help: Option<String>,
    ) -> ManifestError {
        let parent = path
            .strip_suffix(key)
            .filter(|_| node.find(path).whole)
            .map_or(path, |p| p.trim_end_matches('.'));
        let found = node.find(parent);
        let place = found
            .node
            .get(key)
            .map_or(found.node.place, |entry| entry.key_place);
        let full = if parent.is_empty() {
            key.to_owned()
        } else {
            format!("{parent}.{key}")
        };
        self.error(place, &full, problem, help)
    }
}

/// Where a problem is shown: at the value, or at the deepest key above it when it is absent, a map or a
/// list (which may span lines).
fn value_place(node: &Node, path: &str) -> Place {
    let found = node.find(path);
    match (&found.node.content, found.key) {
        (Content::Scalar(_), _) if found.whole => found.node.place,
        (_, Some(key)) => key,
        _ => found.node.place,
    }
}

fn path_text(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    text
}
