//! What holds whatever comes in whatever order.

use super::*;

/// One write somewhere: bucket, which key, what.
fn some_entry() -> impl Strategy<Value = (usize, usize, usize)> {
    (0..4_usize, 0..6_usize, 0..5_usize)
}

fn event_of(bucket: usize, key: usize, what: usize, revision: u64) -> StoreEvent {
    let bucket = [
        BucketId::Deployments,
        BucketId::Desired,
        BucketId::Reported,
        BucketId::Info,
    ][bucket];
    let (device, name) = (["pi-1", "pi-2", "pi-3"][key % 3], ["web", "api"][key / 3]);
    let generation = what as u64;
    let (key, good) = match bucket {
        BucketId::Deployments => (name.to_owned(), deployment(name, generation, spec("lyon", IMAGE))),
        BucketId::Desired => (format!("{device}.{name}"), desired(generation, IMAGE)),
        BucketId::Reported => (format!("{device}.{name}"), state(generation, Phase::Failed, None)),
        _ => (device.to_owned(), info(["lyon", "nice"][what % 2])),
    };
    let value = match what {
        0 => None,
        1 => Some(Bytes::from_static(b"not json")),
        _ => Some(good),
    };
    entry(bucket, &key, revision, value)
}

fn events_of(writes: &[(usize, usize, usize)]) -> Vec<StoreEvent> {
    let entries = writes
        .iter()
        .zip(1..)
        .map(|((bucket, key, what), revision)| event_of(*bucket, *key, *what, revision));
    entries.collect()
}

/// Everything that anybody can see.
fn seen(fleet: &Fleet) -> serde_json::Value {
    let devices: Vec<_> = fleet.devices().map(|(id, _)| fleet.device_view(id)).collect();
    let deployments: Vec<_> = fleet
        .deployments()
        .map(|(name, _)| fleet.deployment_view(name))
        .collect();
    serde_json::json!({ "status": fleet.status(), "devices": devices, "deployments": deployments })
}

fn counted_anew(fleet: &Fleet) -> PairCounts {
    let mut counts = PairCounts::default();
    for (_, pair) in fleet.pairs().filter(|(_, pair)| pair.is_visible()) {
        counts.add(pair.state());
    }
    counts
}

proptest! {
    #[test]
    fn any_order_of_entries_gives_the_same_aggregate(
        (writes, shuffled) in prop::collection::vec(some_entry(), 1..40).prop_flat_map(|writes| {
            let events = events_of(&writes);
            (Just(events.clone()), Just(events).prop_shuffle())
        })
    ) {
        let (in_order, any_order) = (fleet_of(&writes), fleet_of(&shuffled));
        prop_assert_eq!(seen(&in_order), seen(&any_order));
        prop_assert_eq!(any_order.pair_counts(), counted_anew(&any_order));
    }

    #[test]
    fn a_second_snapshot_gives_what_a_fresh_start_gives(
        first in prop::collection::vec(some_entry(), 0..30),
        second in prop::collection::vec(some_entry(), 0..30),
    ) {
        // Another store: revisions begin at 1 again, at a later time.
        let mut second = events_of(&second);
        for event in &mut second {
            if let StoreEvent::Entry { entry, .. } = event {
                entry.at += TimeDelta::hours(1);
            }
        }
        let mut fleet = fleet_of(&events_of(&first));
        for bucket in BucketId::ALL {
            apply(&mut fleet, &[begin(bucket)]);
        }
        apply(&mut fleet, &second);
        for bucket in BucketId::ALL {
            apply(&mut fleet, &[end(bucket)]);
        }
        let fresh = fleet_of(&second);
        prop_assert_eq!(fleet.status().pairs, fresh.status().pairs);
        prop_assert_eq!(fleet.status().devices, fresh.status().devices);
        prop_assert_eq!(fleet.pair_counts(), counted_anew(&fleet));
    }

    #[test]
    fn no_bytes_under_no_key_break_anything(key in ".{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for bucket in BucketId::ALL {
            let fleet = fleet_of(&[entry(bucket, &key, 1, Some(bytes.clone().into()))]);
            seen(&fleet);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_told_in_order_whoever_makes_them() {
    let fleet = crate::fleet::FleetHandle::new(crate::clock::Clock::standing_at(noon()));
    let mut told = fleet.subscribe();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let fleet = fleet.clone();
            scope.spawn(move || {
                for number in 0..30_u64 {
                    fleet.feed(&[connected(1 + thread * 30 + number), begin(BucketId::Info)]);
                }
            });
        }
    });
    for version in 1..=240 {
        assert_eq!(told.try_recv().map(|batch| batch.version), Ok(version));
    }
}
