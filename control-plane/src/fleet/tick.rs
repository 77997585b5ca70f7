//! What changes by the passing of time alone: a pair becomes stuck, a missing heartbeat becomes offline.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_protocol::bucket::HEARTBEAT_SECONDS;

use super::apply::Changes;
use super::slot::Taken;
use super::state::Fleet;
use super::view::PairState;

/// How long a device is given the benefit of the doubt after the store lost its heartbeat.
const BENEFIT: TimeDelta = TimeDelta::seconds(3 * HEARTBEAT_SECONDS.cast_signed());

impl Fleet {
    /// Brings what depends on the time up to `now`. Cheap: looks at open pairs and doubtful devices only.
    pub fn tick(&mut self, now: DateTime<Utc>, changes: &mut Changes) {
        self.expire_doubt(now, changes);
        let turned: Vec<_> = self
            .open
            .iter()
            .filter(|key| {
                let device = self.devices.get(&key.device);
                let online = device.is_some_and(|device| device.online);
                let since = device.and_then(|device| device.since);
                // Pulls take turns: one that moves lets the others wait.
                let pulls = device.is_some_and(|device| device.counts.pulling > 0);
                self.pairs.get(key).is_some_and(|pair| {
                    let in_turn = pulls && pair.base_state() == PairState::Pending;
                    pair.stuck != (online && !in_turn && pair.is_overdue(since, now))
                })
            })
            .cloned()
            .collect();
        for key in turned {
            self.change_pair(key, changes, |pair| {
                pair.stuck = !pair.stuck;
                Taken::Changed
            });
        }
    }

    fn expire_doubt(&mut self, now: DateTime<Utc>, changes: &mut Changes) {
        let mut gone = Vec::new();
        for (id, device) in &mut self.devices {
            if let Some(since) = device.unconfirmed.filter(|since| now - *since > BENEFIT) {
                device.unconfirmed = None;
                device.online = false;
                device.since = Some(since);
                gone.push(id.clone());
            }
        }
        for id in gone {
            self.settle_device(&id, true, changes);
        }
    }
}
