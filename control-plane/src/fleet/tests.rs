use bytes::Bytes;
use chrono::TimeDelta;
use fleet_protocol::{Cause, Phase};
use proptest::prelude::*;

use super::apply::Changes;
use super::view::{AttentionKind, DeviceState, LinkKind, PairCounts, PairState};
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

#[test]
fn an_all_green_fleet_is_a_calm_page() {
    let fleet = fleet_of(&running_pair());
    let status = fleet.status();
    assert!(status.attention.is_empty(), "{:?}", status.attention);
    assert_eq!(
        (status.devices.online, status.pairs.running, status.pairs.total),
        (1, 1, 1)
    );
    assert!(status.recovery.converged && status.recovery.detail.is_none());
}

#[test]
fn until_every_bucket_is_read_it_says_which_are_missing() {
    let mut fleet = Fleet::default();
    apply(&mut fleet, &[connected(1)]);
    apply(&mut fleet, &[begin(BucketId::Info), end(BucketId::Info)]);
    let recovery = fleet.recovery();
    let detail = recovery.detail.expect("it is recovering");
    assert!(
        !recovery.converged && detail.contains("deployments") && !detail.contains("device-info"),
        "{detail}"
    );
}

#[test]
fn what_a_device_wrote_and_nobody_can_read_is_shown_and_counted() {
    let mut events = running_pair();
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        2,
        Some(Bytes::from_static(b"{\"phase\":")),
    ));
    events.push(entry(
        BucketId::Info,
        "pi-2",
        2,
        Some(Bytes::from_static(b"\xff\xfe")),
    ));
    events.push(entry(
        BucketId::Heartbeat,
        "pi-2",
        2,
        Some(Bytes::from_static(b"[]")),
    ));
    events.push(entry(
        BucketId::Deployments,
        "api",
        2,
        Some(Bytes::from_static(br#"{"protocol":99}"#)),
    ));
    events.push(entry(BucketId::Desired, "no key at all", 2, Some(Bytes::new())));
    let fleet = fleet_of(&events);
    assert_eq!(pair_state(&fleet), PairState::Unreadable);
    let device = fleet.device_view(&"pi-2".parse().unwrap()).expect("it is kept");
    assert_eq!(
        (device.summary.state, device.problems.len()),
        (DeviceState::Unknown, 2)
    );
    let api = fleet
        .deployment_view(&"api".parse().unwrap())
        .expect("it is kept");
    assert_eq!(api.problems[0].kind, "value-of-newer-version");
    let titles: Vec<_> = fleet.status().attention.into_iter().map(|a| a.title).collect();
    for part in [
        "web: pi-1 wrote",
        "api cannot be read",
        "desired-state/no key at all",
        "pi-2: value-malformed",
    ] {
        assert!(
            titles.iter().any(|title| title.contains(part)),
            "{part} in {titles:?}"
        );
    }
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    let phase = view
        .chain
        .iter()
        .find(|link| link.kind == LinkKind::Phase)
        .expect("a phase link");
    assert!(
        phase
            .text
            .contains("pi-1 wrote something that this version cannot read"),
        "{}",
        phase.text
    );
}

#[test]
fn a_phase_of_a_newer_agent_is_shown_as_it_came() {
    let mut events = running_pair();
    let phase = Phase::Unknown("Teleporting".into());
    events.push(entry(
        BucketId::Reported,
        "pi-1.web",
        2,
        Some(state(3, phase, None)),
    ));
    let fleet = fleet_of(&events);
    let view = fleet.pair_view(&fleet.pairs().next().unwrap().0.clone()).unwrap();
    assert_eq!(
        (view.state, view.phase.as_deref()),
        (PairState::Unknown, Some("Teleporting"))
    );
}

#[test]
fn a_report_about_an_older_generation_is_waiting_and_not_running() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-1.web", 2, Some(desired(4, IMAGE)))],
    );
    assert_eq!(pair_state(&fleet), PairState::Waiting);
}

