//! Label selectors on the command line, and pages of lists.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::str::FromStr;

use fleet_protocol::id::IdError;
use fleet_protocol::{DeploymentName, DeviceId};

use super::state::Fleet;
use super::view::{DeploymentSummary, DeviceSummary, PairState};
use crate::api::types::{DEFAULT_LIMIT, DeploymentList, DeviceList, ListQuery, MAX_LIMIT};

/// Labels that must hold: `site=lyon,rack!=3,spare,!old`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFilter(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let terms = text
            .split(',')
            .map(str::trim)
            .filter(|term| !term.is_empty())
            .map(term);
        terms.collect::<Result<_, _>>().map(Self)
    }
}

fn term(text: &str) -> Result<Term, String> {
    let (term, key) = if let Some((key, value)) = text.split_once("!=") {
        (Term::IsNot(key.trim().to_owned(), value.trim().to_owned()), key)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (Term::Is(key.trim().to_owned(), value.trim().to_owned()), key)
    } else if let Some(key) = text.strip_prefix('!') {
        (Term::HasNot(key.trim().to_owned()), key)
    } else {
        (Term::Has(text.to_owned()), text)
    };
    if key.trim().is_empty() || key.contains(char::is_whitespace) {
        return Err(format!(
            "{text:?} is not `key=value`, `key!=value`, `key` or `!key`"
        ));
    }
    Ok(term)
}

impl LabelFilter {
    /// Whether all of it holds.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
}

/// A query that was checked.
struct Checked<'a> {
    labels: LabelFilter,
    query: &'a ListQuery,
    limit: usize,
}

impl<'a> Checked<'a> {
    fn new(query: &'a ListQuery) -> Result<Self, String> {
        let labels = query.l.as_deref().unwrap_or_default().parse()?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        Ok(Self { labels, query, limit })
    }

    fn after<T: FromStr<Err = IdError>>(&self) -> Result<(Bound<T>, Bound<T>), String> {
        let after = match self.query.after.as_deref() {
            None => Bound::Unbounded,
            Some(name) => Bound::Excluded(name.parse().map_err(|error| format!("after: {name:?} {error}"))?),
        };
        Ok((after, Bound::Unbounded))
    }

    fn phase(&self, count: impl Fn(PairState) -> u64) -> bool {
        self.query.phase.is_none_or(|state| count(state) > 0)
    }
}

impl Fleet {
    /// Devices that match, by id.
    ///
    /// # Errors
    /// A sentence when the label selector does not parse.
    pub fn device_list(&self, query: &ListQuery) -> Result<DeviceList, String> {
        let checked = Checked::new(query)?;
        let none = BTreeMap::new();
        let matches = |device: &super::Device| {
            device.is_visible()
                && query.state.is_none_or(|state| device.state() == state)
                && checked.phase(|state| device.counts.of(state))
                && checked
                    .labels
                    .matches(device.info().map_or(&none, |info| &info.labels))
        };
        let total = self.devices.values().filter(|device| matches(device)).count() as u64;
        let page = self.devices.range(checked.after::<DeviceId>()?);
        let mut items: Vec<DeviceSummary> = page
            .filter(|(_, device)| matches(device))
            .take(checked.limit + 1)
            .map(|(id, device)| self.summary_of(id, device))
            .collect();
        let next = cut(&mut items, checked.limit).map(|last| last.id.clone());
        Ok(DeviceList {
            recovery: self.recovery(),
            total,
            items,
            next,
        })
    }

    /// Deployments that match, by name.
    ///
    /// # Errors
    /// A sentence when the label selector does not parse.
    pub fn deployment_list(&self, query: &ListQuery) -> Result<DeploymentList, String> {
        let checked = Checked::new(query)?;
        let none = BTreeMap::new();
        let matches = |entry: &super::DeploymentEntry| {
            entry.is_visible()
                && checked.phase(|state| entry.counts.of(state))
                && checked
                    .labels
                    .matches(entry.read().map_or(&none, |deployment| &deployment.labels))
        };
        let total = self.deployments.values().filter(|entry| matches(entry)).count() as u64;
        let page = self.deployments.range(checked.after::<DeploymentName>()?);
        let mut items: Vec<DeploymentSummary> = page
            .filter(|(_, entry)| matches(entry))
            .take(checked.limit + 1)
            .filter_map(|(name, _)| self.deployment_summary(name))
            .collect();
        let next = cut(&mut items, checked.limit).map(|last| last.name.clone());
        Ok(DeploymentList {
            recovery: self.recovery(),
            total,
            items,
            next,
        })
    }
}

/// Cuts to the page; gives the last item of it when there are more.
fn cut<T>(items: &mut Vec<T>, limit: usize) -> Option<&T> {
    if items.len() <= limit {
        return None;
    }
    items.truncate(limit);
    items.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_term_is_understood() {
        let labels = BTreeMap::from([
            ("site".to_owned(), "lyon".to_owned()),
            ("rack".to_owned(), "3".to_owned()),
        ]);
        for (text, holds) in [
            ("", true),
            ("site=lyon", true),
            ("site==lyon, rack=3", true),
            ("site=nice", false),
            ("site!=nice", true),
            ("rack", true),
            ("spare", false),
            ("!spare", true),
            ("!rack", false),
        ] {
            assert_eq!(
                text.parse::<LabelFilter>().unwrap().matches(&labels),
                holds,
                "{text}"
            );
        }
        for bad in ["=x", "a b", "!", "!=x"] {
            assert!(bad.parse::<LabelFilter>().is_err(), "{bad}");
        }
    }
}
