//! What is wrong with the device itself: each kind once, told in `device-info`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fleet_protocol::Cause;
use tokio::sync::Notify;

/// What is wrong with the device itself.
#[derive(Default)]
pub(crate) struct Health {
    causes: RefCell<BTreeMap<String, Cause>>,
    changed: Notify,
    /// Told at each change, for the status file.
    shown: Notify,
}

impl Health {
    pub(crate) fn wrong(&self, cause: Cause) {
        let before = self.causes.borrow_mut().insert(cause.kind.clone(), cause.clone());
        if before.as_ref() != Some(&cause) {
            tracing::warn!("the device is not well: {cause}");
            self.changed.notify_one();
            self.shown.notify_one();
        }
    }

    pub(crate) fn right(&self, kind: &str) {
        if self.causes.borrow_mut().remove(kind).is_some() {
            tracing::info!("the device recovered from {kind}");
            self.changed.notify_one();
            self.shown.notify_one();
        }
    }

    /// Sorted by kind.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        self.causes.borrow().values().cloned().collect()
    }

    /// Waits for a change. One waiter at a time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for a change that the status file shows. One waiter at a time.
    pub(crate) async fn shown(&self) {
        self.shown.notified().await;
    }
}