#[test]
fn an_online_device_that_does_not_move_is_stuck_and_an_offline_one_is_offline() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-1.web", 2, Some(desired(4, IMAGE)))],
    );
    let mut changes = Changes::new();
    fleet.tick(noon() + TimeDelta::minutes(1), &mut changes);
    assert!(changes.is_empty() && pair_state(&fleet) == PairState::Waiting);
    fleet.tick(noon() + TimeDelta::minutes(5), &mut changes);
    assert!(changes.iter().any(|change| matches!(change, Change::Pair(_))));
    assert_eq!(pair_state(&fleet), PairState::Stuck);
    assert_eq!(fleet.status().attention[0].title, "web is stuck on pi-1");

    apply(&mut fleet, &[entry(BucketId::Heartbeat, "pi-1", 2, None)]);
    fleet.tick(noon() + TimeDelta::minutes(6), &mut changes);
    assert_eq!(pair_state(&fleet), PairState::Waiting);
    let attention = fleet.status().attention;
    assert_eq!((attention.len(), attention[0].kind), (1, AttentionKind::Offline));

    apply(
        &mut fleet,
        &[entry(BucketId::Heartbeat, "pi-1", 400, Some(heartbeat()))],
    );
    fleet.tick(noon() + TimeDelta::seconds(401), &mut changes);
    assert_eq!(
        pair_state(&fleet),
        PairState::Waiting,
        "a device that just came back gets its time"
    );
    apply(
        &mut fleet,
        &[entry(
            BucketId::Reported,
            "pi-1.web",
            500,
            Some(state(4, Phase::Running, None)),
        )],
    );
    assert!(fleet.status().attention.is_empty());
}

#[test]
fn the_same_failure_on_many_devices_is_one_entry_and_another_cause_is_another() {
    let mut events = vec![entry(
        BucketId::Deployments,
        "web",
        1,
        Some(deployment("web", 1, spec("lyon", IMAGE))),
    )];
    for number in 1..=40_u64 {
        let id = format!("pi-{number:02}");
        let kind = if number == 7 {
            "disk-full"
        } else {
            "image-not-found"
        };
        let report = state(
            1,
            Phase::Failed,
            Some(Cause::new(kind, format!("because {number}"))),
        );
        events.push(entry(BucketId::Info, &id, number, Some(info("lyon"))));
        events.push(entry(BucketId::Heartbeat, &id, number, Some(heartbeat())));
        events.push(entry(
            BucketId::Desired,
            &format!("{id}.web"),
            number,
            Some(desired(1, IMAGE)),
        ));
        events.push(entry(
            BucketId::Reported,
            &format!("{id}.web"),
            number,
            Some(report),
        ));
    }
    let attention = fleet_of(&events).status().attention;
    let titles: Vec<_> = attention.iter().map(|a| a.title.as_str()).collect();
    assert_eq!(titles, ["web failed on pi-07", "web failed on 39 devices"]);
    assert_eq!(attention[1].devices.len(), super::view::MAX_SAMPLE);
}

#[test]
fn what_a_device_says_of_its_health_needs_a_person() {
    let skew = vec![Cause::new("clock-skew", "the clock is 40 s behind")];
    let fleet = fleet_of(&[
        entry(BucketId::Info, "pi-1", 1, Some(info_with("lyon", skew))),
        entry(BucketId::Heartbeat, "pi-1", 1, Some(heartbeat())),
    ]);
    assert_eq!(fleet.status().attention[0].title, "clock-skew on pi-1");
}

#[test]
fn a_restart_of_the_server_that_loses_heartbeats_makes_nobody_offline_at_once() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[begin(BucketId::Heartbeat), end(BucketId::Heartbeat)],
    );
    assert_eq!(fleet.device_counts().online, 1);
    let mut changes = Changes::new();
    fleet.tick(noon() + TimeDelta::seconds(30), &mut changes);
    assert_eq!(fleet.device_counts().online, 1);
    fleet.tick(noon() + TimeDelta::seconds(60), &mut changes);
    assert_eq!(fleet.device_counts().offline, 1);
    // In memory, revisions begin at 1 again: a lower one of a new snapshot counts.
    apply(
        &mut fleet,
        &[entry(BucketId::Heartbeat, "pi-1", 1, Some(heartbeat()))],
    );
    assert_eq!(fleet.device_counts().online, 1);
}

#[test]
fn what_a_new_snapshot_does_not_show_is_gone_and_what_is_the_same_changes_nothing() {
    let mut fleet = fleet_of(&running_pair());
    let again = [
        begin(BucketId::Reported),
        running_pair().remove(4),
        end(BucketId::Reported),
    ];
    assert_eq!(apply(&mut fleet, &again), Changes::from([Change::Recovery]));
    apply(&mut fleet, &[begin(BucketId::Reported), end(BucketId::Reported)]);
    assert_eq!(pair_state(&fleet), PairState::Waiting);
}

#[test]
fn a_deployment_that_the_store_lost_is_not_called_deleted() {
    let events: Vec<_> = running_pair().into_iter().skip(1).collect();
    let fleet = fleet_of(&events);
    let view = fleet
        .deployment_view(&"web".parse().unwrap())
        .expect("devices have it");
    assert!(!view.summary.deleted && view.problems[0].kind == "deployment-lost");
    assert_eq!(
        fleet.status().attention[0].title,
        "web is on devices but not in the store"
    );
}

