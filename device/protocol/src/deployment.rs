//! What the customer asked for, and what one device was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentName, DeviceId};
use crate::score::{FieldError, Score, label_problems};
use crate::wire::versioned;

/// Names that no deployment may have: on a device it becomes the unit `fleet-<name>.service`, and these units are the
/// platform's own.
pub const RESERVED_NAMES: [&str; 3] = ["agent", "first-boot", "hostd"];

/// What is wrong with a deployment's name beyond its form. The path starts at `metadata`.
#[must_use]
pub fn name_problem(name: &DeploymentName) -> Option<FieldError> {
    let reserved = RESERVED_NAMES.contains(&name.as_str());
    reserved.then(|| {
        let problem = format!(
            "is {name:?}, which names a unit of the platform itself: choose another name",
            name = name.as_str()
        );
        FieldError::new("metadata.name", problem)
    })
}

/// A deployment as it lies in `deployments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Protocol version of the writer.
    #[serde(default)]
    pub protocol: u32,
    /// Its name, also its key.
    pub name: DeploymentName,
    /// Labels of the deployment itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Rises by one with each change of `spec`; set by the operator.
    pub generation: u64,
    /// What to run, and where.
    pub spec: DeploymentSpec,
}
versioned!(Deployment);

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// Which devices.
    pub selector: Selector,
    /// What runs there.
    pub score: Score,
}

impl DeploymentSpec {
    /// Everything that is wrong with it; empty is valid. Paths start at `spec`.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = self.selector.problems();
        problems.extend(self.score.problems());
        problems.into_iter().map(|p| p.under("spec")).collect()
    }
}

/// Which devices. All given parts must match; one that is wholly empty is refused, since it is more
/// often a slip than the wish to hit the whole fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Labels that a device must carry, each with this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Devices by id; any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
    /// Every device of the fleet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Selector {
    /// Whether a device with these labels is selected.
    #[must_use]
    pub fn selects(&self, device: &DeviceId, labels: &BTreeMap<String, String>) -> bool {
        if self.all {
            return true;
        }
        if self.labels.is_empty() && self.devices.is_empty() {
            return false;
        }
        let by_id = self.devices.is_empty() || self.devices.contains(device);
        by_id
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    fn problems(&self) -> Vec<FieldError> {
        let mut problems = label_problems("selector.labels", &self.labels);
        problems.extend(self.shape_problem());
        problems
    }

    fn shape_problem(&self) -> Option<FieldError> {
        let given = !self.labels.is_empty() || !self.devices.is_empty();
        match (self.all, given) {
            (false, false) => Some(FieldError::new(
                "selector",
                "selects nothing: give labels, devices, or `all: true` for the whole fleet",
            )),
            (true, true) => Some(FieldError::new(
                "selector",
                "has `all: true` beside labels or devices: give one of them",
            )),
            _ => None,
        }
    }
}

/// A deployment resolved for one device, as it lies in `desired-state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Protocol version of the writer.
    pub protocol: u32,
    /// The deployment's generation that this was resolved from.
    pub generation: u64,
    /// What to run.
    pub score: Score,
}
versioned!(DesiredState);

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str) -> Selector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn labels_and_ids_must_both_match() {
        let labels = BTreeMap::from([("site".to_owned(), "lyon".to_owned())]);
        let (pi1, pi2): (DeviceId, DeviceId) = ("pi-1".parse().unwrap(), "pi-2".parse().unwrap());
        assert!(selector(r#"{"labels":{"site":"lyon"}}"#).selects(&pi1, &labels));
        assert!(!selector(r#"{"labels":{"site":"nice"}}"#).selects(&pi1, &labels));
        assert!(selector(r#"{"devices":["pi-1"]}"#).selects(&pi1, &labels));
        assert!(!selector(r#"{"devices":["pi-1"],"labels":{"site":"lyon"}}"#).selects(&pi2, &labels));
        assert!(selector(r#"{"all":true}"#).selects(&pi2, &BTreeMap::new()));
    }

    #[test]
    fn a_label_that_no_device_could_carry_is_refused() {
        let problems = selector(r#"{"labels":{"si te":"lyon"}}"#).problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "selector.labels.si te");
    }

    #[test]
    fn a_name_of_the_platform_is_refused() {
        assert!(name_problem(&"agent".parse().unwrap()).is_some());
        assert!(name_problem(&"agent-2".parse().unwrap()).is_none());
    }

    #[test]
    fn an_empty_selector_hits_nothing_and_is_refused() {
        let empty = Selector::default();
        assert!(!empty.selects(&"pi-1".parse().unwrap(), &BTreeMap::new()));
        assert_eq!(empty.problems().len(), 1);
    }
}
