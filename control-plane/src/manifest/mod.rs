//! Manifests: what a person writes to say what runs where. YAML in the Kubernetes manner.
//!
//! ```yaml
//! apiVersion: fleet/v0
//! kind: Deployment
//! metadata:
//!   name: web
//! spec:
//!   selector: { labels: { site: lyon } }
//!   score:
//!     podman_v0:
//!       image: docker.io/library/nginx:1.27
//! ```
//!
//! Entry points: [`read()`] takes the bytes of one file, which may hold several documents; [`render`]
//! writes one back. Everything that is wrong is found before anything is sent, and each error names the
//! file, the line, the column and the field, with what would be right. What is allowed but will not bear a second run
//! comes along as warnings ([`crate::deploy::lint`]).
//!
//! Input is never trusted: its size, depth, number of nodes and expansion of aliases are limited, and no
//! input panics.

mod error;
mod explain;
mod node;
mod read;
mod warning;

use std::collections::BTreeMap;

use fleet_protocol::{DeploymentName, DeploymentSpec};
use serde::{Deserialize, Serialize};

pub use error::{ManifestError, ManifestErrors};
pub use read::{MAX_DOCUMENTS, MAX_MANIFEST_BYTES, read, refuse_repeated};
pub use warning::ManifestWarning;

/// The `apiVersion` this build reads and writes.
pub const API_VERSION: &str = "fleet/v0";
/// The only `kind` there is so far.
pub const KIND: &str = "Deployment";

/// One object of a manifest file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where it was written.
    pub origin: Origin,
    /// Name and labels.
    pub metadata: Metadata,
    /// What to run, and where; free of problems.
    pub spec: DeploymentSpec,
    /// What the lint says of it: allowed, and probably not meant.
    pub warnings: Vec<ManifestWarning>,
}

/// Where an object was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as it was named on the command line.
    pub file: String,
    /// Line of the object's first field, from 1.
    pub line: usize,
}

/// Name and labels of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Names the object in the fleet.
    pub name: DeploymentName,
    /// Labels of the object itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Written by `fleetctl get -o yaml`; ignored when read, so that its output can be edited and applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// An object as it is written, with what the fleet says about it (`S`) if anything.
#[derive(Debug, Serialize)]
struct Written<'a, S> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a Metadata,
    spec: &'a DeploymentSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<S>,
}

/// Writes an object as a manifest. A `status` is for people and programs that read; [`read()`] skips it.
#[must_use]
pub fn to_yaml<S: Serialize>(metadata: &Metadata, spec: &DeploymentSpec, status: Option<S>) -> String {
    render(&Written {
        api_version: API_VERSION,
        kind: KIND,
        metadata,
        spec,
        status,
    })
}

/// Writes anything with string keys as YAML, fields in their declared order, ending in a line feed.
///
/// # Panics
/// When the type's own `Serialize` fails, which those of this crate and of the protocol do not.
#[must_use]
pub fn render<T: Serialize>(value: &T) -> String {
    let mut text = serde_saphyr::to_string(value).expect("wire types and views serialise");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