#[test]
fn a_removed_deployment_is_shown_until_the_device_has_removed_it() {
    let mut fleet = fleet_of(&running_pair());
    apply(
        &mut fleet,
        &[
            entry(BucketId::Deployments, "web", 2, None),
            entry(BucketId::Desired, "pi-1.web", 2, None),
        ],
    );
    assert_eq!(pair_state(&fleet), PairState::Removing);
    assert!(
        fleet
            .deployment_summary(&"web".parse().unwrap())
            .expect("still there")
            .deleted
    );
    let changes = apply(&mut fleet, &[entry(BucketId::Reported, "pi-1.web", 2, None)]);
    assert!(changes.contains(&Change::Deployment("web".parse().unwrap())));
    assert!(fleet.deployment_summary(&"web".parse().unwrap()).is_none());
    assert_eq!(fleet.status().pairs.total, 0);
}

#[test]
fn lists_are_filtered_and_paged() {
    let mut events = Vec::new();
    for number in 0..25_u64 {
        let site = if number % 2 == 0 { "lyon" } else { "nice" };
        events.push(entry(
            BucketId::Info,
            &format!("pi-{number:02}"),
            number + 1,
            Some(info(site)),
        ));
    }
    let fleet = fleet_of(&events);
    let mut query = ListQuery {
        l: Some("site=lyon".into()),
        limit: Some(5),
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = fleet.device_list(&query).expect("a good query");
        assert_eq!(page.total, 13);
        seen.extend(page.items.into_iter().map(|item| item.id));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 13);
    assert!(seen.is_sorted());
    let bad = ListQuery {
        after: Some("Not An Id".into()),
        ..Default::default()
    };
    assert!(fleet.device_list(&bad).unwrap_err().starts_with("after"));
}

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

#[test]
fn a_watch_that_broke_is_not_caught_up_and_says_why_until_it_is_again() {
    let mut fleet = fleet_of(&running_pair());
    let broken = StoreEvent::Broken {
        source: Source::Bucket(BucketId::Reported),
        why: "no word for ten seconds".to_owned(),
    };
    let changes = apply(&mut fleet, &[broken]);
    assert!(changes.contains(&Change::Recovery));
    let recovery = fleet.recovery();
    let detail = recovery.detail.unwrap_or_default();
    assert!(!recovery.converged && recovery.connected);
    assert!(
        detail.contains("deployment-state") && detail.contains("no word for ten seconds"),
        "{detail}"
    );
    apply(&mut fleet, &[begin(BucketId::Reported)]);
    assert!(
        fleet
            .recovery()
            .detail
            .is_some_and(|detail| detail.contains("no word"))
    );
    apply(&mut fleet, &[end(BucketId::Reported)]);
    assert!(fleet.converged() && fleet.recovery().detail.is_none());
}

fn history_event(sequence: u64) -> StoreEvent {
    let event = fleet_protocol::event::FleetEvent {
        protocol: fleet_protocol::PROTOCOL_VERSION,
        at: noon(),
        actor: "ada".to_owned(),
        kind: "deployment-changed".to_owned(),
        subject: "deployment/web".to_owned(),
        detail: String::new(),
    };
    StoreEvent::Entry {
        source: Source::History,
        entry: crate::store::Entry {
            key: "x".to_owned(),
            revision: sequence,
            at: noon(),
            value: Some(fleet_protocol::wire::encode(&event).into()),
        },
    }
}

fn history_of(last: u64) -> Fleet {
    let mut fleet = fleet_of(&[]);
    let source = Source::History;
    let begin = StoreEvent::Begin {
        source,
        session: 1,
        stream_created: noon(),
        target: last,
    };
    apply(&mut fleet, &[begin]);
    apply(&mut fleet, &(1..=last).map(history_event).collect::<Vec<_>>());
    apply(&mut fleet, &[StoreEvent::End { source }]);
    fleet
}

#[test]
fn a_history_that_is_not_heard_says_so_and_leaves_the_fleet_ready() {
    let mut fleet = history_of(1);
    assert_eq!(fleet.event_list(&EventQuery::default()).detail, None);
    let broken = StoreEvent::Broken {
        source: Source::History,
        why: "gone".to_owned(),
    };
    assert!(apply(&mut fleet, &[broken]).contains(&Change::Recovery));
    let detail = fleet
        .event_list(&EventQuery::default())
        .detail
        .unwrap_or_default();
    assert!(detail.contains("gone"), "{detail}");
    assert!(fleet.converged());
}

