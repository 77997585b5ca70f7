//! The newest events of the history, in memory: listing them costs no round trip and leaves no consumer behind.

use std::collections::VecDeque;

use fleet_protocol::event::FleetEvent;
use fleet_protocol::wire;

use crate::api::types::{EventItem, EventList, EventQuery};
use crate::store::Entry;

/// How many are kept.
pub(super) const KEEP: usize = 5_000;
const DEFAULT: usize = 100;
const MOST: usize = 1_000;

/// The tail of the stream.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    items: VecDeque<EventItem>,
    unreadable: u64,
}

impl History {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives the sequence when it could be read and is new.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<u64> {
        if self
            .items
            .back()
            .is_some_and(|last| last.sequence >= entry.revision)
        {
            return None;
        }
        let Ok(event) = wire::decode::<FleetEvent>(entry.value.as_deref().unwrap_or_default()) else {
            self.unreadable += 1;
            return None;
        };
        if self.items.len() == KEEP {
            self.items.pop_front();
        }
        self.items.push_back(EventItem {
            sequence: entry.revision,
            stored_at: entry.at,
            event,
        });
        Some(entry.revision)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&EventItem> {
        let place = self
            .items
            .binary_search_by_key(&sequence, |item| item.sequence)
            .ok()?;
        self.items.get(place)
    }

    pub(super) fn list(&self, query: &EventQuery) -> EventList {
        let limit = query.limit.unwrap_or(DEFAULT).min(MOST);
        let about = |item: &&EventItem| match &query.subject {
            None => true,
            Some(subject) => is_about(&item.event.subject, subject),
        };
        let mut items: Vec<EventItem> = match query.after {
            None => self
                .items
                .iter()
                .rev()
                .filter(about)
                .take(limit)
                .cloned()
                .collect(),
            // Page by page towards the newest, so that nobody who follows misses one.
            Some(after) => {
                let first = self.items.partition_point(|item| item.sequence <= after);
                self.items
                    .range(first..)
                    .filter(about)
                    .take(limit)
                    .cloned()
                    .collect()
            }
        };
        items.sort_by_key(|item| std::cmp::Reverse(item.sequence));
        EventList {
            items,
            newest: self.items.back().map_or(0, |item| item.sequence),
            stream_created: None,
            detail: None,
            searched: self.items.len() as u64,
            unreadable: self.unreadable,
        }
    }
}

/// `device/pi-1/deployment/web` is about itself, about `device/pi-1`, and about `deployment/web`.
fn is_about(subject: &str, asked: &str) -> bool {
    let begins = subject
        .strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let ends = subject
        .strip_suffix(asked)
        .is_some_and(|rest| rest.ends_with('/'));
    begins || ends
}

#[cfg(test)]
mod tests {
    use super::is_about;

    #[test]
    fn an_event_of_a_pair_is_about_its_device_and_its_deployment_and_no_other() {
        let subject = "device/pi-1/deployment/web";
        for asked in [subject, "device/pi-1", "deployment/web"] {
            assert!(is_about(subject, asked), "{asked}");
        }
        for asked in ["device/pi", "deployment/web2", "eb", "pi-1"] {
            assert!(!is_about(subject, asked), "{asked}");
        }
    }
}
