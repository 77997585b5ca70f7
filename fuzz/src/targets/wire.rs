//! Values from KV, which is also how records lie on a device's disk: the first byte says which message the rest is read as.

use std::fmt::Debug;

use fleet_protocol::event::FleetEvent;
use fleet_protocol::wire::{Versioned, decode, encode};
use fleet_protocol::{Deployment, DeploymentState, DesiredState, DeviceInfo, Heartbeat};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn run(bytes: &[u8]) {
    let Some((kind, value)) = bytes.split_first() else {
        return;
    };
    match kind {
        b'd' => {
            if let Some(message) = stays_the_same::<Deployment>(value) {
                let _said = message.spec.problems();
            }
        }
        b'w' => {
            if let Some(message) = stays_the_same::<DesiredState>(value) {
                let _said = message.score.problems();
            }
        }
        b's' => drop(stays_the_same::<DeploymentState>(value)),
        b'i' => drop(stays_the_same::<DeviceInfo>(value)),
        b'h' => drop(stays_the_same::<Heartbeat>(value)),
        b'e' => drop(stays_the_same::<FleetEvent>(value)),
        _ => {}
    }
}

/// What was read is written, read again as the same, and written again as the same bytes: an unchanged value is recognised.
fn stays_the_same<T>(value: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + Versioned + PartialEq + Debug,
{
    let read: T = match decode(value) {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.detail().is_empty());
            return None;
        }
    };
    let written = encode(&read);
    let again: T = decode(&written).expect("what was written can be read");
    assert_eq!(again, read);
    assert_eq!(encode(&again), written);
    Some(read)
}
