//! The aggregate, fed by hand.

mod chain;
mod history;
mod lists;
mod properties;
mod runbook;
mod states;

use bytes::Bytes;
use chrono::TimeDelta;
use fleet_protocol::{Cause, Phase};
use proptest::prelude::*;

use super::apply::Changes;
use super::view::{AttentionKind, DeviceState, LinkKind, LinkState, PairCounts, PairState};
use super::{Change, Fleet};
use crate::api::types::{EventQuery, ListQuery, PairQuery};
use crate::fixture::{
    begin, connected, deployment, desired, end, entry, heartbeat, info, info_with, noon, spec, state,
};
use crate::store::{BucketId, Source, StoreEvent};

const IMAGE: &str = "reg.example/app:1";

fn apply(fleet: &mut Fleet, events: &[StoreEvent]) -> Changes {
    let mut changes = Changes::new();
    for event in events {
        fleet.apply(event, noon(), &mut changes);
    }
    changes
}

/// An aggregate that has read these entries and nothing else.
fn fleet_of(entries: &[StoreEvent]) -> Fleet {
    let mut fleet = Fleet::default();
    apply(&mut fleet, &[connected(1)]);
    apply(&mut fleet, &BucketId::ALL.map(begin));
    apply(&mut fleet, entries);
    apply(&mut fleet, &BucketId::ALL.map(end));
    fleet
}

fn running_pair() -> Vec<StoreEvent> {
    vec![
        entry(
            BucketId::Deployments,
            "web",
            1,
            Some(deployment("web", 3, spec("lyon", IMAGE))),
        ),
        entry(BucketId::Info, "pi-1", 1, Some(info("lyon"))),
        entry(BucketId::Heartbeat, "pi-1", 1, Some(heartbeat())),
        entry(BucketId::Desired, "pi-1.web", 1, Some(desired(3, IMAGE))),
        entry(
            BucketId::Reported,
            "pi-1.web",
            1,
            Some(state(3, Phase::Running, None)),
        ),
    ]
}

fn pair_state(fleet: &Fleet) -> PairState {
    fleet
        .pair_view(&fleet.pairs().next().expect("a pair").0.clone())
        .expect("it is visible")
        .state
}
