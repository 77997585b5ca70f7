//! Whether the device is connected, and if not, why.

use std::cell::RefCell;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_host::{Clock, Host};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Whether the device is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// The first try runs.
    #[default]
    Connecting,
    /// It is.
    Connected {
        /// Since when, by the device's clock.
        since: DateTime<Utc>,
    },
    /// It is not.
    Offline {
        /// Since when, by the device's clock.
        since: DateTime<Utc>,
        /// Why the last try failed.
        reason: String,
        /// When the next try begins.
        next_try_at: DateTime<Utc>,
    },
}

/// The state, and a bell.
#[derive(Default)]
pub(crate) struct Link {
    state: RefCell<LinkState>,
    changed: Notify,
}

impl Link {
    pub(super) fn connected(&self, host: &impl Host) {
        let since = host.clock().now();
        self.set(LinkState::Connected { since });
    }

    pub(super) fn offline(&self, host: &impl Host, reason: &str, wait: Duration) {
        let now = host.clock().now();
        let since = match &*self.state.borrow() {
            LinkState::Offline { since, .. } => *since,
            LinkState::Connecting | LinkState::Connected { .. } => now,
        };
        self.set(LinkState::Offline {
            since,
            reason: reason.to_owned(),
            next_try_at: now + wait,
        });
    }

    fn set(&self, state: LinkState) {
        self.state.replace(state);
        self.changed.notify_one();
    }

    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Waits for a change. One waiter at a time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
