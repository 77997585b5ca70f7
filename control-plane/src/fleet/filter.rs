//! Label selectors on the command line, and pages of lists.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::str::FromStr;

use fleet_protocol::bucket::PairKey;
use fleet_protocol::id::IdError;
use fleet_protocol::{DeploymentName, DeviceId};

use super::state::{Fleet, Pair};
use super::view::{DeploymentSummary, DeviceSummary, PairState};
use crate::api::types::{
    DEFAULT_LIMIT, DeploymentList, DeviceList, ListQuery, MAX_LIMIT, PairList, PairQuery,
};

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

    fn named(&self, name: &str) -> bool {
        self.query
            .q
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
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
        let matches = |id: &DeviceId, device: &super::Device| {
            device.is_visible()
                && checked.named(id.as_str())
                && query.state.is_none_or(|state| device.state() == state)
                && checked.phase(|state| device.counts.of(state))
                && checked
                    .labels
                    .matches(device.info().map_or(&none, |info| &info.labels))
        };
        let total = self
            .devices
            .iter()
            .filter(|(id, device)| matches(id, device))
            .count() as u64;
        let page = self.devices.range(checked.after::<DeviceId>()?);
        let mut items: Vec<DeviceSummary> = page
            .filter(|(id, device)| matches(id, device))
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
        let matches = |name: &DeploymentName, entry: &super::DeploymentEntry| {
            entry.is_visible()
                && checked.named(name.as_str())
                && checked.phase(|state| entry.counts.of(state))
                && checked
                    .labels
                    .matches(entry.read().map_or(&none, |deployment| &deployment.labels))
        };
        let total = self
            .deployments
            .iter()
            .filter(|(name, entry)| matches(name, entry))
            .count() as u64;
        let page = self.deployments.range(checked.after::<DeploymentName>()?);
        let mut items: Vec<DeploymentSummary> = page
            .filter(|(name, entry)| matches(name, entry))
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

impl Fleet {
    /// Pairs that match, by device and deployment.
    ///
    /// # Errors
    /// A sentence when the label selector or `after` does not parse.
    pub fn pair_list(&self, query: &PairQuery) -> Result<PairList, String> {
        let labels: LabelFilter = query.l.as_deref().unwrap_or_default().parse()?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let after = match query.after.as_deref() {
            None => None,
            Some(key) => Some(PairKey::parse(key).ok_or_else(|| format!("after: {key:?} is no pair"))?),
        };
        let none = BTreeMap::new();
        let matches = |key: &PairKey, pair: &Pair| {
            let device = self.devices.get(&key.device);
            pair.is_visible()
                && query.phase.is_none_or(|state| pair.state() == state)
                && query
                    .state
                    .is_none_or(|state| device.is_some_and(|device| device.state() == state))
                && labels.matches(
                    device
                        .and_then(super::Device::info)
                        .map_or(&none, |info| &info.labels),
                )
        };
        let mut total = 0;
        let mut keys = Vec::new();
        for (key, pair) in self.candidates(query) {
            if !matches(&key, pair) {
                continue;
            }
            total += 1;
            if keys.len() <= limit && after.as_ref().is_none_or(|after| key > *after) {
                keys.push(key);
            }
        }
        let next = cut(&mut keys, limit).map(ToString::to_string);
        Ok(PairList {
            recovery: self.recovery(),
            total,
            items: keys.iter().filter_map(|key| self.pair_view(key)).collect(),
            next,
        })
    }

    /// The pairs of the named deployment and device, in order; a name that is none has none.
    fn candidates<'a>(&'a self, query: &PairQuery) -> Box<dyn Iterator<Item = (PairKey, &'a Pair)> + 'a> {
        let deployment = query.deployment.as_deref().map(str::parse::<DeploymentName>);
        let device = query.device.as_deref().map(str::parse::<DeviceId>);
        let of = |device: &DeviceId, deployment: &DeploymentName| {
            let key = PairKey {
                device: device.clone(),
                deployment: deployment.clone(),
            };
            self.pairs.get(&key).map(|pair| (key, pair))
        };
        match (deployment, device) {
            (Some(Err(_)), _) | (_, Some(Err(_))) => Box::new(std::iter::empty()),
            (Some(Ok(deployment)), Some(Ok(device))) => Box::new(of(&device, &deployment).into_iter()),
            (Some(Ok(deployment)), None) => {
                let devices = self.deployments.get(&deployment).map(|entry| &entry.devices);
                let devices = devices.into_iter().flatten();
                Box::new(devices.filter_map(move |device| of(device, &deployment)))
            }
            (None, Some(Ok(device))) => {
                let pairs = self.pairs.iter().filter(move |(key, _)| key.device == device);
                Box::new(pairs.map(|(key, pair)| (key.clone(), pair)))
            }
            (None, None) => Box::new(self.pairs.iter().map(|(key, pair)| (key.clone(), pair))),
        }
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