#[test]
fn the_history_is_followed_page_by_page_from_the_oldest() {
    let fleet = history_of(25);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let query = EventQuery {
            after: Some(after),
            limit: Some(10),
            ..EventQuery::default()
        };
        let list = fleet.event_list(&query);
        assert_eq!((list.newest, list.stream_created), (25, Some(noon())));
        let Some(newest) = list.items.first() else { break };
        after = newest.sequence;
        seen.extend(list.items.iter().rev().map(|item| item.sequence));
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
}

#[test]
fn pairs_are_listed_page_by_page_and_filtered() {
    let mut events = vec![entry(
        BucketId::Deployments,
        "web",
        1,
        Some(deployment("web", 4, spec("lyon", IMAGE))),
    )];
    for number in 1..=7_u64 {
        let (id, site) = (format!("pi-{number}"), if number > 5 { "nice" } else { "lyon" });
        let revision = number + 1;
        events.push(entry(BucketId::Info, &id, revision, Some(info(site))));
        let key = format!("{id}.web");
        let generation = if number == 7 { 3 } else { 4 };
        events.push(entry(
            BucketId::Desired,
            &key,
            revision,
            Some(desired(generation, IMAGE)),
        ));
        events.push(entry(
            BucketId::Desired,
            &format!("{id}.api"),
            revision + 100,
            Some(desired(1, IMAGE)),
        ));
    }
    events.push(entry(
        BucketId::Reported,
        "pi-2.web",
        1,
        Some(state(4, Phase::Running, None)),
    ));
    let mut fleet = fleet_of(&events);
    let names = |query: PairQuery| {
        let (mut query, mut names) = (query, Vec::new());
        loop {
            let page = fleet.pair_list(&query).expect("a good query");
            assert!(page.items.len() <= query.limit.unwrap_or(500));
            names.extend(
                page.items
                    .iter()
                    .map(|pair| format!("{}.{}", pair.device, pair.deployment)),
            );
            query.after = page.next;
            if query.after.is_none() {
                assert_eq!(page.total, names.len() as u64, "the total is of all pages");
                return names;
            }
        }
    };
    let text = |text: &str| Some(text.to_owned());
    let asked = PairQuery {
        limit: Some(2),
        ..PairQuery::default()
    };
    assert_eq!(names(asked.clone()).len(), 14);
    let of = |query: PairQuery| names(query).join(" ");
    assert_eq!(
        of(PairQuery {
            deployment: text("web"),
            l: text("site=nice"),
            ..asked.clone()
        }),
        "pi-6.web pi-7.web"
    );
    assert_eq!(
        of(PairQuery {
            device: text("pi-1"),
            ..asked.clone()
        }),
        "pi-1.api pi-1.web"
    );
    assert_eq!(
        of(PairQuery {
            device: text("pi-3"),
            deployment: text("web"),
            ..asked.clone()
        }),
        "pi-3.web"
    );
    assert_eq!(
        of(PairQuery {
            phase: Some(PairState::Running),
            ..asked.clone()
        }),
        "pi-2.web"
    );
    assert_eq!(
        of(PairQuery {
            state: Some(DeviceState::Online),
            ..asked.clone()
        }),
        ""
    );
    assert_eq!(
        of(PairQuery {
            device: text("No Id"),
            ..asked
        }),
        ""
    );
    let bad = PairQuery {
        after: text("nonsense"),
        ..PairQuery::default()
    };
    assert!(fleet.pair_list(&bad).is_err());

    let behind = |fleet: &Fleet| fleet.deployment_summary(&"web".parse().unwrap()).unwrap().behind;
    assert_eq!(behind(&fleet), 1);
    apply(
        &mut fleet,
        &[entry(BucketId::Desired, "pi-7.web", 200, Some(desired(4, IMAGE)))],
    );
    assert_eq!(behind(&fleet), 0);
    apply(
        &mut fleet,
        &[entry(
            BucketId::Deployments,
            "web",
            2,
            Some(deployment("web", 5, spec("lyon", IMAGE))),
        )],
    );
    assert_eq!(behind(&fleet), 7);
}

#[test]
fn a_list_is_of_those_whose_name_contains_what_was_asked() {
    let fleet = fleet_of(&running_pair());
    let asked = |q: &str| ListQuery {
        q: Some(q.to_owned()),
        ..ListQuery::default()
    };
    assert_eq!(fleet.device_list(&asked("i-1")).unwrap().total, 1);
    assert_eq!(fleet.device_list(&asked("lyon")).unwrap().total, 0);
    assert_eq!(fleet.deployment_list(&asked("we")).unwrap().total, 1);
    assert_eq!(fleet.deployment_list(&asked("api")).unwrap().items.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_told_in_order_whoever_makes_them() {
    let fleet = super::FleetHandle::new(crate::clock::Clock::standing_at(noon()));
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
