//! What each of the device's keys ought to hold. Who writes here never waits for the network; a session
//! makes the store agree with it, as often as it takes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fleet_protocol::{DeploymentName, DeploymentState, DeviceInfo, wire};
use tokio::sync::Notify;

/// Most events that wait for a connection; the oldest go first, since nothing depends on them.
const MAX_EVENTS: usize = 64;

/// What a key ought to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Its owner has not said yet: leave it alone.
    Undecided,
    /// These bytes.
    Value(Bytes),
    /// Nothing.
    Deleted,
}

/// What each of the device's keys ought to hold.
#[derive(Default)]
pub(crate) struct Outbox {
    states: RefCell<BTreeMap<DeploymentName, (Wanted, Option<DeploymentState>)>>,
    info: RefCell<Option<Bytes>>,
    events: RefCell<VecDeque<Bytes>>,
    complete: Cell<bool>,
    /// Told at each change.
    changed: Notify,
    /// Told at each change of a state, for the status file.
    shown: Notify,
}

impl Outbox {
    pub(crate) fn expect(&self, name: &DeploymentName) {
        self.states
            .borrow_mut()
            .entry(name.clone())
            .or_insert((Wanted::Undecided, None));
    }

    pub(crate) fn state(&self, name: &DeploymentName, state: DeploymentState) {
        let value = Wanted::Value(wire::encode(&state).into());
        self.set(name, value, Some(state));
    }

    pub(crate) fn delete(&self, name: &DeploymentName) {
        self.set(name, Wanted::Deleted, None);
    }

    fn set(&self, name: &DeploymentName, wanted: Wanted, state: Option<DeploymentState>) {
        let before = self
            .states
            .borrow_mut()
            .insert(name.clone(), (wanted.clone(), state));
        if before.is_none_or(|(before, _)| before != wanted) {
            self.changed.notify_one();
            self.shown.notify_one();
        }
    }

    pub(crate) fn info(&self, info: &DeviceInfo) {
        let bytes = Bytes::from(wire::encode(info));
        if self.info.replace(Some(bytes.clone())) != Some(bytes) {
            self.changed.notify_one();
        }
    }

    pub(crate) fn event(&self, event: Vec<u8>) {
        let mut events = self.events.borrow_mut();
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event.into());
        self.changed.notify_one();
    }

    /// From now on a key of ours that is not in here belongs to nothing, and goes.
    pub(crate) fn all_known(&self) {
        self.complete.set(true);
        self.changed.notify_one();
    }

    /// A store is being read; until that is complete, nothing is known to belong to nothing.
    pub(crate) fn not_all_known(&self) {
        self.complete.set(false);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    pub(crate) fn wanted_states(&self) -> Vec<(DeploymentName, Wanted)> {
        let states = self.states.borrow();
        states
            .iter()
            .map(|(name, (wanted, _))| (name.clone(), wanted.clone()))
            .collect()
    }

    /// The key is gone, as it ought to be: nothing more to remember.
    pub(crate) fn deleted(&self, name: &DeploymentName) {
        let mut states = self.states.borrow_mut();
        if states
            .get(name)
            .is_some_and(|(wanted, _)| *wanted == Wanted::Deleted)
        {
            states.remove(name);
        }
    }

    pub(crate) fn wanted_info(&self) -> Option<Bytes> {
        self.info.borrow().clone()
    }

    pub(crate) fn next_event(&self) -> Option<Bytes> {
        self.events.borrow_mut().pop_front()
    }

    pub(crate) fn shown_states(&self) -> BTreeMap<DeploymentName, DeploymentState> {
        let states = self.states.borrow();
        states
            .iter()
            .filter_map(|(name, (_, state))| Some((name.clone(), state.clone()?)))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_nobody_fetches_are_bounded() {
        let outbox = Outbox::default();
        for n in 0..100_u8 {
            outbox.event(vec![n]);
        }
        assert_eq!(outbox.next_event().unwrap().as_ref(), [36]);
        let rest = std::iter::from_fn(|| outbox.next_event()).count();
        assert_eq!(rest, MAX_EVENTS - 1);
    }

    #[test]
    fn a_deletion_is_remembered_until_it_is_done() {
        let (outbox, name) = (Outbox::default(), "web".parse().unwrap());
        outbox.delete(&name);
        assert_eq!(outbox.wanted_states(), vec![(name.clone(), Wanted::Deleted)]);
        outbox.deleted(&name);
        assert_eq!(outbox.wanted_states(), vec![]);
    }
}
